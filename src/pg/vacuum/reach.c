/*
 * reach.c
 *    Which nodes a walk over level 0 finds.
 *
 * Not breadth first but page by page: a sweep over the node pages follows the links of every node that has been reached
 * and not yet expanded, staying on a page until it has nothing left; sweeps go on until one finds nothing.  Two bits of
 * memory per node and pages in order, where a queue would cost 4 bytes and read pages at random; pages without work are
 * not read.  Slots lie in an order in which neighbours share pages, so about ten sweeps do.
 *
 * phnsw_reach_count() of the core does the same on lists in memory, for unit tests.
 */
#include "vacuum/vacuum.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"

void
phnsw_reach_init(PhnswReach *reach, uint32 limit, const uint64 *avoid, uint32 avoid_limit)
{
	reach->limit = limit;
	reach->avoid = avoid;
	reach->avoid_limit = avoid_limit;
	reach->reached = phnsw_bits_make(limit);
	reach->expanded = phnsw_bits_make(limit);
}

static inline bool
has_work(const PhnswReach *reach, uint32 id)
{
	return phnsw_bit(reach->reached, id) && !phnsw_bit(reach->expanded, id);
}

/* Follows the links of one node; returns whether it led to unknown ones. */
static bool
expand(Relation index, PhnswIndex *pi, PhnswReach *reach, BlockNumber block, Page page, uint32 place, uint32 id)
{
	phnsw_slot *slot = phnsw_page_slot(pi, page, place);
	const uint32 *links = phnsw_slot_links(slot, pi->code_bytes);
	bool		found = false;

	phnsw_bit_set(reach->expanded, id);
	if (slot->state == PHNSW_SLOT_FREE || (id < reach->avoid_limit && phnsw_bit(reach->avoid, id)))
		return false;
	if (slot->count > 2 * pi->m)
		phnsw_corrupt(index, block, place, "a list has more links than 2M");
	for (uint32 i = 0; i < slot->count; i++)
	{
		if (links[i] < reach->limit && !phnsw_bit(reach->reached, links[i]))
		{
			phnsw_bit_set(reach->reached, links[i]);
			found = true;
		}
	}
	return found;
}

static bool
expand_page(Relation index, PhnswIndex *pi, PhnswReach *reach, uint32 first)
{
	uint32		place;
	BlockNumber block = phnsw_node_block(index, pi, first, &place);
	uint32		n = Min(pi->slots_per_page, reach->limit - first);
	Buffer		buffer = phnsw_pin(index, pi, block);
	Page		page = BufferGetPage(buffer);
	bool		found = false;
	bool		again = true;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(index, block, page, PHNSW_PAGE_NODE);
	while (again)
	{
		again = false;
		for (uint32 i = 0; i < n; i++)
		{
			if (has_work(reach, first + i))
				again |= expand(index, pi, reach, block, page, i, first + i);
		}
		found |= again;
	}
	UnlockReleaseBuffer(buffer);
	return found;
}

/* The first node from `id` on that is reached and not expanded; PHNSW_NONE. */
static uint32
next_work(const PhnswReach *reach, uint32 id)
{
	uint32		words = reach->limit / 64 + 1;

	for (uint32 w = id / 64; w < words; w++)
	{
		uint64		work = reach->reached[w] & ~reach->expanded[w];

		if (w == id / 64)
			work &= ~UINT64CONST(0) << (id % 64);
		if (work != 0)
			return w * 64 + pg_rightmost_one_pos64(work);
	}
	return PHNSW_NONE;
}

void
phnsw_reach_from(Relation index, PhnswIndex *pi, PhnswReach *reach, uint32 start)
{
	bool		found = start < reach->limit && !phnsw_bit(reach->reached, start);

	if (!found)
		return;
	phnsw_bit_set(reach->reached, start);
	while (found)
	{
		uint32		id = 0;

		found = false;
		while ((id = next_work(reach, id)) != PHNSW_NONE)
		{
			uint32		first = id - id % pi->slots_per_page;

			CHECK_FOR_INTERRUPTS();
			found |= expand_page(index, pi, reach, first);
			id = first + pi->slots_per_page;
			if (id >= reach->limit)
				break;
		}
	}
}
