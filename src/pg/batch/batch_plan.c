/*
 * batch_plan.c
 *    Whether rows that wait go into a filled index by a merge, how many at once, and where the merge's copy of level 0
 *    stands: in memory, or what that does not hold in a temporary file (README.md).
 */
#include "batch/batch.h"
#include "build/spill.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"

/*
 * What a merge costs beyond what each of its rows costs, in rows inserted one by one: threads and
 * arrays, and the copy of the nodes.  See core/merge/README.md.
 */
#define PHNSW_MERGE_FIXED_ROWS    50
#define PHNSW_MERGE_NODES_PER_ROW 400
/* A portion is what interrupts may have to wait for: half a second. */
#define PHNSW_MERGE_PORTION       32768
/* The same where the copy is kept (batch_keep.c). */
#define PHNSW_MERGE_WARM_ROWS     16
#define PHNSW_MERGE_WARM_NODES_PER_ROW 50000
/* The same where some of it is mapped from a file, which is written, and comes page by page. */
#define PHNSW_MERGE_FILE_NODES_PER_ROW 200
/*
 * Such a copy is kept for merges of so many rows at most, each of which has memory for that many; and if
 * it has no more bytes than so many times maintenance_work_mem.
 */
#define PHNSW_KEEP_FILE_ROWS      1024
#define PHNSW_KEEP_FILE_TIMES     4
/*
 * Rows of a transaction that are inserted at once before others wait: most transactions have no more.  A
 * session whose last rows were merged goes on that way from the first row.
 */
#define PHNSW_MERGE_PATIENCE      16

/* Rows from which on a merge is cheaper. */
static uint64
threshold(const PhnswIndex *pi)
{
	if (phnsw_merge_threshold >= 0)
		return Max(phnsw_merge_threshold, 1);
	return PHNSW_MERGE_FIXED_ROWS + pi->meta.nodes.limit / PHNSW_MERGE_NODES_PER_ROW;
}

/*
 * Rows of a transaction from which on it is cheaper if others like it follow,
 * so that only the first of them copies the nodes.
 */
static uint64
warm_threshold(const PhnswIndex *pi)
{
	uint64		cold = threshold(pi);

	if (phnsw_merge_threshold >= 0)
		return cold;
	return Min(cold, PHNSW_MERGE_WARM_ROWS + pi->meta.nodes.limit / PHNSW_MERGE_WARM_NODES_PER_ROW);
}

/* The first of these where the nodes do not fit into memory. */
static uint64
file_threshold(const PhnswIndex *pi)
{
	if (phnsw_merge_threshold >= 0)
		return threshold(pi);
	return PHNSW_MERGE_FIXED_ROWS + pi->meta.nodes.limit / PHNSW_MERGE_FILE_NODES_PER_ROW;
}

static uint64
merge_memory(const PhnswIndex *pi, uint32 rows)
{
	return phnsw_merge_memory(&pi->meta.codec, pi->meta.ef_construction, pi->meta.nodes.limit, rows);
}

/* Of that, what must be memory. */
static uint64
unmapped_memory(const PhnswIndex *pi, uint32 rows)
{
	return merge_memory(pi, rows) - phnsw_merge_mapped_memory(&pi->meta.codec, pi->meta.nodes.limit);
}

/* Rows that a merge has memory for, beside all nodes. */
static uint64
rows_in_memory(const PhnswIndex *pi, uint64 memory)
{
	uint64		nodes = merge_memory(pi, 0);

	return memory <= nodes ? 0 : (memory - nodes) / (merge_memory(pi, 1) - nodes);
}

/*
 * Rows that it has memory for with nodes in a file; half of what there is, so that
 * not all nodes are there.  0: no file that large.
 */
static uint64
rows_with_file(const PhnswIndex *pi, uint64 memory)
{
	uint64		nodes = unmapped_memory(pi, 0);
	uint64		file = phnsw_merge_file_bytes(&pi->meta.codec, pi->meta.nodes.limit, 0, 0);

	/* Rows in waiting may have a file, too. */
	if (temp_file_limit >= 0 && file > (uint64) temp_file_limit * 1024 / 2)
		return 0;
	return memory <= nodes ? 0 : (memory - nodes) / 2 / (unmapped_memory(pi, 1) - nodes);
}

static uint64
memory_left(const PhnswBatch *batch)
{
	uint64		memory = (uint64) maintenance_work_mem * 1024;

	return memory - Min(memory, *batch->rows.memory_used);
}

