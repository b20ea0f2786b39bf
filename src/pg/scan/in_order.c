/*
 * in_order.c
 *    Rows in exact order, where a row that passes through the executor's queue would lose its TID (row_place.c).
 *
 * EvalPlanQual runs a copy of the plan.  Rows of the tables that are locked or updated are fetched by TID there, but a
 * correlated subquery is scanned again, and no hook tells of its nodes.  FOR UPDATE in such a subquery would lock a row
 * that does not exist.  So the scan has the queue itself: it computes the distances and returns them, exact and
 * ascending, and the executor passes each row on as it comes.  Each is fetched twice; these scans are few.
 */
#include "scan/scan.h"

#include <math.h>

#include "lib/pairingheap.h"
#include "utils/float.h"
#include "utils/memutils.h"

typedef struct WaitingRow
{
	pairingheap_node node;
	double		distance;		/* NaN, behind all others, for NULL as well */
	ItemPointerData tid;
} WaitingRow;

struct PhnswWaiting
{
	MemoryContext context;		/* a child of the scan's */
	pairingheap rows;
	double		bound;			/* of the rows still to come */
	bool		ended;			/* there are none */
};

/* The heap's first is its largest: the nearest row. */
static int
compare_rows(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	return -float8_cmp_internal(((const WaitingRow *) a)->distance, ((const WaitingRow *) b)->distance);
}

void
phnsw_in_order_begin(PhnswScan *so)
{
	PhnswWaiting *waiting = so->waiting;

	if (waiting == NULL)
	{
		waiting = so->waiting = MemoryContextAllocZero(so->context, sizeof(PhnswWaiting));
		waiting->context = AllocSetContextCreate(so->context, "phnsw rows in order", ALLOCSET_SMALL_SIZES);
		waiting->rows.ph_compare = compare_rows;
	}
	MemoryContextReset(waiting->context);
	pairingheap_reset(&waiting->rows);
	waiting->bound = -INFINITY;
	waiting->ended = false;
}

static void
add_row(IndexScanDesc scan, PhnswScan *so)
{
	PhnswWaiting *waiting = so->waiting;
	double		distance;
	PhnswRowResult result = phnsw_exact_distance(scan, so, scan->xs_heaptid, &distance);
	WaitingRow *row;

	waiting->bound = so->current.bound;
	if (result == PHNSW_ROW_INVISIBLE)
		return;
	row = MemoryContextAlloc(waiting->context, sizeof(WaitingRow));
	row->distance = result == PHNSW_ROW_FOUND ? distance : get_float8_nan();
	row->tid = scan->xs_heaptid;
	pairingheap_add(&waiting->rows, &row->node);
}

bool
phnsw_in_order_next(IndexScanDesc scan, PhnswScan *so, bool (*next_row) (IndexScanDesc scan, PhnswScan *so))
{
	PhnswWaiting *waiting = so->waiting;
	WaitingRow *row;

	for (;;)
	{
		row = pairingheap_is_empty(&waiting->rows) ? NULL : (WaitingRow *) pairingheap_first(&waiting->rows);
		if (row != NULL && row->distance <= waiting->bound)
			break;
		/* A bound of infinity, of vectors whose distance is none, is no end: rows that come late may follow. */
		if (waiting->ended || !next_row(scan, so))
		{
			waiting->ended = true;
			if (row == NULL)
				return false;
			break;
		}
		/* Without an order the executor has no use for its queue. */
		if (so->kind != PHNSW_QUERY_VECTOR)
			return true;
		add_row(scan, so);
	}
	pairingheap_remove_first(&waiting->rows);
	scan->xs_heaptid = row->tid;
	scan->xs_orderbynulls[0] = false;
	scan->xs_orderbyvals[0] = Float8GetDatum(row->distance);
	scan->xs_recheckorderby = false;
	pfree(row);
	return true;
}
