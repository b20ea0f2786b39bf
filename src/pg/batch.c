/*
 * batch.c
 *    Bulk insert: rows inserted into an empty index wait in the backend and reach the index together.
 *
 * People create the index first and load afterwards.  The first rows that a transaction inserts into an empty index are
 * therefore collected; when they must be in the index they go through the bulk build if they are many, row by row if they are
 * few.  Nobody else can see the rows before the transaction commits, so nobody misses them.
 *
 * They must be in the index, and are flushed,
 *    - before this backend reads the index (phnsw_batch_flush, from scans and checks),
 *    - before a parallel query, whose workers would read the index without us (ExecutorStart hook),
 *    - before a utility statement that might move or drop relations (ProcessUtility hook),
 *    - before commit and prepare; rows that others' callbacks insert after that go directly into the index.
 *
 * Subtransactions.  Rows of an aborted one are forgotten at once: their TIDs may belong to other rows by the time of the
 * flush.  A flush that fails leaves in the batch the rows that are not in the index yet, so that a savepoint rolled back
 * around it loses nothing; a flush that succeeds stays, whatever becomes of the subtransaction that caused it, like every
 * change of an index.
 *
 * The file.  AccessShareLock until the end of the transaction keeps others from moving the index to another file (ALTER
 * INDEX SET TABLESPACE does not lock the table).  What this backend itself moves or rewrites has been flushed before; a batch
 * whose index has another file nevertheless (TRUNCATE by an apply worker) is ignored, and dropped at commit: whatever made
 * the new file has seen the rows in the table.
 *
 * Two writers.  An index goes from empty to not empty once in the life of its file, under a tuple lock (block 0, offset 1)
 * that both a bulk build and the insert of a first row hold; who comes second finds the index filled and goes row by row.
 * Readers take no notice: until the meta page changes the index is empty.
 */
#include "batch.h"
#include "build.h"

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

/*
 * Fewer rows go row by row: a bulk build has fixed costs (a thread, calibration, page images).  COMMIT after inserting n rows,
 * best of 9 on 2 cores that had other work (load 9), in ms, bulk / row by row:
 *
 *    n       8 dims        128 dims      768 dims
 *    100     7.3 / 3.1     4.9 / 3.9     8.5 / 10
 *    200     27 / 21       15 / 17       36 / 39
 *    300     25 / 33       39 / 35       44 / 51
 *    600     47 / 82       48 / 75       126 / 215
 *    900     55 / 163      82 / 143      120 / 190
 */
#define PHNSW_BATCH_BULK_ROWS 300

typedef struct Run
{
	SubTransactionId subid;
	uint64		first;			/* row */
} Run;

typedef struct Batch
{
	Oid			relid;
	PhnswFile	file;
	bool		filter;			/* the rows are this transaction's own (batch_heap.c) */
	PhnswRows	rows;
	Run		   *runs;			/* who inserted which rows, ascending */
	int			n_runs;
	int			runs_max;

	/* what a flush that failed has left */
	uint64		flushed;		/* the first rows, which are in the index */
	bool		in_doubt;		/* the insert of the next one failed half-way */
	uint64		built;			/* or, if the index bears this build_id, the first rows */
	uint64		build_id;		/* 0: no bulk build was tried */

	struct Batch *next;
} Batch;

static Batch *batches = NULL;	/* in batch_context, a child of TopTransactionContext */
static MemoryContext batch_context = NULL;
static Size memory_used = 0;
static bool closed = false;		/* the last flush before commit is over */
static ExecutorStart_hook_type next_executor_start = NULL;
static ProcessUtility_hook_type next_process_utility = NULL;

/* ---- collecting ---------------------------------------------------------------------------------------------------------- */

static Batch *
find_batch(Relation index)
{
	for (Batch *batch = batches; batch != NULL; batch = batch->next)
	{
		if (batch->relid == RelationGetRelid(index) && PhnswFileEquals(batch->file, PhnswRelationFile(index)))
			return batch;
	}
	return NULL;
}

