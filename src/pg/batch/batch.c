/*
 * batch.c
 *    Bulk insert: rows that a transaction inserts wait in the backend and reach the index together.
 *
 * Rows inserted into an empty index are collected, and into a filled one when a transaction has inserted a few and
 * there is memory for a merge; when they must be in the index, batch_flush.c brings them there.  Nobody else can
 * see the rows before the transaction commits, so nobody misses them.
 *
 * They must be in the index, and are flushed,
 *    - before this backend reads the index (phnsw_batch_flush, from scans and checks),
 *    - before a parallel query, whose workers would read the index without us (ExecutorStart hook),
 *    - before a utility statement that might move or drop relations (ProcessUtility hook),
 *    - before commit and prepare; rows that others' callbacks insert after that go directly into the
 *      index, and so do those that come while ALTER TABLE or ALTER INDEX is at work (from an event
 *      trigger, say), which may copy the index's file behind them.
 *
 * Nobody but us knows a waiting row's TID: batch_heap.c says why it stays the row's.
 *
 * Subtransactions.  Rows of an aborted one are forgotten at once: their TIDs may belong to other rows by
 * the time of the flush.  A flush that fails leaves in the batch the rows that are not in the index yet, so
 * that a savepoint rolled back around it loses nothing; a flush that succeeds stays, whatever becomes of
 * the subtransaction that caused it, like every change of an index.
 *
 * The file.  AccessShareLock, until the end of the subtransaction that has rows in waiting, keeps others from moving
 * the index to another file (ALTER INDEX SET TABLESPACE does not lock the table).  What this backend itself moves has
 * been flushed before, and nothing waits meanwhile; a batch whose index has another file nevertheless (TRUNCATE by an
 * apply worker) is ignored, and dropped at commit: whatever made the new file has seen the rows in the table.
 */
#include "batch/batch.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

static PhnswBatch *batches = NULL;	/* in batch_context, a child of TopTransactionContext */
static MemoryContext batch_context = NULL;
static Size memory_used = 0;
static bool closed = false;		/* the last flush before commit is over */
static int	altering = 0;		/* statements at work that may copy an index's file */
static ExecutorStart_hook_type next_executor_start = NULL;
static ProcessUtility_hook_type next_process_utility = NULL;

/* ---- collecting ------------------------------------------------------------------------------ */

static PhnswBatch *
find_batch(Relation index)
{
	for (PhnswBatch *batch = batches; batch != NULL; batch = batch->next)
	{
		if (batch->relid == RelationGetRelid(index) && PhnswFileEquals(batch->file, PhnswRelationFile(index)))
			return batch;
	}
	return NULL;
}

static PhnswBatch *
new_batch(Relation index, PhnswIndex *pi)
{
	MemoryContext old;
	PhnswBatch *batch;

	if (batch_context == NULL)
		batch_context = AllocSetContextCreate(TopTransactionContext, "phnsw bulk insert", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(batch_context);
	batch = palloc0(sizeof(PhnswBatch));
	batch->relid = RelationGetRelid(index);
	batch->file = PhnswRelationFile(index);
	batch->runs_max = 4;
	batch->runs = palloc(batch->runs_max * sizeof(PhnswRun));
	phnsw_rows_init(&batch->rows, batch_context, pi->meta.codec.dims, pi->meta.nodes.limit == 0 ? 2 : 4, &memory_used);
	batch->next = batches;
	batches = batch;
	MemoryContextSwitchTo(old);
	return batch;
}

/* Each subtransaction's rows come with a lock of its own. */
static void
note_subtransaction(Relation index, PhnswBatch *batch)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	ResourceOwner owner = CurrentResourceOwner;

	if (batch->n_runs > 0 && batch->runs[batch->n_runs - 1].subid == subid)
		return;
	CurrentResourceOwner = CurTransactionResourceOwner;
	LockRelation(index, AccessShareLock);
	CurrentResourceOwner = owner;
	if (batch->n_runs == batch->runs_max)
	{
		batch->runs = repalloc_huge(batch->runs, (Size) batch->runs_max * 2 * sizeof(PhnswRun));
		batch->runs_max *= 2;
	}
	batch->runs[batch->n_runs].subid = subid;
	batch->runs[batch->n_runs].first = batch->rows.n;
	batch->n_runs++;
}

/* Has the transaction as many rows in files as temp_file_limit leaves room for, beside a merge's copy? */
static bool
files_are_full(void)
{
	uint64		bytes = 0;

	if (temp_file_limit < 0)
		return false;
	for (PhnswBatch *batch = batches; batch != NULL; batch = batch->next)
		bytes += phnsw_rows_file_bytes(&batch->rows);
	return bytes > (uint64) temp_file_limit * 1024 / 2;
}

