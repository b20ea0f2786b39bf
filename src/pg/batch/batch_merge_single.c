/*
 * batch_merge_single.c
 *    What a merge does node by node and row by row, when its pages are written (batch_merge_write.c, steps 5 to 7).
 *
 * Nodes that no list has a place for find other links; nodes of higher levels are raised; rows join the nodes that have
 * their codes, and those without a slot are inserted.  Each by what an insert does (insert/).
 */
#include "batch/batch_merge.h"
#include "insert/insert.h"

#include "utils/memutils.h"

/*
 * Whatever new nodes the node of the place leads to, by lists as they stand on
 * pages, is not lost.  stack: room for all places.
 */
static void
follow(PhnswMerging *merging, uint32 place, uint32 *stack)
{
	uint32		links[PHNSW_LINKS_MAX];
	uint32		n = 0;

	stack[n++] = place;
	while (n > 0)
	{
		uint32		n_links = phnsw_links(merging->index, merging->pi, merging->claims[stack[--n]].id, 0, links);

		for (uint32 i = 0; i < n_links; i++)
		{
			const PhnswClaim *claim = phnsw_merge_claim_of(merging, links[i]);

			if (claim == NULL || merging->fates[claim - merging->claims] != PHNSW_PLACE_LOST)
				continue;
			merging->fates[claim - merging->claims] = PHNSW_PLACE_LINKED;
			stack[n++] = claim - merging->claims;
		}
	}
}

void
phnsw_merge_relink_nodes(PhnswMerging *merging)
{
	phnsw_slot *slot = palloc0(merging->pi->slot_bytes);
	uint32	   *stack = palloc_extended(merging->places * sizeof(uint32), MCXT_ALLOC_HUGE);

	for (uint32 place = 0; place < merging->places; place++)
	{
		uint32		row = phnsw_merge_place_row(*merging->core, place);

		phnsw_merge_end_if_told();
		if (merging->fates[place] != PHNSW_PLACE_LOST)
			continue;
		phnsw_merge_fill_place(merging, place, slot);
		phnsw_insert_relink(merging->index, merging->pi, phnsw_merge_vector(merging, row), slot,
							merging->claims[place].id, merging->claims[place].version);
		merging->fates[place] = PHNSW_PLACE_LINKED;
		follow(merging, place, stack);
	}
	pfree(stack);
	pfree(slot);
}

void
phnsw_merge_raise_nodes(PhnswMerging *merging)
{
	PhnswIndex *pi = merging->pi;
	phnsw_slot *slot = palloc0(pi->slot_bytes);

	for (uint32 place = 0; place < merging->places; place++)
	{
		uint32		row = phnsw_merge_place_row(*merging->core, place);
		uint32		level = phnsw_draw_level(pi, (ItemPointer) &merging->tids[row]);
		const PhnswClaim *claim = &merging->claims[place];

		phnsw_merge_end_if_told();
		if (level == 0 || merging->fates[place] != PHNSW_PLACE_LINKED)
			continue;
		phnsw_merge_fill_place(merging, place, slot);
		slot->level = level;
		phnsw_keep_forget_page(merging, claim->id / pi->slots_per_page);
		phnsw_insert_raise(merging->index, pi, phnsw_merge_vector(merging, row), slot, merging->upper[row], claim->id,
						   claim->version);
	}
	pfree(slot);
}

/* ---- rows that share a node, rows without a slot --------------------------------------------- */

static bool
join_row(PhnswMerging *merging, uint32 row, uint32 id, uint32 version)
{
	PhnswInsert ins = {.index = merging->index, .pi = merging->pi, .context = CurrentMemoryContext};
	phnsw_error error;

	ins.slot = palloc0(merging->pi->slot_bytes);
	phnsw_ensure(phnsw_codec_encode(merging->pi->codec, phnsw_merge_vector(merging, row), ins.slot, &error), &error);
	ins.slot->tid = merging->tids[row];
	return phnsw_join_node(&ins, id, version);
}

void
phnsw_merge_write_one_by_one(PhnswMerging *merging)
{
	for (uint32 row = 0; row < merging->n; row++)
	{
		phnsw_merge_end_if_told();
		phnsw_insert_vector(merging->index, merging->pi, phnsw_merge_vector(merging, row),
							(ItemPointer) &merging->tids[row]);
	}
}

void
phnsw_merge_write_others(PhnswMerging *merging)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);

	for (uint32 row = 0; row < merging->n; row++)
	{
		phnsw_merge_row fate = phnsw_merge_row_get(*merging->core, row);
		bool		done;

		phnsw_merge_end_if_told();
		if (fate.place != PHNSW_NONE)
		{
			fate.id = merging->fates[fate.place] == PHNSW_PLACE_VOID ? PHNSW_NONE : merging->claims[fate.place].id;
			fate.version = merging->claims[fate.place].version;
		}
		done = fate.id != PHNSW_NONE && (fate.first || join_row(merging, row, fate.id, fate.version));
		if (done)
			merging->rows++;
		else
			phnsw_insert_vector(merging->index, merging->pi, phnsw_merge_vector(merging, row),
								(ItemPointer) &merging->tids[row]);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
