/*
 * row_place.c
 *    The ctid of rows that come out of the executor's reorder queue.
 *
 * A scan whose bounds are not the distances has its rows pass through a queue of the executor's, which puts copies of
 * them into the scan's slot.  PostgreSQL 17 and 18 (and older minor releases of others) forget the slot's TID there, as
 * no access method of their own seems to need it: FOR UPDATE then locks, UPDATE or DELETE by ctid, or WHERE CURRENT OF,
 * looks for a row that does not exist, without an error at best.  The copy itself still knows.  So each of our scans
 * runs under a function that puts the TID back before anything of the row is evaluated: ExecScan() without conditions
 * and projection, then what ExecScan() would do.  Where PostgreSQL remembers, nothing changes.
 *
 * Plans of EvalPlanQual do not come here.  Most of their rows are fetched by TID; a scan that they, or anybody else,
 * begin without this function returns exact distances, which pass the queue by (in_order.c).
 */
#include "scan/scan.h"

#include "executor/executor.h"
#include "nodes/nodeFuncs.h"

static ExecutorStart_hook_type next_executor_start = NULL;
static ExecProcNodeMtd exec_index_scan = NULL;	/* PostgreSQL's, the same for all */
static bool beginning = false;	/* the next scan to begin is one of ours */

static void
restore_tid(TupleTableSlot *slot)
{
	BufferHeapTupleTableSlot *row = (BufferHeapTupleTableSlot *) slot;

	if (TTS_IS_BUFFERTUPLE(slot) && !ItemPointerIsValid(&slot->tts_tid) && row->base.tuple != NULL)
		slot->tts_tid = row->base.tuple->t_self;
}

bool
phnsw_row_place_kept(void)
{
	bool		kept = beginning;

	beginning = false;
	return kept;
}

/* PostgreSQL begins the scan with the first row.  What it evaluates before may begin others. */
static TupleTableSlot *
first_row(PlanState *node)
{
	bool		before = beginning;
	TupleTableSlot *slot;

	beginning = true;
	PG_TRY();
	{
		slot = exec_index_scan(node);
	}
	PG_FINALLY();
	{
		beginning = before;
	}
	PG_END_TRY();
	return slot;
}

/* The next row of the table, before conditions and projection. */
static TupleTableSlot *
next_row(PlanState *node)
{
	ExprState  *qual = node->qual;
	ProjectionInfo *projection = node->ps_ProjInfo;
	TupleTableSlot *slot;

	/* An error leaves them out for good, but also ends the life of the plan. */
	node->qual = NULL;
	node->ps_ProjInfo = NULL;
	slot = ((IndexScanState *) node)->iss_ScanDesc == NULL ? first_row(node) : exec_index_scan(node);
	node->qual = qual;
	node->ps_ProjInfo = projection;
	if (!TupIsNull(slot))
		restore_tid(slot);
	return slot;
}

/* As ExecScan() says it: an empty slot of the plan's output. */
static TupleTableSlot *
end_of_rows(PlanState *node, TupleTableSlot *empty)
{
	return node->ps_ProjInfo != NULL ? ExecClearTuple(node->ps_ProjInfo->pi_state.resultslot) : empty;
}

static TupleTableSlot *
exec_phnsw_scan(PlanState *node)
{
	ExprContext *econtext = node->ps_ExprContext;

	for (;;)
	{
		TupleTableSlot *slot = next_row(node);

		if (TupIsNull(slot))
			return end_of_rows(node, slot);
		econtext->ecxt_scantuple = slot;
		if (node->qual == NULL || ExecQual(node->qual, econtext))
			return node->ps_ProjInfo != NULL ? ExecProject(node->ps_ProjInfo) : slot;
		InstrCountFiltered1(node, 1);
		if (phnsw_range_passed((IndexScanState *) node))
			return end_of_rows(node, ExecClearTuple(slot));
	}
}

bool
phnsw_is_scan(const PlanState *node)
{
	const IndexScanState *scan = (const IndexScanState *) node;

	/* Only explained, the index is not opened. */
	return IsA(node, IndexScanState) && scan->iss_RelationDesc != NULL &&
		scan->iss_RelationDesc->rd_indam->ambeginscan == phnsw_ambeginscan;
}

static bool
adopt_scans(PlanState *node, void *context)
{
	if (phnsw_is_scan(node))
	{
		if (exec_index_scan == NULL)
			exec_index_scan = node->ExecProcNodeReal;
		/* Another library's function stays: we could not call it. */
		if (exec_index_scan == node->ExecProcNodeReal)
			ExecSetExecProcNode(node, exec_phnsw_scan);
	}
	return planstate_tree_walker(node, adopt_scans, context);
}

static void
after_executor_start(QueryDesc *query, int flags)
{
	if (next_executor_start)
		next_executor_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	if (query->planstate == NULL)
		return;
	adopt_scans(query->planstate, NULL);
	phnsw_leave_out_unread(query);
}

void
phnsw_row_place_init(void)
{
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = after_executor_start;
}