bool
phnsw_batch_add(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid, Relation heap,
				bool validation)
{
	PhnswBatch *batch;

	/* Another table access method may have TIDs of another kind. */
	if (closed || altering > 0 || heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		return false;
	batch = find_batch(index);
	if (batch == NULL)
	{
		if (pi->meta.nodes.limit != 0 && !phnsw_merge_is_likely(pi))
			return false;
		batch = new_batch(index, pi);
	}
	/*
	 * A row need not wait if the index has nodes; those that do are merged
	 * later.  An empty index is built from those now.
	 */
	if (batch->rows.file < 0 || !files_are_full())
	{
		note_subtransaction(index, batch);
		if (phnsw_rows_add(&batch->rows, vector, heap_tid))
		{
			if (!validation)
				phnsw_doubt_begin(&batch->doubt, batch_context, heap, heap_tid);
			return true;
		}
	}
	if (pi->meta.nodes.limit != 0)
		return false;
	phnsw_batch_flush(index);
	phnsw_insert_now(index, vector, heap_tid);
	return true;
}

static void
drop_batch(PhnswBatch *batch)
{
	for (PhnswBatch **link = &batches; *link != NULL; link = &(*link)->next)
	{
		if (*link == batch)
		{
			*link = batch->next;
			break;
		}
	}
	phnsw_rows_free(&batch->rows);
	pfree(batch->runs);
	phnsw_doubt_end(&batch->doubt);
	pfree(batch);
}

void
phnsw_batch_forget(Relation index)
{
	PhnswBatch *batch = find_batch(index);

	if (batch != NULL)
		drop_batch(batch);
}

/* Of the others those that the index has, after a flush that failed, are dead there, and vacuum's. */
static void
keep_first(PhnswBatch *batch, uint64 n)
{
	if (n >= batch->rows.n)
		return;
	phnsw_rows_truncate(&batch->rows, n);
	phnsw_doubt_end(&batch->doubt);
	batch->in_doubt &= batch->flushed < n;
	batch->flushed = Min(batch->flushed, n);
}

/* ---- a row that may be taken back (batch_heap.c) --------------------------------------------- */

static PhnswFate
settle(PhnswBatch *batch, Relation heap)
{
	PhnswFate	fate = phnsw_doubt_fate(&batch->doubt, heap);

	if (fate == PHNSW_ROW_GONE)
		keep_first(batch, batch->rows.n - 1);
	else if (fate == PHNSW_ROW_STAYS)
		phnsw_doubt_end(&batch->doubt);
	return fate;
}

void
phnsw_batch_settle(Relation index, Relation heap, ItemPointer heap_tid)
{
	PhnswBatch *batch = batches == NULL ? NULL : find_batch(index);

	if (batch == NULL || batch->doubt.tuple == NULL)
		return;
	if (ItemPointerEquals(heap_tid, &batch->doubt.tid))
		keep_first(batch, batch->rows.n - 1);
	else if (settle(batch, heap) == PHNSW_ROW_IN_DOUBT)
		phnsw_batch_flush(index);
}

/* ---- flushing -------------------------------------------------------------------------------- */

static void
flush(Relation index, PhnswBatch *batch)
{
	if (batch->doubt.tuple != NULL)
	{
		/* The table is locked since the rows were inserted. */
		Relation	heap = table_open(index->rd_index->indrelid, NoLock);

		settle(batch, heap);
		table_close(heap, NoLock);
	}
	phnsw_flush_batch(index, batch);
	drop_batch(batch);
}

void
phnsw_batch_flush(Relation index)
{
	PhnswBatch *batch;

	if (batches == NULL)
		return;
	batch = find_batch(index);
	if (batch != NULL)
		flush(index, batch);
}

/*
 * At the end of the transaction a batch without an index is dropped; before, a rolled back savepoint may bring it back.
 */
static void
flush_all(bool ending)
{
	PhnswBatch *next;

	for (PhnswBatch *batch = batches; batch != NULL; batch = next)
	{
		Relation	index = batch->rows.n > 0 ? try_relation_open(batch->relid, AccessShareLock) : NULL;

		next = batch->next;
		if (index != NULL && PhnswFileEquals(batch->file, PhnswRelationFile(index)))
			flush(index, batch);
		else if (ending)
			drop_batch(batch);
		if (index != NULL)
			relation_close(index, AccessShareLock);
	}
}

/* ---- when ------------------------------------------------------------------------------------ */

static void
on_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			flush_all(true);
			closed = true;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			/* The memory goes with the transaction's context, the file with its resource owner. */
			batches = NULL;
			batch_context = NULL;
			memory_used = 0;
			closed = false;
			break;
		default:
			break;
	}
}

/* An aborted subtransaction takes its rows along; its id is the smallest of those that inserted since it began. */
static void
on_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (PhnswBatch *batch = batches; batch != NULL; batch = batch->next)
	{
		while (batch->n_runs > 0 && batch->runs[batch->n_runs - 1].subid >= subid)
			keep_first(batch, batch->runs[--batch->n_runs].first);
	}
}

static void
before_executor(QueryDesc *query, int flags)
{
	if (batches != NULL && query->plannedstmt->parallelModeNeeded && !(flags & EXEC_FLAG_EXPLAIN_ONLY))
		flush_all(false);
	if (next_executor_start)
		next_executor_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

/* Statements that leave relations where they are; every other utility statement is preceded by a flush. */
static bool
is_harmless(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CopyStmt:
		case T_CreateStmt:
		case T_CreateTableAsStmt:
		case T_TransactionStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_DeallocateStmt:
		case T_ExplainStmt:
		case T_DoStmt:
		case T_CallStmt:
		case T_LockStmt:
		case T_ConstraintsSetStmt:
		case T_NotifyStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
			return true;
		default:
			return false;
	}
}

static void
run_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	if (next_process_utility)
		next_process_utility(statement, query, read_only_tree, context, params, environment, receiver, completion);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, params, environment, receiver, completion);
}

static void
before_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
			   ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	NodeTag		tag = nodeTag(statement->utilityStmt);

	if (batches != NULL && !is_harmless(statement->utilityStmt))
		flush_all(false);
	if (tag != T_AlterTableStmt && tag != T_AlterTableMoveAllStmt)
	{
		run_utility(statement, query, read_only_tree, context, params, environment, receiver, completion);
		return;
	}
	altering++;
	PG_TRY();
	{
		run_utility(statement, query, read_only_tree, context, params, environment, receiver, completion);
	}
	PG_FINALLY();
	{
		altering--;
	}
	PG_END_TRY();
}

void
phnsw_batch_init(void)
{
	RegisterXactCallback(on_transaction, NULL);
	RegisterSubXactCallback(on_subtransaction, NULL);
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = before_executor;
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = before_utility;
}
