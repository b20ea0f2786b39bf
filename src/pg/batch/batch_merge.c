/*
 * batch_merge.c
 *    Many rows into an index that has nodes: when, and the backend's half of it up to the pages (README.md).
 *
 *    copy level 0 into the core's memory, page by page             share locks
 *    hand the rows over, encoded
 *    the core's threads find and choose links                      this thread finds those of higher levels and
 *                                                                  polls for interrupts
 *    batch_merge_write.c                                           interrupts wait
 *
 * Others read, insert and vacuum all the time.  No thread of the core outlives phnsw_merge_rows(), however it ends
 * (PG_ENSURE_ERROR_CLEANUP), and before the first page is written an error leaves the batch as it was.
 */
#include "batch/batch.h"
#include "build/build.h"
#include "insert/insert.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/memutils.h"

/* One more thread for so many rows; the second is this one, which costs nothing to start. */
#define PHNSW_MERGE_ROWS_PER_THREAD 16
/* Fewer rows than one for so many nodes need not see each other above level 0. */
#define PHNSW_MERGE_NODES_PER_BLIND_ROW 100
#define PHNSW_MERGE_SEED          UINT64CONST(0xD1B54A32D192ED03)

/* ---- the graph, the rows --------------------------------------------------------------------- */

/* Copies slots first ... first + n - 1 of a page; false: they lead beyond the limit. */
static bool
load_slots(PhnswMerging *merging, BlockNumber block, Page page, uint32 id, uint32 first, uint32 n)
{
	bool		whole;
	uint32		fault;
	const char *what;

	if (!phnsw_merge_load(*merging->core, id + first, phnsw_page_slot(merging->pi, page, first), n, &whole, &fault,
						  &what))
		phnsw_corrupt(merging->index, block, first + fault, what);
	merging->loaded += n;
	return whole;
}

/* Copies a page, or of one that only this session has changed the slots that it has. */
static void
load_page(PhnswMerging *merging, BlockNumber block, uint32 id, PhnswKeptPage *kept)
{
	PhnswIndex *pi = merging->pi;
	Buffer		buffer = phnsw_pin(merging->index, pi, block);
	Page		page = BufferGetPage(buffer);
	bool		whole = true;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(merging->index, block, page, PHNSW_PAGE_NODE);
	phnsw_keep_compare(kept, PageGetLSN(page));
	if (kept->lsn == PageGetLSN(page))
	{
		for (uint32 place = 0; place < pi->slots_per_page; place++)
		{
			if (kept->stale & PHNSW_KEPT_PLACE(place))
				whole &= load_slots(merging, block, page, id, place, 1);
		}
	}
	else
		whole = load_slots(merging, block, page, id, 0, pi->slots_per_page);
	/* A copy that lacks nodes or links beyond the limit will not do for the next merge. */
	kept->lsn = whole && id + pi->slots_per_page <= merging->limit ? PageGetLSN(page) : PHNSW_LSN_UNKNOWN;
	kept->stale = 0;
	UnlockReleaseBuffer(buffer);
}

/* Is the page in the copy as it is, or was it not long ago? */
static bool
is_loaded(const PhnswMerging *merging, uint32 page, PhnswKeptPage *kept)
{
	uint32		step;
	uint32		place;
	BlockNumber block;
	XLogRecPtr	lsn;

	if (kept->lsn == PHNSW_LSN_UNKNOWN || kept->stale != 0)
		return false;
	step = phnsw_keep_turn(page);
	if (step == 0)
		return true;
	block = phnsw_node_block(merging->index, merging->pi, page * merging->pi->slots_per_page, &place);
	lsn = phnsw_keep_lsn(merging, block, step);
	phnsw_keep_compare(kept, lsn);
	return lsn == kept->lsn;
}

static void
load_nodes(PhnswMerging *merging)
{
	PhnswIndex *pi = merging->pi;
	uint32		pages = (merging->limit + pi->slots_per_page - 1) / pi->slots_per_page;

	merging->loaded_at = GetXLogInsertRecPtr();
	do
	{
		for (uint32 page = 0; page < pages; page++)
		{
			PhnswKeptPage *kept = &merging->pages[page];
			uint32		first = page * pi->slots_per_page;
			uint32		place;

			CHECK_FOR_INTERRUPTS();
			if (!is_loaded(merging, page, kept))
				load_page(merging, phnsw_node_block(merging->index, pi, first, &place), first, kept);
		}
	} while (phnsw_keep_look_wider());
}

static void
add_rows(PhnswMerging *merging, uint32 n)
{
	PhnswBatch *batch = merging->batch;
	phnsw_error error;

	merging->row_of = palloc_extended(n * sizeof(uint64), MCXT_ALLOC_HUGE);
	merging->tids = palloc_extended(n * sizeof(phnsw_tid), MCXT_ALLOC_HUGE);
	for (uint64 row = batch->flushed; row < batch->flushed + n; row++)
	{
		char	   *record = phnsw_rows_get(&batch->rows, row);
		phnsw_status status;

		CHECK_FOR_INTERRUPTS();
		status = phnsw_merge_add(*merging->core, phnsw_record_vector(record), &error);
		if (status == PHNSW_NOT_INDEXED)
			continue;
		phnsw_ensure(status, &error);
		merging->row_of[merging->n] = row;
		memcpy(&merging->tids[merging->n++], phnsw_record_tid(record), sizeof(phnsw_tid));
	}
}

/* ---- the merge ------------------------------------------------------------------------------- */

static void
end_core(PhnswMerging *merging)
{
	phnsw_merge *core = *merging->core;

	*merging->core = NULL;
	phnsw_merge_destroy(core);
}

