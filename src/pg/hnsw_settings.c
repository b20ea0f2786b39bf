/*
 * hnsw_settings.c
 *    What pgvector's users set, for indexes of access method hnsw where that is phnsw's (sql/vector).
 *
 * The settings hnsw.* are pgvector's to define, which may be loaded into the same session, and a name is
 * defined once: so they are only looked at.  Where nobody defined them they are placeholders, which take any
 * text; what is no number is an error here.  Of the three, hnsw.ef_search must not be ignored, since a search
 * would find less than it was told to.  Without the other two it returns more rows (hnsw.max_scan_tuples,
 * hnsw.iterative_scan = off) or a stricter order (relaxed_order).
 */
#include "phnsw.h"

#include "commands/defrem.h"
#include "utils/guc.h"

int
phnsw_hnsw_ef(Oid access_method)
{
	static Oid	phnsw = InvalidOid;
	const char *value;
	const char *hint = NULL;
	int			ef;

	if (access_method == phnsw)
		return 0;
	if (access_method == get_index_am_oid("phnsw", true))
	{
		phnsw = access_method;
		return 0;
	}
	/* Empty or NULL: a placeholder that was reset. */
	value = GetConfigOption("hnsw.ef_search", true, false);
	if (value == NULL || *value == '\0')
		return 0;
	if (!parse_int(value, &ef, 0, &hint) || ef < 1 || ef > PHNSW_EF_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\": \"%s\"", "hnsw.ef_search", value),
				 errhint("It is a number from 1 to %d.", PHNSW_EF_MAX)));
	return ef;
}
