/*
 * name_taken.c
 *    CREATE EXTENSION where another type has our type's name, which is pgvector's: how to have both.
 *
 * Called by the extension's script before its first statement, and by nobody else: the script drops the function
 * again.  PostgreSQL would say the same without a hint.
 */
#include "phnsw.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(phnsw_refuse_taken_name);

/* phnsw_refuse_taken_name() returns void: an error if the schema that objects are created in has a type "vector". */
Datum
phnsw_refuse_taken_name(PG_FUNCTION_ARGS)
{
	List	   *path = fetch_search_path(false);
	Oid			schema = path == NIL ? InvalidOid : linitial_oid(path);
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("vector"),
									   ObjectIdGetDatum(schema));
	Oid			owner = OidIsValid(type) ? getExtensionOfObject(TypeRelationId, type) : InvalidOid;

	if (OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("type \"%s\" already exists in schema \"%s\"", "vector", get_namespace_name(schema)),
				 OidIsValid(owner) ? errdetail("It belongs to extension \"%s\".", get_extension_name(owner)) : 0,
				 errhint("phnsw can stand beside it: CREATE SCHEMA phnsw; CREATE EXTENSION phnsw SCHEMA phnsw; its "
						 "docs/migrating.md tells how to go on.")));
	PG_RETURN_VOID();
}