static Batch *
new_batch(Relation index, PhnswIndex *pi)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old;
	Batch	   *batch;

	CurrentResourceOwner = TopTransactionResourceOwner;
	LockRelation(index, AccessShareLock);
	CurrentResourceOwner = owner;

	if (batch_context == NULL)
		batch_context = AllocSetContextCreate(TopTransactionContext, "phnsw bulk insert", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(batch_context);
	batch = palloc0(sizeof(Batch));
	batch->relid = RelationGetRelid(index);
	batch->file = PhnswRelationFile(index);
	batch->runs_max = 4;
	batch->runs = palloc(batch->runs_max * sizeof(Run));
	phnsw_rows_init(&batch->rows, batch_context, pi->meta.codec.dims, &memory_used);
	batch->next = batches;
	batches = batch;
	MemoryContextSwitchTo(old);
	return batch;
}

static void
note_subtransaction(Batch *batch)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	if (batch->n_runs > 0 && batch->runs[batch->n_runs - 1].subid == subid)
		return;
	if (batch->n_runs == batch->runs_max)
	{
		batch->runs = repalloc_huge(batch->runs, (Size) batch->runs_max * 2 * sizeof(Run));
		batch->runs_max *= 2;
	}
	batch->runs[batch->n_runs].subid = subid;
	batch->runs[batch->n_runs].first = batch->rows.n;
	batch->n_runs++;
}

bool
phnsw_batch_add(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid, Relation heap, bool validation)
{
	Batch	   *batch;

	/* Another table access method may have TIDs of another kind. */
	if (closed || heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		return false;
	batch = find_batch(index);
	if (batch == NULL)
	{
		if (pi->meta.nodes.limit != 0)
			return false;
		batch = new_batch(index, pi);
		batch->filter = !validation;
	}
	note_subtransaction(batch);
	phnsw_rows_add(&batch->rows, vector, heap_tid);
	return true;
}

static void
drop_batch(Batch *batch)
{
	for (Batch **link = &batches; *link != NULL; link = &(*link)->next)
	{
		if (*link == batch)
		{
			*link = batch->next;
			break;
		}
	}
	phnsw_rows_free(&batch->rows);
	pfree(batch->runs);
	pfree(batch);
}

void
phnsw_batch_forget(Relation index)
{
	Batch	   *batch = find_batch(index);

	if (batch != NULL)
		drop_batch(batch);
}

/* ---- flushing -------------------------------------------------------------------------------------------------------------- */

static void
lock_empty(Relation index)
{
	ItemPointerData tid;

	ItemPointerSet(&tid, 0, FirstOffsetNumber);
	LockTuple(index, &tid, ExclusiveLock);
}

static void
unlock_empty(Relation index)
{
	ItemPointerData tid;

	ItemPointerSet(&tid, 0, FirstOffsetNumber);
	UnlockTuple(index, &tid, ExclusiveLock);
}

void
phnsw_insert_now(Relation index, const float *vector, ItemPointer heap_tid)
{
	PhnswIndex *pi = phnsw_index_open(index);
	bool		empty = pi->meta.nodes.limit == 0;

	if (empty)
	{
		lock_empty(index);
		pi = phnsw_index_open(index);
	}
	/* A cancel between rows will do, and leaves no doubt about this one. */
	HOLD_INTERRUPTS();
	phnsw_insert_vector(index, pi, vector, heap_tid);
	RESUME_INTERRUPTS();
	if (empty)
		unlock_empty(index);
}

typedef struct Flush
{
	Batch	   *batch;
	PhnswRowFilter filter;
	uint64		kept;
} Flush;

/* The record of a row that must be in the index; NULL for one that does not count any more. */
static char *
wanted_record(Flush *flush, uint64 row)
{
	char	   *record = phnsw_rows_get(&flush->batch->rows, row);

	if (flush->batch->filter && !phnsw_filter_keeps(&flush->filter, row, phnsw_record_tid(record)))
		return NULL;
	flush->kept++;
	return record;
}

/* PhnswRowSource */
static double
feed_rows(PhnswBuild *build, void *arg)
{
	Flush	   *flush = arg;

	phnsw_filter_begin(&flush->filter, build->heap, &flush->batch->rows);
	for (uint64 row = 0; row < flush->batch->rows.n; row++)
	{
		char	   *record = wanted_record(flush, row);

		if (record != NULL)
			phnsw_build_add(build, phnsw_record_vector(record), phnsw_record_tid(record));
	}
	phnsw_filter_end(&flush->filter);
	return flush->kept;
}

/* The bulk build into the empty index; false when it is not empty, or the rows are few. */
static bool
flush_bulk(Relation heap, Relation index, Flush *flush)
{
	Batch	   *batch = flush->batch;
	bool		empty;

	if (batch->rows.n < PHNSW_BATCH_BULK_ROWS || phnsw_index_open(index)->meta.nodes.limit != 0)
		return false;
	lock_empty(index);
	empty = phnsw_index_open(index)->meta.nodes.limit == 0;
	if (empty)
	{
		PhnswIndexStats *stats;

		batch->built = batch->rows.n;
		phnsw_bulk_replace(heap, index, batch->rows.n, feed_rows, flush, &batch->build_id);
		batch->flushed = batch->rows.n;
		stats = phnsw_stats_of(RelationGetRelid(index));
		stats->bulk_flushes++;
		stats->inserts_bulk += flush->kept;
	}
	unlock_empty(index);
	return empty;
}

static void
flush_rows(Relation heap, Relation index, Flush *flush)
{
	Batch	   *batch = flush->batch;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;

	phnsw_filter_begin(&flush->filter, heap, &batch->rows);
	MemoryContextSwitchTo(context);
	for (; batch->flushed < batch->rows.n; batch->flushed++)
	{
		char	   *record = wanted_record(flush, batch->flushed);

		CHECK_FOR_INTERRUPTS();
		if (record == NULL)
			continue;
		batch->in_doubt = true;
		phnsw_insert_now(index, phnsw_record_vector(record), phnsw_record_tid(record));
		batch->in_doubt = false;
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	phnsw_filter_end(&flush->filter);
}

/* What an earlier flush, which failed, has brought into the index. */
static void
take_stock(Relation index, Batch *batch)
{
	if (batch->build_id != 0 && phnsw_index_open(index)->meta.build_id == batch->build_id)
		batch->flushed = Max(batch->flushed, batch->built);
	if (batch->in_doubt)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot go on with rows for index \"%s\"", RelationGetRelationName(index)),
				 errdetail("An error in this transaction left it open whether one of them is in the index."),
				 errhint("Roll back the transaction, or to a savepoint before the rows were inserted.")));
}

