/*
 * cold.c
 *    Blocks of the index are asked of the disk before they are waited for: those of the hops to come.
 *
 * A disk takes about as long for a dozen reads at once as for two or three in turns, so they are
 * asked for as early, and as many at a time, as is known what will be wanted (README.md).  Each ask
 * is a call of the system, a third of what the read costs where the operating system has the block
 * after all: nothing is asked for twice.  In memory none of this runs.
 */
#include "phnsw.h"

#include "storage/buf_internals.h"
#include "utils/spccache.h"

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
