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
 *    - before commit and prepare.
 *
 * Memory: half of maintenance_work_mem, then a temporary file of PostgreSQL's.  Rows of an aborted subtransaction are
 * forgotten at once: their TIDs may belong to other rows by the time of the flush.  A batch whose index has got another file
 * (REINDEX, TRUNCATE in the same transaction) is dropped: whatever made the new file has seen the rows in the table.
 *
 * A flush that fails leaves the rows that are not in the index yet in the batch, so that a rolled back savepoint around it
 * loses nothing.
 */
#include "build.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Fewer rows go row by row: a bulk build has fixed costs of a few milliseconds (threads, page images). */
#define PHNSW_BATCH_BULK_ROWS 500

typedef struct Run
{
	SubTransactionId subid;
	uint64		first;			/* row */
} Run;

typedef struct Batch
{
	Oid			relid;
	PhnswFile	file;
	uint32		dims;
	Size		record_bytes;	/* phnsw_tid, padding, dims floats */

	uint64		rows;
	uint64		flushed;		/* the first rows, which a failed flush has brought into the index */
	char	   *memory;			/* the first rows_in_memory records */
	uint64		memory_rows;	/* room */
	uint64		memory_rows_max;
	BufFile    *spill;			/* the others */
	uint64		spill_position; /* row that the next sequential access of `spill` touches */
	char	   *record;			/* one record, for reading and writing the file */

	Run		   *runs;			/* who inserted which rows, ascending */
	int			n_runs;
	int			runs_max;
	struct Batch *next;
} Batch;

static Batch *batches = NULL;	/* in batch_context, a child of TopTransactionContext */
static MemoryContext batch_context = NULL;
static ExecutorStart_hook_type next_executor_start = NULL;
static ProcessUtility_hook_type next_process_utility = NULL;

#define RECORD_VECTOR(record) ((float *) ((record) + MAXALIGN(sizeof(phnsw_tid))))

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
	MemoryContext old;
	Batch	   *batch;

	if (batch_context == NULL)
		batch_context = AllocSetContextCreate(TopTransactionContext, "phnsw bulk insert", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(batch_context);
	batch = palloc0(sizeof(Batch));
	batch->relid = RelationGetRelid(index);
	batch->file = PhnswRelationFile(index);
	batch->dims = pi->meta.codec.dims;
	batch->record_bytes = MAXALIGN(sizeof(phnsw_tid)) + batch->dims * sizeof(float);
	batch->memory_rows_max = Max(16, (Size) maintenance_work_mem * 1024 / 2 / batch->record_bytes);
	batch->memory_rows = 16;
	batch->memory = palloc(batch->memory_rows * batch->record_bytes);
	batch->record = palloc(batch->record_bytes);
	batch->runs_max = 4;
	batch->runs = palloc(batch->runs_max * sizeof(Run));
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
	batch->runs[batch->n_runs].first = batch->rows;
	batch->n_runs++;
}

