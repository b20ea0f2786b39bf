/*
 * batch_merge.c
 *    Many rows into an index that has nodes: when, and the backend's half of it up to the pages (README.md, Bulk insert).
 *
 *    copy level 0 into the core's memory, page by page             share locks
 *    hand the rows over, encoded
 *    the core's threads find and choose links                      this thread polls for interrupts
 *    batch_merge_write.c                                           interrupts wait
 *
 * Others read, insert and vacuum all the time.  No thread of the core outlives phnsw_merge_rows(), however it ends
 * (PG_ENSURE_ERROR_CLEANUP), and before the first page is written an error leaves the batch as it was.
 */
#include "batch.h"
#include "build.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/memutils.h"

/*
 * What a merge costs beyond what each of its rows costs, in rows inserted one by one: threads and arrays, and the copy of the
 * nodes.  See core/merge/README.md.
 */
#define PHNSW_MERGE_FIXED_ROWS    50
#define PHNSW_MERGE_NODES_PER_ROW 400
/* A portion is what interrupts may have to wait for: half a second. */
#define PHNSW_MERGE_PORTION       32768
/* The same where the copy is kept (batch_keep.c). */
#define PHNSW_MERGE_WARM_ROWS     40
#define PHNSW_MERGE_WARM_NODES_PER_ROW 2500
/* One more thread for so many rows. */
#define PHNSW_MERGE_ROWS_PER_THREAD 50
/*
 * Rows of a transaction that are inserted at once before others wait: most transactions have no more.  A session whose last rows
 * were merged goes on that way from the first row.
 */
#define PHNSW_MERGE_PATIENCE      16
#define PHNSW_MERGE_SEED          UINT64CONST(0xD1B54A32D192ED03)

/* Rows from which on a merge is cheaper. */
static uint64
threshold(const PhnswIndex *pi)
{
	if (phnsw_merge_threshold >= 0)
		return Max(phnsw_merge_threshold, 1);
	return PHNSW_MERGE_FIXED_ROWS + pi->meta.nodes.limit / PHNSW_MERGE_NODES_PER_ROW;
}

/* Rows of a transaction from which on it is cheaper if others like it follow, so that only the first of them copies the nodes. */
static uint64
warm_threshold(const PhnswIndex *pi)
{
	uint64		cold = threshold(pi);

	if (phnsw_merge_threshold >= 0)
		return cold;
	return Min(cold, PHNSW_MERGE_WARM_ROWS + pi->meta.nodes.limit / PHNSW_MERGE_WARM_NODES_PER_ROW);
}

bool
phnsw_merge_is_small(PhnswIndex *pi, uint64 rows)
{
	return rows < threshold(pi);
}

/* Rows that a merge has memory for. */
static uint64
rows_that_fit(const PhnswIndex *pi, uint64 memory)
{
	const phnsw_meta *meta = &pi->meta;
	uint64		nodes = phnsw_merge_memory(&meta->codec, meta->ef_construction, meta->nodes.limit, 0);
	uint64		row = phnsw_merge_memory(&meta->codec, meta->ef_construction, meta->nodes.limit, 1) - nodes;

	return memory <= nodes ? 0 : (memory - nodes) / row;
}

bool
phnsw_merge_is_likely(PhnswIndex *pi)
{
	uint64		least = warm_threshold(pi);

	if (pi->inserting != PhnswTransaction())
	{
		pi->inserting = PhnswTransaction();
		pi->inserted = 0;
	}
	if (++pi->inserted < (pi->merged ? 1 : Min(PHNSW_MERGE_PATIENCE, least)))
		return false;
	return rows_that_fit(pi, (uint64) maintenance_work_mem * 1024 / 4 * 3) >= least;
}

uint32
phnsw_merge_portion(PhnswIndex *pi, const PhnswBatch *batch)
{
	uint64		memory = (uint64) maintenance_work_mem * 1024;
	uint64		used = *batch->rows.memory_used;
	uint64		rows = batch->rows.n - batch->flushed;
	uint64		most;
	uint64		portions;

	if (pi->meta.entry == PHNSW_NONE)
		return 0;
	if (phnsw_merge_is_small(pi, rows))
	{
		/* Those that did not wait will, next time. */
		uint64		all = rows + (pi->inserting == PhnswTransaction() ? pi->inserted : 0);

		if (phnsw_merge_threshold >= 0 || all < warm_threshold(pi) || !phnsw_keep_wanted(pi))
			return 0;
	}
	most = Min(PHNSW_MERGE_PORTION, rows_that_fit(pi, memory > used ? memory - used : 0));
	if (most < Min(rows, threshold(pi)))
		return 0;
	/* Equal portions, so that no small one is left. */
	portions = (rows + most - 1) / most;
	return (rows + portions - 1) / portions;
}

/* ---- the graph, the rows ---------------------------------------------------------------------------------------------------- */

/* Is the page as it was when an earlier merge copied it? */
static bool
is_loaded(const PhnswMerging *merging, BlockNumber block, uint32 page)
{
	XLogRecPtr	lsn = merging->lsns[page];

	return lsn != PHNSW_LSN_UNKNOWN && phnsw_keep_lsn(merging, block) == lsn;
}

