/*
 * range_end.c
 *    WHERE v <-> q < r ORDER BY v <-> q: a scan that ends at r.
 *
 * PostgreSQL does not tell an access method of the condition: it filters the rows that come, and where
 * LIMIT asks for more than meet it, the rest of the index would be looked through for another one.  But
 * the rows come in the order of their distance.  So when one is out because of its distance, no later one
 * can meet the condition, and the scan is over.  What it has not found by then is missing, as behind any
 * LIMIT.  In relaxed order rows come late, and the scan goes on.
 *
 * Which conditions are such is found in distance_range.c.  Their q need not be that of the order by
 * its form: a statement whose client numbers each of its question marks, or that repeats a subquery,
 * has two parameters, which are compared when they have values.
 *
 * The condition is evaluated once more, for rows that all conditions together have rejected, a policy's among them.
 * Nobody gets to see these: what it computes of a row is our distance and arithmetic that raises no error.
 */
#include "scan/scan.h"

#include "executor/executor.h"
#include "utils/datum.h"

/* Where there are other conditions, so many rejected rows per look at the distance: a look costs a distance. */
#define PHNSW_RANGE_PERIOD 8

typedef struct RangeCondition
{
	ExprState  *holds;
	ExprState  *query;			/* NULL: the order's, by its form */
	bool		of_order;		/* in this scan the queries are the same */
} RangeCondition;

struct PhnswRange
{
	RangeCondition *conditions;
	uint32		n_conditions;
	bool		others;			/* a row may be rejected for another reason */
	bool		compared;		/* of_order is known, for this scan */
	uint32		rejected;
};

static PhnswRange *
find_range(IndexScanState *scan)
{
	List	   *all = scan->ss.ps.plan->qual;
	OpExpr	   *distance = linitial_node(OpExpr, ((IndexScan *) scan->ss.ps.plan)->indexorderbyorig);
	MemoryContext caller = MemoryContextSwitchTo(scan->ss.ps.state->es_query_cxt);
	PhnswRange *range = palloc0(sizeof(PhnswRange));
	ListCell   *cell;

	range->conditions = palloc(list_length(all) * sizeof(RangeCondition));
	foreach(cell, all)
	{
		Node	   *query;

		if (!phnsw_is_range(lfirst(cell), distance, &query))
			range->others = true;
		else
			range->conditions[range->n_conditions++] = (RangeCondition)
			{
				ExecInitQual(list_make1(lfirst(cell)), &scan->ss.ps),
				query == NULL ? NULL : ExecInitExpr((Expr *) query, &scan->ss.ps),
				query == NULL
			};
	}
	MemoryContextSwitchTo(caller);
	return range;
}

/* Which of the conditions are about the query that this scan has. */
static void
compare_queries(IndexScanState *scan, PhnswRange *range)
{
	const ScanKeyData *order = &scan->iss_ScanDesc->orderByData[0];

	for (uint32 i = 0; i < range->n_conditions; i++)
	{
		RangeCondition *condition = &range->conditions[i];
		Datum		query;
		bool		null;

		if (condition->query == NULL)
			continue;
		query = ExecEvalExprSwitchContext(condition->query, scan->ss.ps.ps_ExprContext, &null);
		condition->of_order = !null && (order->sk_flags & SK_ISNULL) == 0 &&
			datum_image_eq(query, order->sk_argument, false, -1);
	}
	range->compared = true;
}

void
phnsw_range_begin(PhnswScan *so)
{
	if (so->range != NULL)
		so->range->compared = false;
}

bool
phnsw_range_passed(IndexScanState *scan)
{
	PhnswScan  *so = scan->iss_ScanDesc->opaque;
	PhnswRange *range = so->range;

	if (range == NULL)
		range = so->range = find_range(scan);
	if (range->n_conditions == 0 || phnsw_iterative_scan == PHNSW_ORDER_RELAXED)
		return false;
	if (range->others && range->rejected++ % PHNSW_RANGE_PERIOD != 0)
		return false;
	if (!range->compared)
		compare_queries(scan, range);
	for (uint32 i = 0; i < range->n_conditions; i++)
	{
		if (range->conditions[i].of_order && !ExecQual(range->conditions[i].holds, scan->ss.ps.ps_ExprContext))
			return true;
	}
	return false;
}
