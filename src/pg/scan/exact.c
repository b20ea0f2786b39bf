/*
 * exact.c
 *    A row's distance, computed by the scan itself: for hits that are found late, for rows in order, and for
 *    phnsw.check_bounds.
 *
 * A hit is late when a farther bound has been returned before it.  Where rows lie closer together than
 * their codes can tell apart (near-duplicates, dense clusters far from each other) most hits of a cluster
 * are, and hardly any of them is really nearer than what the executor may have passed on, which is nothing
 * beyond the last bound.  So the row's distance is looked up: when it is not below the last bound, that
 * bound is one of this row as well, and the order stays exact.  Of a node that several rows share (equal
 * vectors; versions of a row that was updated) all have to be such.
 *
 * The row is fetched through a fetch state of its own, so that the executor's is left alone.
 */
#include "scan/scan.h"

#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "utils/float.h"

/*
 * Looks in vain, one after the other, until most late hits are taken for what
 * they seem: the search began in the wrong cluster.
 */
#define PHNSW_LATE_LOOKS 32
/* From then on so many hits per look. */
#define PHNSW_LATE_PERIOD 16
/* Rows of one node that are looked at; if it has more it is late. */
#define PHNSW_LATE_ROWS 64

/* The indexed value of a fetched row: *null for NULL. */
static Datum
indexed_value(PhnswScan *so, TupleTableSlot *slot, EState **estate, bool *null)
{
	AttrNumber	number = so->index->rd_index->indkey.values[0];
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	MemoryContext caller;

	*estate = NULL;
	if (number > 0)
		return slot_getattr(slot, number, null);
	*estate = CreateExecutorState();
	GetPerTupleExprContext(*estate)->ecxt_scantuple = slot;
	/* A long scan looks often: all of it goes with the state. */
	caller = MemoryContextSwitchTo((*estate)->es_query_cxt);
	FormIndexDatum(BuildIndexInfo(so->index), slot, *estate, values, nulls);
	MemoryContextSwitchTo(caller);
	*null = nulls[0];
	return values[0];
}

static double
distance_by(ScanKey orderby, Datum value)
{
	if (orderby->sk_flags & SK_ISNULL)
		return get_float8_nan();
	return DatumGetFloat8(FunctionCall2Coll(&orderby->sk_func, orderby->sk_collation, value, orderby->sk_argument));
}

PhnswRowResult
phnsw_exact_distances(IndexScanDesc scan, PhnswScan *so, ItemPointerData tid, double *distances, int n)
{
	TupleTableSlot *slot = table_slot_create(scan->heapRelation, NULL);
	IndexFetchTableData *fetch = table_index_fetch_begin(scan->heapRelation);
	ItemPointerData at = tid;	/* the fetch moves it along a chain of versions */
	bool		call_again = false;
	PhnswRowResult result = PHNSW_ROW_INVISIBLE;

	if (table_index_fetch_tuple(fetch, &at, scan->xs_snapshot, slot, &call_again, NULL))
	{
		EState	   *estate;
		bool		null;
		Datum		value = indexed_value(so, slot, &estate, &null);

		result = null ? PHNSW_ROW_NULL : PHNSW_ROW_FOUND;
		for (int i = 0; i < n; i++)
			distances[i] = null ? get_float8_nan() : distance_by(&scan->orderByData[i], value);
		if (estate != NULL)
			FreeExecutorState(estate);
	}
	table_index_fetch_end(fetch);
	ExecDropSingleTupleTableSlot(slot);
	return result;
}

/*
 * Is no row of the node, whose TIDs are at hand, nearer than the last bound?  Rows with an equal code may
 * have different distances, so each is looked at, up to the first that does not fit.  One that nobody
 * here sees says nothing, and if there are only such, they may wait.
 */
static bool
rows_fit(IndexScanDesc scan, PhnswScan *so)
{
	bool		fits = false;

	for (uint32 i = 0; i <= so->n_tids; i++)
	{
		const phnsw_tid *stored = i < so->n_tids ? &so->tids[i] : &so->current.tid;
		ItemPointerData tid;
		double		distance;
		PhnswRowResult row;

		if (stored->offset == 0)
			continue;
		/* Damaged: phnsw_emit_next() says so, if it comes to that. */
		if ((stored->block_hi & stored->block_lo) == 0xFFFF)
			return false;
		memcpy(&tid, stored, sizeof(tid));
		row = phnsw_exact_distances(scan, so, tid, &distance, 1);
		if (row == PHNSW_ROW_INVISIBLE)
			continue;
		fits = row == PHNSW_ROW_FOUND && distance >= so->last_bound;
		if (!fits)
		{
			so->late_in_vain += row == PHNSW_ROW_FOUND;
			return false;
		}
	}
	return fits;
}

/*
 * A node's rows come together, or wait together.  What an insert adds to its chain between the look
 * and their return is not seen by the scan's snapshot (emit.c).
 */
bool
phnsw_late_fits(IndexScanDesc scan, PhnswScan *so, PhnswHit *hit)
{
	bool		fits;

	if (so->kind != PHNSW_QUERY_VECTOR)
		return false;
	if (so->late_in_vain >= PHNSW_LATE_LOOKS && ++so->late_passed % PHNSW_LATE_PERIOD != 0)
		return false;
	fits = phnsw_emit_all(so, hit, PHNSW_LATE_ROWS) && rows_fit(scan, so);
	phnsw_emit_end(so);
	if (fits)
	{
		so->late_in_vain = 0;
		hit->bound = so->last_bound;
	}
	return fits;
}

void
phnsw_check_bound(IndexScanDesc scan, PhnswScan *so)
{
	ItemPointerData tid = scan->xs_heaptid;
	double		distance;
	PhnswRowResult row = phnsw_exact_distances(scan, so, tid, &distance, 1);

	if (row == PHNSW_ROW_NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" returned row (%u,%u), whose value is NULL", RelationGetRelationName(so->index),
						ItemPointerGetBlockNumber(&tid), ItemPointerGetOffsetNumber(&tid)),
				 errhint("Run phnsw_check() on the index, and REINDEX it.")));
	if (row == PHNSW_ROW_FOUND && float8_gt(so->current.bound, distance))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" returned bound %.17g for row (%u,%u) at distance %.17g",
						RelationGetRelationName(so->index), so->current.bound,
						ItemPointerGetBlockNumber(&tid), ItemPointerGetOffsetNumber(&tid), distance),
				 errhint("Run phnsw_check() on the index, and REINDEX it.")));
}