static void
load_nodes(PhnswMerging *merging)
{
	PhnswIndex *pi = merging->pi;
	uint32		limit = pi->meta.nodes.limit;

	for (uint32 first = 0; first < limit; first += pi->slots_per_page)
	{
		uint32		place;
		BlockNumber block = phnsw_node_block(merging->index, pi, first, &place);
		XLogRecPtr *lsn = &merging->lsns[first / pi->slots_per_page];
		Buffer		buffer;
		Page		page;
		bool		whole;
		uint32		fault;
		const char *what;

		CHECK_FOR_INTERRUPTS();
		if (is_loaded(merging, block, first / pi->slots_per_page))
			continue;
		buffer = phnsw_pin(merging->index, pi, block);
		page = BufferGetPage(buffer);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		phnsw_page_check(merging->index, block, page, PHNSW_PAGE_NODE);
		if (!phnsw_merge_load(*merging->core, first, phnsw_page_slot(pi, page, 0), pi->slots_per_page, &whole, &fault,
							  &what))
			phnsw_corrupt(merging->index, block, fault, what);
		/* A copy that lacks nodes or links beyond the limit will not do for the next merge. */
		merging->loaded += pi->slots_per_page;
		*lsn = whole && first + pi->slots_per_page <= limit ? PageGetLSN(page) : PHNSW_LSN_UNKNOWN;
		UnlockReleaseBuffer(buffer);
	}
}

static void
add_rows(PhnswMerging *merging, PhnswRowFilter *filter, uint32 n)
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
		if (batch->filter && !phnsw_filter_keeps(filter, row, phnsw_record_tid(record)))
			continue;
		status = phnsw_merge_add(*merging->core, phnsw_record_vector(record), &error);
		if (status == PHNSW_NOT_INDEXED)
			continue;
		phnsw_ensure(status, &error);
		merging->row_of[merging->n] = row;
		memcpy(&merging->tids[merging->n++], phnsw_record_tid(record), sizeof(phnsw_tid));
	}
}

/* ---- the merge --------------------------------------------------------------------------------------------------------------- */

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

static bool
run_core(PhnswMerging *merging)
{
	phnsw_error error;
	phnsw_status status;

	if (!has_memory(phnsw_merge_start(*merging->core, &error), &error))
		return false;
	while ((status = phnsw_merge_wait(*merging->core, PHNSW_POLL_MS, &error)) == PHNSW_RUNNING)
		CHECK_FOR_INTERRUPTS();
	return has_memory(status, &error);
}

/* false: nothing has happened, for want of memory. */
static bool
merge_steps(PhnswMerging *merging, Relation heap, PhnswRowFilter *filter, uint32 n)
{
	PhnswIndex *pi = merging->pi;
	PhnswBatch *batch = merging->batch;
	phnsw_merge_params params = {
		.limit = pi->meta.nodes.limit,
		.entry = pi->meta.entry,
		.rows_max = n,
		.ef_construction = pi->meta.ef_construction,
		.seed = PHNSW_MERGE_SEED
	};
	double		seconds[3] = {0};
	instr_time	mark;
	phnsw_error error;

	INSTR_TIME_SET_CURRENT(mark);
	params.threads = Max(1, Min(phnsw_build_threads(heap), n / PHNSW_MERGE_ROWS_PER_THREAD));
	params.nodes = phnsw_keep_begin(merging, n);
	if (!has_memory(phnsw_merge_create(pi->codec, &params, merging->core, &error), &error))
		return false;
	load_nodes(merging);
	add_rows(merging, filter, n);
	if (merging->n == 0)
		return true;
	seconds[0] = phnsw_lap(&mark);
	if (phnsw_merge_live(*merging->core) > 0 && !run_core(merging))
		return false;
	seconds[1] = phnsw_lap(&mark);

	phnsw_test_point(PHNSW_POINT_MERGE_COMPUTED);

	/* From the first page on it would be unknown which rows are in the index. */
	HOLD_INTERRUPTS();
	batch->in_doubt = true;
	phnsw_merge_write(merging);
	batch->in_doubt = false;
	RESUME_INTERRUPTS();
	seconds[2] = phnsw_lap(&mark);
	ereport(phnsw_log_build ? LOG : DEBUG1,
			(errmsg("phnsw merge of %u rows into index \"%s\" of %u nodes, %u threads; seconds: load %.3f, links %.3f, write %.3f",
					merging->n, RelationGetRelationName(merging->index), params.limit, params.threads, seconds[0], seconds[1],
					seconds[2]),
			 errhidestmt(true)));
	return true;
}

bool
phnsw_merge_rows(Relation heap, Relation index, PhnswBatch *batch, PhnswRowFilter *filter, uint32 n)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw merge", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PhnswMerging merging = {.index = index, .pi = phnsw_index_open(index), .batch = batch};
	PhnswIndexStats *stats;
	volatile bool merged = false;

	phnsw_stats_charge(NULL);
	merging.core = (phnsw_merge **) phnsw_own(context, (phnsw_destroyer) phnsw_merge_destroy);
	PG_ENSURE_ERROR_CLEANUP(abort_merge, PointerGetDatum(&merging));
	{
		merged = merge_steps(&merging, heap, filter, n);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abort_merge, PointerGetDatum(&merging));
	end_core(&merging);
	phnsw_keep_end(&merging, !merged);
	if (merged)
	{
		batch->flushed += n;
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