/* Positions the file at a row of its own. */
static void
seek_spill(Batch *batch, uint64 row)
{
	if (batch->spill_position == row)
		return;
	if (BufFileSeek(batch->spill, 0, (off_t) ((row - batch->memory_rows_max) * batch->record_bytes), SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in the temporary file of a bulk insert")));
	batch->spill_position = row;
}

static void
write_spill(Batch *batch)
{
	ResourceOwner owner = CurrentResourceOwner;

	/* The file outlives the statement and the subtransaction that happen to open it. */
	CurrentResourceOwner = TopTransactionResourceOwner;
	PG_TRY();
	{
		if (batch->spill == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(batch_context);

			batch->spill = BufFileCreateTemp(false);
			batch->spill_position = batch->memory_rows_max;
			MemoryContextSwitchTo(old);
		}
		seek_spill(batch, batch->rows);
		BufFileWrite(batch->spill, batch->record, batch->record_bytes);
		batch->spill_position++;
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
}

bool
phnsw_batch_add(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid)
{
	Batch	   *batch = find_batch(index);
	char	   *record;

	if (batch == NULL)
	{
		if (pi->meta.nodes.limit != 0)
			return false;
		batch = new_batch(index, pi);
	}

	if (batch->rows == batch->memory_rows && batch->memory_rows < batch->memory_rows_max)
	{
		uint64		grown = Min(batch->memory_rows * 2, batch->memory_rows_max);

		batch->memory = repalloc_huge(batch->memory, grown * batch->record_bytes);
		batch->memory_rows = grown;
	}
	note_subtransaction(batch);
	record = batch->rows < batch->memory_rows ? batch->memory + batch->rows * batch->record_bytes : batch->record;
	memcpy(record, heap_tid, sizeof(phnsw_tid));
	memcpy(RECORD_VECTOR(record), vector, batch->dims * sizeof(float));
	if (record == batch->record)
		write_spill(batch);
	batch->rows++;
	return true;
}

/* Row `row`, valid until the next call. */
static char *
batch_record(Batch *batch, uint64 row)
{
	if (row < batch->memory_rows)
		return batch->memory + row * batch->record_bytes;
	seek_spill(batch, row);
	if (BufFileRead(batch->spill, batch->record, batch->record_bytes) != batch->record_bytes)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from the temporary file of a bulk insert")));
	batch->spill_position++;
	return batch->record;
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
	if (batch->spill != NULL)
		BufFileClose(batch->spill);
	pfree(batch->memory);
	pfree(batch->record);
	pfree(batch->runs);
	pfree(batch);
}

/* ---- flushing -------------------------------------------------------------------------------------------------------------- */

/* PhnswRowSource */
static double
batch_rows(PhnswBuild *build, void *arg)
{
	Batch	   *batch = arg;

	for (uint64 row = 0; row < batch->rows; row++)
	{
		char	   *record = batch_record(batch, row);

		phnsw_build_add(build, RECORD_VECTOR(record), (ItemPointer) record);
	}
	return batch->rows;
}

/*
 * The bulk build into the empty index.  Writers are kept out by a lock that is only taken when it is free, so there is
 * nothing to wait for and no deadlock; readers go on seeing an empty index until the meta page changes.
 */
static bool
flush_bulk(Relation index, Batch *batch)
{
	bool		done = false;

	if (batch->rows < PHNSW_BATCH_BULK_ROWS || batch->flushed > 0 ||
		!ConditionalLockRelation(index, ShareRowExclusiveLock))
		return false;
	if (phnsw_index_open(index)->meta.nodes.limit == 0)
	{
		Relation	heap = table_open(index->rd_index->indrelid, NoLock);
		PhnswIndexStats *stats;

		phnsw_bulk_replace(heap, index, batch->rows, batch_rows, batch);
		stats = phnsw_stats_of(RelationGetRelid(index));
		stats->bulk_flushes++;
		stats->inserts_bulk += batch->rows;
		table_close(heap, NoLock);
		done = true;
	}
	UnlockRelation(index, ShareRowExclusiveLock);
	return done;
}

static void
flush_batch(Relation index, Batch *batch)
{
	if (!flush_bulk(index, batch))
	{
		PhnswIndex *pi = phnsw_index_open(index);
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw insert", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);

		while (batch->flushed < batch->rows)
		{
			char	   *record = batch_record(batch, batch->flushed);

			CHECK_FOR_INTERRUPTS();
			phnsw_insert_vector(index, pi, RECORD_VECTOR(record), (ItemPointer) record);
			batch->flushed++;
			MemoryContextReset(context);
		}
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
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

static void
flush_all(void)
{
	while (batches != NULL)
	{
		Batch	   *batch = batches;
		Relation	index = try_relation_open(batch->relid, RowExclusiveLock);

		if (index == NULL)
		{
			drop_batch(batch);
			continue;
		}
		if (PhnswFileEquals(batch->file, PhnswRelationFile(index)))
			flush_batch(index, batch);
		else
			drop_batch(batch);
		relation_close(index, RowExclusiveLock);
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
			flush_all();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			/* The memory goes with the transaction's context, the file with its resource owner. */
			batches = NULL;
			batch_context = NULL;
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
		{
			batch->n_runs--;
			batch->rows = Max(batch->runs[batch->n_runs].first, batch->flushed);
		}
	}
}

static void
before_executor(QueryDesc *query, int flags)
{
	if (batches != NULL && query->plannedstmt->parallelModeNeeded)
		flush_all();
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
		flush_all();
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