static void
flush_batch(Relation index, Batch *batch)
{
	take_stock(index, batch);
	if (batch->flushed < batch->rows.n)
	{
		/* The table is locked since the rows were inserted. */
		Relation	heap = table_open(index->rd_index->indrelid, NoLock);
		Flush		flush = {.batch = batch};

		LockRelation(index, RowExclusiveLock);
		if (!flush_bulk(heap, index, &flush))
			flush_rows(heap, index, &flush);
		UnlockRelation(index, RowExclusiveLock);
		table_close(heap, NoLock);
	}
	drop_batch(batch);
}

void
phnsw_batch_flush(Relation index)
{
	Batch	   *batch;

	if (batches == NULL)
		return;
	batch = find_batch(index);
	if (batch != NULL)
		flush_batch(index, batch);
}

/* At the end of the transaction a batch without an index is dropped; before, a rolled back savepoint may bring it back. */
static void
flush_all(bool ending)
{
	Batch	   *next;

	for (Batch *batch = batches; batch != NULL; batch = next)
	{
		Relation	index = batch->rows.n > 0 ? try_relation_open(batch->relid, AccessShareLock) : NULL;

		next = batch->next;
		if (index != NULL && PhnswFileEquals(batch->file, PhnswRelationFile(index)))
			flush_batch(index, batch);
		else if (ending)
			drop_batch(batch);
		if (index != NULL)
			relation_close(index, AccessShareLock);
	}
}

/* ---- when ---------------------------------------------------------------------------------------------------------------- */

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
	for (Batch *batch = batches; batch != NULL; batch = batch->next)
	{
		while (batch->n_runs > 0 && batch->runs[batch->n_runs - 1].subid >= subid)
			phnsw_rows_truncate(&batch->rows, batch->runs[--batch->n_runs].first);
		/* Of these the ones that the index has are dead there, and vacuum's. */
		batch->in_doubt &= batch->flushed < batch->rows.n;
		batch->flushed = Min(batch->flushed, batch->rows.n);
		batch->built = Min(batch->built, batch->rows.n);
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
before_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
			   ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	if (batches != NULL && !is_harmless(statement->utilityStmt))
		flush_all(false);
	if (next_process_utility)
		next_process_utility(statement, query, read_only_tree, context, params, environment, receiver, completion);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, params, environment, receiver, completion);
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