/* Must nodes of a merge stand in a file, or rows go in portions that are not worth while? */
static bool
wants_file(const PhnswIndex *pi, uint64 rows, uint64 memory)
{
	return Min(PHNSW_MERGE_PORTION, rows_in_memory(pi, memory)) < Min(rows, threshold(pi));
}

bool
phnsw_merge_is_small(PhnswIndex *pi, const PhnswBatch *batch)
{
	uint64		rows = batch->rows.n - batch->flushed;

	return rows < (wants_file(pi, rows, memory_left(batch)) ? file_threshold(pi) : threshold(pi));
}

bool
phnsw_merge_place_kept(const PhnswIndex *pi, uint32 rows, phnsw_merge_spill *spill)
{
	/* The rest is for rows in waiting. */
	uint64		memory = (uint64) maintenance_work_mem * 1024 / 4 * 3;
	uint64		most = Min(PHNSW_KEEP_FILE_ROWS, rows_with_file(pi, memory));
	uint64		rest = unmapped_memory(pi, most);

	memset(spill, 0, sizeof(*spill));
	if (temp_file_limit >= 0 || rows > most ||
		phnsw_merge_mapped_memory(&pi->meta.codec, pi->meta.nodes.limit) / PHNSW_KEEP_FILE_TIMES >
		(uint64) maintenance_work_mem * 1024)
		return false;
	spill->memory_bytes = memory - Min(memory, rest);
	spill->file_bytes = phnsw_merge_file_bytes(&pi->meta.codec, pi->meta.nodes.limit, rows, spill->memory_bytes);
	return true;
}

/* Is a merge with a kept copy worth while for a transaction of so few rows, and time for it? */
static bool
keeps(PhnswIndex *pi, uint64 rows, bool file)
{
	/* Those that did not wait will, next time. */
	uint64		all = rows + (pi->inserting == PhnswTransaction() ? pi->inserted : 0);
	phnsw_merge_spill spill;

	if (phnsw_merge_threshold >= 0 || all < warm_threshold(pi))
		return false;
	if (file && !phnsw_merge_place_kept(pi, rows, &spill))
		return false;
	return phnsw_keep_wanted(pi, all, pi->meta.nodes.limit / PHNSW_MERGE_NODES_PER_ROW);
}

bool
phnsw_merge_is_likely(PhnswIndex *pi)
{
	uint64		least = warm_threshold(pi);
	uint64		memory = (uint64) maintenance_work_mem * 1024 / 4 * 3;

	if (pi->inserting != PhnswTransaction())
	{
		pi->inserting = PhnswTransaction();
		pi->inserted = 0;
	}
	if (++pi->inserted < (pi->merged ? 1 : Min(PHNSW_MERGE_PATIENCE, least)))
		return false;
	return rows_in_memory(pi, memory) >= least ||
		Min(PHNSW_MERGE_PORTION, rows_with_file(pi, memory)) >= file_threshold(pi);
}

uint32
phnsw_merge_portion(PhnswIndex *pi, const PhnswBatch *batch)
{
	uint64		left = memory_left(batch);
	uint64		rows = batch->rows.n - batch->flushed;
	bool		file = wants_file(pi, rows, left);
	uint64		most = Min(PHNSW_MERGE_PORTION, file ? rows_with_file(pi, left) : rows_in_memory(pi, left));
	uint64		portions;

	if (pi->meta.entry == PHNSW_NONE)
		return 0;
	if (phnsw_merge_is_small(pi, batch))
	{
		if (most < rows || !keeps(pi, rows, file))
			return 0;
	}
	else if (file && most < file_threshold(pi))
		return 0;
	/* Equal portions, so that no small one is left. */
	portions = (rows + most - 1) / most;
	return (rows + portions - 1) / portions;
}

bool
phnsw_merge_fits(const PhnswMerging *merging, uint32 rows)
{
	return merge_memory(merging->pi, rows) <= memory_left(merging->batch);
}

bool
phnsw_merge_place(PhnswMerging *merging, uint32 rows, phnsw_merge_spill *spill)
{
	const PhnswIndex *pi = merging->pi;
	uint64		left = memory_left(merging->batch);
	uint64		rest = unmapped_memory(pi, rows);
	uint64		size = 0;

	memset(spill, 0, sizeof(*spill));
	spill->memory_bytes = left - Min(left, rest);
	spill->file_bytes = phnsw_merge_file_bytes(&pi->meta.codec, pi->meta.nodes.limit, rows, spill->memory_bytes);
	if (!phnsw_spill_try(&merging->file, &size, spill->file_bytes))
		return false;
	spill->fd = FileGetRawDesc(merging->file);
	return true;
}
