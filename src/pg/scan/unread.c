/*
 * unread.c
 *    Distances that ORDER BY asks for and nobody reads.
 *
 * In SELECT id ... ORDER BY v <-> q LIMIT 10 the distance is a column of the scan's output, "resjunk": the
 * planner puts every expression to sort by there, in case that somebody sorts.  Nobody does, the scan's order
 * is right.  So the executor, which has computed the distance to put the row in order, computes it again (and
 * reads the vector out of line again) for a column that the junk filter at the top of the plan drops: a
 * fifteenth of the instructions of a search for ten rows of 784 dimensions.
 *
 * The column becomes a NULL where it is certain that only the junk filter meets it: the scan is the top of
 * the plan, or there are only LIMITs above it that count (WITH TIES compares the column).  Of a parallel
 * worker's plan no column is junk, EvalPlanQual has a plan state of its own, and sorts, merges and
 * subqueries are other nodes above, so none of these is touched.
 */
#include "phnsw.h"

#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"

/* The scan that a plan for SELECT consists of, or NULL. */
static IndexScanState *
only_scan(PlanState *node)
{
	while (IsA(node, LimitState) && ((Limit *) node->plan)->limitOption == LIMIT_OPTION_COUNT)
		node = outerPlanState(node);
	return phnsw_is_scan(node) ? (IndexScanState *) node : NULL;
}

void
phnsw_leave_out_unread(QueryDesc *query)
{
	IndexScanState *scan = query->operation == CMD_SELECT ? only_scan(query->planstate) : NULL;
	List	   *output = NIL;
	bool		unread = false;
	MemoryContext caller;
	ListCell   *cell;

	if (scan == NULL || scan->ss.ps.ps_ProjInfo == NULL)
		return;
	caller = MemoryContextSwitchTo(query->estate->es_query_cxt);
	foreach(cell, scan->ss.ps.plan->targetlist)
	{
		TargetEntry *column = lfirst_node(TargetEntry, cell);

		if (column->resjunk && list_member(((IndexScan *) scan->ss.ps.plan)->indexorderbyorig, column->expr))
		{
			Node	   *distance = (Node *) column->expr;

			column = flatCopyTargetEntry(column);
			column->expr = (Expr *) makeNullConst(exprType(distance), exprTypmod(distance), exprCollation(distance));
			unread = true;
		}
		output = lappend(output, column);
	}
	if (unread)
		scan->ss.ps.ps_ProjInfo = ExecBuildProjectionInfo(output, scan->ss.ps.ps_ExprContext,
														  scan->ss.ps.ps_ResultTupleSlot,
														  &scan->ss.ps, scan->ss.ss_ScanTupleSlot->tts_tupleDescriptor);
	MemoryContextSwitchTo(caller);
}
