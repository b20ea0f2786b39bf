/*
 * stats_view.c
 *    SQL functions of the statistics: phnsw_stats(), which the view of that name reads, phnsw_last_scan(),
 *    phnsw_stats_reset().
 */
#include "stats/stats.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(phnsw_stats);
PG_FUNCTION_INFO_V1(phnsw_last_scan);
PG_FUNCTION_INFO_V1(phnsw_stats_reset);

/* index, scope, the numbers, since. */
#define STATS_COLUMNS (PHNSW_STATS_N + 3)

/* The server's sums tell what others do: for the index's owner and those who may read all statistics. */
static bool
may_see(Oid relid, bool server)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		may;

	if (!HeapTupleIsValid(tuple))
		return false;			/* dropped, or not committed yet */
	may = !server || has_privs_of_role(GetUserId(), ((Form_pg_class) GETSTRUCT(tuple))->relowner) ||
		has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	ReleaseSysCache(tuple);
	return may;
}

static void
put_row(ReturnSetInfo *result, Oid relid, bool server, const PhnswIndexStats *sum, TimestampTz since)
{
	Datum		values[STATS_COLUMNS];
	bool		nulls[STATS_COLUMNS] = {0};
	const uint64 *numbers = (const uint64 *) sum;
	int			n = 0;

	if (!may_see(relid, server))
		return;
	values[n++] = ObjectIdGetDatum(relid);
	values[n++] = CStringGetTextDatum(server ? "server" : "session");
	for (Size i = 0; i < PHNSW_STATS_N; i++)
		values[n++] = Int64GetDatum((int64) numbers[i]);
	values[n++] = TimestampTzGetDatum(since);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* PhnswLocalVisitor */
static void
put_local(PhnswLocalStats *stats, void *result)
{
	put_row(result, stats->relid, false, &stats->sum, stats->since);
}

Datum
phnsw_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (result->setDesc->natts != STATS_COLUMNS)
		elog(ERROR, "phnsw_stats does not return the rows that it was written for");
	if (!phnsw_shared_exists())
		phnsw_stats_visit(put_local, result);
	else
	{
		PhnswSharedRow *rows = palloc(PHNSW_STATS_INDEXES_MAX * sizeof(PhnswSharedRow));
		uint32		n;

		phnsw_shared_send();
		n = phnsw_shared_read(rows);
		for (uint32 i = 0; i < n; i++)
			put_row(result, rows[i].relid, true, &rows[i].sum, rows[i].since);
		pfree(rows);
	}
	return (Datum) 0;
}

Datum
phnsw_last_scan(PG_FUNCTION_ARGS)
{
	const PhnswLastScan *scan = &phnsw_last_scan_done;
	TupleDesc	desc;
	Datum		values[13];
	bool		nulls[13];
	int			n = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "phnsw_last_scan does not return the row that it was written for");
	memset(nulls, !OidIsValid(scan->relid), sizeof(nulls));
	values[n++] = ObjectIdGetDatum(scan->relid);
	values[n++] = Int32GetDatum(scan->ef);
	values[n++] = Int64GetDatum(scan->work.hops);
	values[n++] = Int64GetDatum(scan->work.touches);
	values[n++] = Int64GetDatum(scan->work.pins);
	values[n++] = Int64GetDatum(scan->work.glances);
	values[n++] = Int64GetDatum(scan->work.misses);
	values[n++] = Int64GetDatum(scan->work.emitted);
	values[n++] = Int64GetDatum(scan->work.late);
	values[n++] = Int64GetDatum(scan->work.sweeps);
	values[n++] = Int64GetDatum(scan->work.killed);
	values[n++] = Float8GetDatum(scan->first_row_ms);
	values[n++] = Float8GetDatum(scan->total_ms);
	Assert(n == lengthof(values));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * Everybody may forget what the own session counted; the server's sums belong
 * to the index's owner, all of them to superusers.
 */
static void
require_reset_privilege(Oid relid)
{
	if (!phnsw_shared_exists() || superuser())
		return;
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to reset the statistics of all phnsw indexes"),
				 errdetail("They are those of the whole server, which only superusers may reset."),
				 errhint("Name an index of your own.")));
	if (!PhnswOwnsRelation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_INDEX, get_rel_name(relid));
}

Datum
phnsw_stats_reset(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);

	require_reset_privilege(relid);
	if (phnsw_shared_exists())
	{
		phnsw_shared_send();
		phnsw_shared_reset(relid);
	}
	phnsw_stats_forget(relid);
	PG_RETURN_VOID();
}
