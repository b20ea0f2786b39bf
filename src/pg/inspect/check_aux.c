/*
 * check_aux.c
 *    The part of phnsw_check that concerns aux records: chains of nodes, and the free list.
 */
#include "inspect/check.h"

#include "miscadmin.h"
#include "vacuum/vacuum.h"

/* Copies a record into check->aux.  REQUIRES: id is below the limit. */
static BlockNumber
read_record(PhnswCheck *check, uint32 id, uint32 *place)
{
	BlockNumber block = phnsw_aux_block(check->index, check->pi, id, place);
	Buffer		buffer = phnsw_pin(check->index, check->pi, block);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(check->index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
	memcpy(check->aux, phnsw_page_aux(check->pi, BufferGetPage(buffer), *place), check->pi->aux_bytes);
	UnlockReleaseBuffer(buffer);
	return block;
}

/*
 * Notes that a record is referred to.  false: a fault that only replay explains, so the chain is not
 * followed any further.  Since no record is noted twice, chains end.
 */
static bool
use_record(PhnswCheck *check, BlockNumber block, uint32 place, uint32 id)
{
	if (id >= check->aux_limit)
	{
		phnsw_check_fault(check, block, place, "a reference to an aux record that does not exist");
		return false;
	}
	if (phnsw_bit(check->aux_used, id))
	{
		phnsw_check_fault(check, block, place, "an aux record is referred to twice");
		return false;
	}
	phnsw_bit_set(check->aux_used, id);
	return true;
}

static bool
belongs(const PhnswCheck *check, phnsw_aux_kind kind, uint32 id, uint32 version)
{
	return check->aux->kind == kind && check->aux->node == id && check->aux->version == version;
}

static void
check_upper(PhnswCheck *check, BlockNumber block, uint32 place, uint32 id, const phnsw_slot *slot)
{
	uint32		next = slot->upper;

	for (uint32 level = 1; level <= slot->level; level++)
	{
		uint32		aux_place;
		BlockNumber aux_block;

		if (next == PHNSW_NONE)
		{
			phnsw_check_fault(check, block, place, "a node has no list for one of its levels");
			return;
		}
		if (!use_record(check, block, place, next))
			return;
		aux_block = read_record(check, next, &aux_place);
		if (!belongs(check, PHNSW_AUX_UPPER, id, slot->version) || check->aux->level != level)
		{
			phnsw_check_fault(check, aux_block, aux_place, "an upper list is not that of the node that names it");
			return;
		}
		next = check->aux->next;
	}
	if (next != PHNSW_NONE)
		phnsw_check_fault(check, block, place, "a node has a list above its level");
}

static void
check_tids(PhnswCheck *check, BlockNumber block, uint32 place, uint32 id, const phnsw_slot *slot)
{
	uint32		next = slot->tids;

	while (next != PHNSW_NONE)
	{
		uint32		aux_place;
		BlockNumber aux_block;

		CHECK_FOR_INTERRUPTS();
		if (!use_record(check, block, place, next))
			return;
		aux_block = read_record(check, next, &aux_place);
		if (!belongs(check, PHNSW_AUX_TIDS, id, slot->version))
		{
			phnsw_check_fault(check, aux_block, aux_place,
							  "a chain of heap TIDs is not that of the node that names it");
			return;
		}
		if (check->aux->count > phnsw_aux_tids_max(check->pi->m))
			phnsw_corrupt(check->index, aux_block, aux_place, "number of heap TIDs");
		for (uint32 i = 0; i < check->aux->count; i++)
			phnsw_check_add_entry(check, &phnsw_aux_tids(check->aux)[i], id);
		next = check->aux->next;
	}
}

void
phnsw_check_chains(PhnswCheck *check, BlockNumber block, uint32 place, uint32 id, const phnsw_slot *slot)
{
	check_upper(check, block, place, id, slot);
	check_tids(check, block, place, id, slot);
}

void
phnsw_check_aux_page(PhnswCheck *check, BlockNumber block, uint32 first)
{
	uint32		n = Min(check->pi->aux_per_page, check->aux_limit - first);

	for (uint32 i = 0; i < n; i++)
	{
		const phnsw_aux *aux = phnsw_page_aux(check->pi, check->page, i);
		const char *what = "";

		if (!phnsw_aux_validate(&check->pi->meta, aux, &what))
		{
			phnsw_index_refresh(check->index, check->pi);
			if (!phnsw_aux_validate(&check->pi->meta, aux, &what))
				phnsw_corrupt(check->index, block, i, what);
		}
		check->aux_free += aux->kind == PHNSW_AUX_FREE;
	}
}

void
phnsw_check_free_list(PhnswCheck *check)
{
	uint32		next = check->free_list;
	uint64		n = 0;

	while (next != PHNSW_NONE)
	{
		uint32		place;
		BlockNumber block;

		CHECK_FOR_INTERRUPTS();
		if (!use_record(check, 0, 0, next))
			return;
		block = read_record(check, next, &place);
		if (check->aux->kind != PHNSW_AUX_FREE)
		{
			phnsw_check_fault(check, block, place, "an aux record on the free list is in use");
			return;
		}
		n++;
		next = check->aux->next;
	}
	if (n != check->aux_free)
		phnsw_check_fault(check, 0, 0, "a free aux record is not on the free list");
}

void
phnsw_check_add_entry(PhnswCheck *check, const phnsw_tid *tid, uint32 node)
{
	if (check->entries_n == check->entries_room)
	{
		check->entries_room = Max(check->entries_room * 2, 1024);
		if (check->entries == NULL)
			check->entries = palloc(check->entries_room * sizeof(PhnswEntry));
		else
			check->entries = repalloc_huge(check->entries, check->entries_room * sizeof(PhnswEntry));
	}
	check->entries[check->entries_n].tid = *tid;
	check->entries[check->entries_n].met = false;
	check->entries[check->entries_n].node = node;
	check->entries_n++;
}
