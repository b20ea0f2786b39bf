/*
 * options.c
 *    Storage parameters: WITH (m = ..., ef_construction = ...).
 *
 * They are frozen in the meta page by CREATE INDEX; ALTER INDEX ... SET takes effect with the next REINDEX.
 */
#include "phnsw.h"

#include "access/reloptions.h"

static relopt_kind phnsw_relopt_kind;

void
phnsw_options_register(void)
{
	phnsw_relopt_kind = add_reloption_kind();
	add_int_reloption(phnsw_relopt_kind, "m",
					  "Number of neighbours of a node on the upper levels; twice as many on the lowest",
					  PHNSW_M_DEFAULT, PHNSW_M_MIN, PHNSW_M_MAX, AccessExclusiveLock);
	add_int_reloption(phnsw_relopt_kind, "ef_construction",
					  "Number of candidates among which a node's neighbours are chosen",
					  PHNSW_EFC_DEFAULT, PHNSW_EFC_MIN, PHNSW_EFC_MAX, AccessExclusiveLock);
}

bytea *
phnsw_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(PhnswOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT, offsetof(PhnswOptions, ef_construction)},
	};
	PhnswOptions *options = build_reloptions(reloptions, validate, phnsw_relopt_kind, sizeof(PhnswOptions),
											 table, lengthof(table));

	if (validate && options != NULL && options->ef_construction < 2 * options->m)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ef_construction must be greater than or equal to 2 * m"),
				 errdetail("ef_construction is %d and m is %d.", options->ef_construction, options->m),
				 errhint("A node has up to 2 * m neighbours, chosen among ef_construction candidates: "
						 "set ef_construction to at least %d.", 2 * options->m)));

	return (bytea *) options;
}

int
phnsw_option_m(Relation index)
{
	PhnswOptions *options = (PhnswOptions *) index->rd_options;

	return options != NULL ? options->m : PHNSW_M_DEFAULT;
}

int
phnsw_option_ef_construction(Relation index)
{
	PhnswOptions *options = (PhnswOptions *) index->rd_options;

	return options != NULL ? options->ef_construction : PHNSW_EFC_DEFAULT;
}
