/*
 * cold.c
 *    What is asked of the disk before it is waited for: blocks of the index for hops to come, pages of the table for rows to come.
 *
 * A disk takes about as long for a dozen reads at once as for two or three in turns, so both are asked for as early, and as many at a
 * time, as is known what will be wanted (README.md, Reading).  Each ask is a call of the system, a third of what the read costs
 * where the operating system has the block after all: nothing is asked for twice.  In memory none of this runs.
 */
#include "scan.h"

#include "catalog/pg_am_d.h"
#include "storage/buf_internals.h"
#include "utils/spccache.h"

/* Rows whose pages are asked for before the first is returned: those that a query for ten reads, and a few. */
#define PHNSW_ASK_FIRST 14
/* Later: as many as have been returned, within these; again when half of them have been returned. */
#define PHNSW_ASK_LEAST 16
#define PHNSW_ASK_MOST  32

/* ---- blocks of the index --------------------------------------------------------------------------------------------- */

/* Does the map lead to the block?  Looks without a lock: a wrong answer costs time only. */
static inline bool
map_knows(const PhnswIndex *pi, BlockNumber block)
{
	Buffer		buffer = pi->map[block];

	if (buffer <= InvalidBuffer)
		return buffer != InvalidBuffer;
	return GetBufferDescriptor(buffer - 1)->tag.blockNum == block;
}

bool
phnsw_ask_for_blocks(Relation index, PhnswIndex *pi, BlockNumber *blocks, uint32 n)
{
	bool		cold = false;

	if (get_tablespace_io_concurrency(index->rd_rel->reltablespace) == 0)
		return false;
	for (uint32 i = 0; i < n; i++)
	{
		PrefetchBufferResult result;

		if (blocks[i] >= pi->map_size || map_knows(pi, blocks[i]))
			continue;
		cold = true;
		if (phnsw_asked(pi->asked, PHNSW_ASKED_BLOCKS, blocks[i]))
			continue;
		result = PrefetchBuffer(index, MAIN_FORKNUM, blocks[i]);
		if (!BufferIsInvalid(result.recent_buffer))
		{
			phnsw_counters.misses++;
			pi->map[blocks[i]] = result.recent_buffer;
			phnsw_asked_forget(pi->asked, PHNSW_ASKED_BLOCKS, blocks[i]);
		}
	}
	return cold;
}

void
phnsw_ask_for_nodes(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n)
{
	BlockNumber blocks[PHNSW_LINKS_MAX];
	uint32		n_blocks = 0;
	uint32		place;

	for (uint32 i = 0; i < n; i++)
	{
		if (ids[i] < pi->meta.nodes.limit)
			blocks[n_blocks++] = phnsw_node_block(index, pi, ids[i], &place);
	}
	phnsw_ask_for_blocks(index, pi, blocks, n_blocks);
}

/* ---- pages of the table ---------------------------------------------------------------------------------------------- */

bool
phnsw_rows_cold(const PhnswScan *so)
{
	/* The TIDs of another kind of table need not name blocks. */
	return so->pi->cold_rows > 0 && so->heap->rd_rel->relam == HEAP_TABLE_AM_OID &&
		get_tablespace_io_concurrency(so->heap->rd_rel->reltablespace) > 0;
}

/* The pages of the nearest hits, n <= PHNSW_ASK_MOST, that have not been asked for in this scan. */
static void
ask_for_nearest(PhnswScan *so, uint32 n)
{
	const PhnswHit *nearest[PHNSW_ASK_MOST];

	n = phnsw_hits_nearest(so, nearest, n);
	for (uint32 i = 0; i < n; i++)
	{
		ItemPointerData tid;
		BlockNumber block;

		memcpy(&tid, &nearest[i]->tid, sizeof(tid));
		block = ItemPointerGetBlockNumber(&tid);
		if (BlockNumberIsValid(block) && !phnsw_asked(so->asked, PHNSW_ASKED_ROWS, block))
			PrefetchBuffer(so->heap, MAIN_FORKNUM, block);
	}
}

void
phnsw_ask_for_candidates(PhnswScan *so, const phnsw_candidate *candidates, uint32 n)
{
	Assert(so->n_hits == 0);
	phnsw_look_at(so, candidates, n);
	ask_for_nearest(so, n);
	so->n_hits = 0;
}

void
phnsw_ask_for_rows(PhnswScan *so)
{
	uint32		n = PHNSW_ASK_FIRST;

	if (so->returned < so->ask_at || !phnsw_rows_cold(so))
		return;
	if (so->returned < PHNSW_ASK_FIRST)
		so->ask_at = PHNSW_ASK_FIRST;
	else
	{
		n = (uint32) Min(Max(so->returned, PHNSW_ASK_LEAST), PHNSW_ASK_MOST);
		so->ask_at = so->returned + n / 2;
	}
	ask_for_nearest(so, n);
}
