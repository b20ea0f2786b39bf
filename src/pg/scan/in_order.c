/*
 * in_order.c
 *    Rows in exact order, where a row that passes through the executor's queue would lose its TID (row_place.c),
 *    or its place in the order.
 *
 * EvalPlanQual runs a copy of the plan.  Rows of the tables that are locked or updated are fetched by TID there, but a
 * correlated subquery is scanned again, and no hook tells of its nodes.  FOR UPDATE in such a subquery would lock a row
 * that does not exist.  So the scan has the queue itself: it computes the distances and returns them, exact and
 * ascending, and the executor passes each row on as it comes.  Each is fetched twice; these scans are few.
 *
 * Of several distances to order by, the executor compares none behind the first that is NULL for both rows.  A query
 * that is NULL makes it so for all rows, and what should decide then is left out.
 */
#include "scan/scan.h"

#include <math.h>

#include "lib/pairingheap.h"
#include "utils/float.h"
#include "utils/memutils.h"

typedef struct WaitingRow
{
	pairingheap_node node;
	ItemPointerData tid;
	double		distances[FLEXIBLE_ARRAY_MEMBER];	/* by each ORDER BY; NaN, behind all others, for NULL as well */
} WaitingRow;

struct PhnswWaiting
{
	MemoryContext context;		/* a child of the scan's */
	pairingheap rows;
	int			orders;			/* distances to order by: the second decides where the first is equal */
	double		bound;			/* of the rows still to come */
	bool		ended;			/* there are none */
};

/* The heap's first is its largest: the nearest row. */
static int
compare_rows(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const PhnswWaiting *waiting = arg;
	int			order = 0;

	for (int i = 0; i < waiting->orders && order == 0; i++)
		order = float8_cmp_internal(((const WaitingRow *) b)->distances[i], ((const WaitingRow *) a)->distances[i]);
	return order;
}

bool
phnsw_null_decides(IndexScanDesc scan)
{
	for (int i = 0; i + 1 < scan->numberOfOrderBys; i++)
	{
		if (scan->orderByData[i].sk_flags & SK_ISNULL)
			return true;
	}
	return false;
}

void
phnsw_in_order_begin(IndexScanDesc scan, PhnswScan *so)
{
	PhnswWaiting *waiting = so->waiting;

	if (waiting == NULL)
	{
		waiting = so->waiting = MemoryContextAllocZero(so->context, sizeof(PhnswWaiting));
		waiting->context = AllocSetContextCreate(so->context, "phnsw rows in order", ALLOCSET_SMALL_SIZES);
		waiting->rows.ph_compare = compare_rows;
		waiting->rows.ph_arg = waiting;
		waiting->orders = scan->numberOfOrderBys;
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
	WaitingRow *row = MemoryContextAlloc(waiting->context,
										 offsetof(WaitingRow, distances) + waiting->orders * sizeof(double));
	PhnswRowResult result = phnsw_exact_distances(scan, so, scan->xs_heaptid, row->distances, waiting->orders);

	waiting->bound = so->current.bound;
	if (result == PHNSW_ROW_INVISIBLE)
	{
		pfree(row);
		return;
	}
	row->tid = scan->xs_heaptid;
	pairingheap_add(&waiting->rows, &row->node);
}

/* Can no row that is still to come be before this one? */
static inline bool
is_next(const PhnswWaiting *waiting, const WaitingRow *row)
{
	return waiting->orders == 1 ? row->distances[0] <= waiting->bound : row->distances[0] < waiting->bound;
}

static void
return_row(IndexScanDesc scan, const WaitingRow *row, int orders)
{
	scan->xs_heaptid = row->tid;
	for (int i = 0; i < orders; i++)
	{
		scan->xs_orderbynulls[i] = false;
		scan->xs_orderbyvals[i] = Float8GetDatum(row->distances[i]);
	}
	scan->xs_recheckorderby = false;
}

bool
phnsw_in_order_next(IndexScanDesc scan, PhnswScan *so, bool (*next_row) (IndexScanDesc scan, PhnswScan *so))
{
	PhnswWaiting *waiting = so->waiting;
	WaitingRow *row;

	for (;;)
	{
		row = pairingheap_is_empty(&waiting->rows) ? NULL : (WaitingRow *) pairingheap_first(&waiting->rows);
		if (row != NULL && is_next(waiting, row))
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
		if (so->kind != PHNSW_QUERY_VECTOR && waiting->orders == 1)
			return true;
		add_row(scan, so);
	}
	pairingheap_remove_first(&waiting->rows);
	return_row(scan, row, waiting->orders);
	pfree(row);
	return true;
}