static void
abort_merge(int code, Datum merging)
{
	end_core((PhnswMerging *) DatumGetPointer(merging));
	phnsw_keep_end((PhnswMerging *) DatumGetPointer(merging), true);
}

/* false: there is no memory, no thread, no room among the process's addresses. */
static bool
has_memory(phnsw_status status, const phnsw_error *error)
{
	if (status == PHNSW_OUT_OF_MEMORY)
		return false;
	phnsw_ensure(status, error);
	return true;
}

float *
phnsw_merge_vector(PhnswMerging *merging, uint32 row)
{
	return phnsw_record_vector(phnsw_rows_get(&merging->batch->rows, merging->row_of[row]));
}

/*
 * While the core's threads are at work: the links above level 0, which are a
 * tenth of a small merge if they have to wait.
 */
static void
find_upper(PhnswMerging *merging)
{
	PhnswIndex *pi = merging->pi;

	merging->upper = palloc_extended(merging->n * sizeof(PhnswUpperLinks *), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (merging->n >= merging->limit / PHNSW_MERGE_NODES_PER_BLIND_ROW)
		return;
	for (uint32 row = 0; row < merging->n; row++)
	{
		uint32		level = phnsw_draw_level(pi, (ItemPointer) &merging->tids[row]);

		if (level > 0)
			merging->upper[row] = phnsw_insert_find_upper(merging->index, pi, phnsw_merge_vector(merging, row), level);
	}
}

static bool
run_core(PhnswMerging *merging)
{
	phnsw_error error;
	phnsw_status status;

	if (!has_memory(phnsw_merge_start(*merging->core, &error), &error))
		return false;
	find_upper(merging);
	while ((status = phnsw_merge_wait(*merging->core, PHNSW_POLL_MS, &error)) == PHNSW_RUNNING)
		CHECK_FOR_INTERRUPTS();
	return has_memory(status, &error);
}

/* batch->flushed says what has happened, whatever error may follow.  false: nothing, for want of memory. */
static bool
merge_steps(PhnswMerging *merging, Relation heap, uint32 n)
{
	PhnswIndex *pi = merging->pi;
	PhnswBatch *batch = merging->batch;
	phnsw_merge_params params = {
		.limit = merging->limit,
		.entry = pi->meta.entry,
		.rows_max = n,
		.ef_construction = pi->meta.ef_construction,
		.seed = PHNSW_MERGE_SEED
	};
	double		seconds[3] = {0};
	instr_time	mark;
	phnsw_error error;

	INSTR_TIME_SET_CURRENT(mark);
	params.threads = Max(1, Min(phnsw_build_threads(heap), 1 + n / PHNSW_MERGE_ROWS_PER_THREAD));
	params.nodes = phnsw_keep_begin(merging, n);
	if (params.nodes == NULL && !phnsw_merge_fits(merging, n) && !phnsw_merge_place(merging, n, &params.spill))
		return false;
	if (!has_memory(phnsw_merge_create(pi->codec, &params, merging->core, &error), &error))
		return false;
	load_nodes(merging);
	phnsw_test_point(PHNSW_POINT_MERGE_LOADED);
	add_rows(merging, n);
	if (merging->n == 0)
	{
		batch->flushed += n;
		return true;
	}
	seconds[0] = phnsw_lap(&mark);
	if (phnsw_merge_live(*merging->core) > 0 && !run_core(merging))
		return false;
	seconds[1] = phnsw_lap(&mark);

	phnsw_test_point(PHNSW_POINT_MERGE_COMPUTED);

	/* All pages, which may have to be read again if the index is larger than shared buffers. */
	phnsw_merge_recheck(merging);

	/* From the first page on it would be unknown which rows are in the index. */
	HOLD_INTERRUPTS();
	batch->in_doubt = true;
	phnsw_merge_write(merging);
	batch->in_doubt = false;
	/* Before anything is logged, where a cancel that has waited takes effect. */
	batch->flushed += n;
	RESUME_INTERRUPTS();
	seconds[2] = phnsw_lap(&mark);
	ereport(phnsw_log_build ? LOG : DEBUG1,
			(errmsg("phnsw merge of %u rows into index \"%s\" of %u nodes, " UINT64_FORMAT " copied, %u threads; "
					"seconds: load %.3f, links %.3f, write %.3f",
					merging->n, RelationGetRelationName(merging->index), params.limit, merging->loaded, params.threads,
					seconds[0], seconds[1], seconds[2]),
			 errhidestmt(true)));
	return true;
}

bool
phnsw_merge_rows(Relation heap, Relation index, PhnswBatch *batch, uint32 n)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw merge", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PhnswMerging merging = {.index = index, .pi = phnsw_index_open(index), .batch = batch, .file = -1};
	PhnswIndexStats *stats;
	volatile bool merged = false;

	merging.limit = merging.pi->meta.nodes.limit;
	phnsw_stats_charge(NULL);
	merging.core = (phnsw_merge **) phnsw_own(context, (phnsw_destroyer) phnsw_merge_destroy);
	PG_ENSURE_ERROR_CLEANUP(abort_merge, PointerGetDatum(&merging));
	{
		merged = merge_steps(&merging, heap, n);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abort_merge, PointerGetDatum(&merging));
	end_core(&merging);
	phnsw_keep_end(&merging, !merged);
	if (merging.file >= 0)
		FileClose(merging.file);
	if (merged)
	{
		stats = phnsw_stats_of(RelationGetRelid(index));
		stats->bulk_flushes++;
		stats->inserts_bulk += merging.rows;
	}
	else
		ereport(phnsw_log_build ? LOG : DEBUG1,
				(errmsg("phnsw merge of %u rows into index \"%s\" has no memory, they go one by one", n,
						RelationGetRelationName(index)),
				 errhidestmt(true)));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return merged;
}
