/*
 * batch_flush.c
 *    Collected rows into the index: by the bulk build, by a merge, or one by one.
 *
 *    the index is empty, rows are many enough       bulk build (build.c)
 *    the index has nodes, rows are many enough      merge, a portion at a time (batch_merge.c)
 *    else, what is left, what there is no memory for     row by row (insert.c)
 *
 * Two writers.  An index goes from empty to not empty once in the life of its file, under a tuple lock (block 0,
 * offset 1) that both a bulk build and the insert of a first row hold; who comes second finds the index filled.
 * Readers take no notice: until the meta page changes the index is empty.
 *
 * A flush that fails leaves in the batch the rows that are not in the index yet.
 */
#include "batch/batch.h"
#include "build/build.h"

#include "access/table.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "storage/proc.h"
#include "utils/memutils.h"

/*
 * Fewer rows go row by row: a bulk build has fixed costs (a thread, calibration, page images).  COMMIT after inserting
 * n rows, best of 9 on 2 cores that had other work (load 9), in ms, bulk / row by row:
 *
 *    n       8 dims        128 dims      768 dims
 *    100     7.3 / 3.1     4.9 / 3.9     8.5 / 10
 *    200     27 / 21       15 / 17       36 / 39
 *    300     25 / 33       39 / 35       44 / 51
 *    600     47 / 82       48 / 75       126 / 215
 *    900     55 / 163      82 / 143      120 / 190
 */
#define PHNSW_BATCH_BULK_ROWS 300

/* Heavyweight locks of an index, as tuple locks on block 0, which has no tuples. */
#define PHNSW_LOCK_EMPTY 1		/* who makes an empty index a filled one */
#define PHNSW_LOCK_MERGE 2		/* who merges rows into it */

/* Without lock_timeout: a COMMIT that has to wait for another session's build or merge must not fail for that. */
static void
lock_index(Relation index, OffsetNumber which)
{
	int			timeout = LockTimeout;
	ItemPointerData tid;

	ItemPointerSet(&tid, 0, which);
	LockTimeout = 0;
	PG_TRY();
	{
		LockTuple(index, &tid, ExclusiveLock);
	}
	PG_FINALLY();
	{
		LockTimeout = timeout;
	}
	PG_END_TRY();
}

static bool
try_lock_index(Relation index, OffsetNumber which)
{
	ItemPointerData tid;

	ItemPointerSet(&tid, 0, which);
	return PhnswConditionalLockTuple(index, &tid, ExclusiveLock);
}

static void
unlock_index(Relation index, OffsetNumber which)
{
	ItemPointerData tid;

	ItemPointerSet(&tid, 0, which);
	UnlockTuple(index, &tid, ExclusiveLock);
}

/* One row.  batch: whose first row it is that the index has not; NULL: of none. */
static void
insert_now(Relation index, const float *vector, ItemPointer heap_tid, PhnswBatch *batch)
{
	PhnswIndex *pi = phnsw_index_open(index);
	bool		empty = pi->meta.nodes.limit == 0;

	if (empty)
	{
		lock_index(index, PHNSW_LOCK_EMPTY);
		pi = phnsw_index_open(index);
	}
	/* A cancel between rows will do, or while others are waited for, and leaves no doubt about this one. */
	HOLD_INTERRUPTS();
	if (batch != NULL)
		batch->in_doubt = true;
	phnsw_insert_vector(index, pi, vector, heap_tid);
	if (batch != NULL)
	{
		batch->in_doubt = false;
		batch->flushed++;
	}
	RESUME_INTERRUPTS();
	if (empty)
		unlock_index(index, PHNSW_LOCK_EMPTY);
}

void
phnsw_insert_now(Relation index, const float *vector, ItemPointer heap_tid)
{
	insert_now(index, vector, heap_tid, NULL);
}

/* PhnswRowSource */
static double
feed_rows(PhnswBuild *build, void *arg)
{
	PhnswRows  *rows = arg;

	for (uint64 row = 0; row < rows->n; row++)
	{
		char	   *record = phnsw_rows_get(rows, row);

		if (!phnsw_build_add(build, phnsw_record_vector(record), phnsw_record_tid(record)))
			break;
	}
	return rows->n;
}

/* The bulk build into the empty index; false when it is not empty, the rows are few, or there is no memory. */
static bool
flush_bulk(Relation heap, Relation index, PhnswBatch *batch)
{
	bool		built = false;

	if (batch->rows.n < PHNSW_BATCH_BULK_ROWS || phnsw_index_open(index)->meta.nodes.limit != 0)
		return false;
	lock_index(index, PHNSW_LOCK_EMPTY);
	if (phnsw_index_open(index)->meta.nodes.limit == 0)
	{
		built = phnsw_bulk_replace(heap, index, batch->rows.n, feed_rows, &batch->rows, &batch->flushed);
		if (built)
		{
			PhnswIndexStats *stats = phnsw_stats_of(RelationGetRelid(index));

			batch->flushed = batch->rows.n;
			stats->bulk_flushes++;
			stats->inserts_bulk += batch->rows.n;
		}
		else
			ereport(phnsw_log_build ? LOG : DEBUG1,
					(errmsg("phnsw build of " UINT64_FORMAT " rows into index \"%s\" has no memory, they go one by one",
							batch->rows.n, RelationGetRelationName(index)),
					 errhidestmt(true)));
	}
	unlock_index(index, PHNSW_LOCK_EMPTY);
	return built;
}

/*
 * Merges portions of the rows for as long as that pays; what is left goes row by row.  One session at a time: the rows
 * of two merges side by side would know nothing of each other, and each takes all cores anyway.
 */
static void
flush_merged(Relation heap, Relation index, PhnswBatch *batch)
{
	while (batch->flushed < batch->rows.n)
	{
		uint32		rows;
		bool		merged = true;

		CHECK_FOR_INTERRUPTS();
		if (phnsw_merge_portion(phnsw_index_open(index), batch) == 0)
			return;
		if (!try_lock_index(index, PHNSW_LOCK_MERGE))
		{
			/* Sessions that insert side by side are faster than merges one after the other. */
			if (phnsw_merge_is_small(phnsw_index_open(index), batch))
				return;
			lock_index(index, PHNSW_LOCK_MERGE);
		}
		/* The index may have grown while we waited. */
		rows = phnsw_merge_portion(phnsw_index_open(index), batch);
		if (rows > 0)
			merged = phnsw_merge_rows(heap, index, batch, rows);
		unlock_index(index, PHNSW_LOCK_MERGE);
		if (!merged)
			return;
	}
}

static void
flush_rows(Relation index, PhnswBatch *batch)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;

	MemoryContextSwitchTo(context);
	while (batch->flushed < batch->rows.n)
	{
		char	   *record = phnsw_rows_get(&batch->rows, batch->flushed);

		CHECK_FOR_INTERRUPTS();
		insert_now(index, phnsw_record_vector(record), phnsw_record_tid(record), batch);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

void
phnsw_flush_batch(Relation index, PhnswBatch *batch)
{
	if (batch->in_doubt)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot go on with rows for index \"%s\"", RelationGetRelationName(index)),
				 errdetail("An error in this transaction left it open whether one of them is in the index."),
				 errhint("Roll back the transaction, or to a savepoint before the rows were inserted.")));
	if (batch->flushed < batch->rows.n)
	{
		/* The table is locked since the rows were inserted. */
		Relation	heap = table_open(index->rd_index->indrelid, NoLock);

		LockRelation(index, RowExclusiveLock);
		if (!flush_bulk(heap, index, batch))
		{
			flush_merged(heap, index, batch);
			phnsw_index_open(index)->merged = batch->flushed > 0;
			flush_rows(index, batch);
		}
		UnlockRelation(index, RowExclusiveLock);
		table_close(heap, NoLock);
	}

	/*
	 * PostgreSQL has looked for serializable readers of the index when the rows came; who has read it since has
	 * missed them.  Not before the writes, or a reader could come in between.  Also when a flush before this
	 * one has written all: it may have failed here, within a savepoint.
	 */
	CheckForSerializableConflictIn(index, NULL, InvalidBlockNumber);
}
