/*
 * relink.c
 *    A new node that nothing leads to (README.md, Insert).
 *
 * Between the search and the back links other backends may have filled every list that was to name the new node, or vacuum may
 * have freed all those neighbours, or be about to.  Then the node chooses again, among what is there now: a new search, new links of its own,
 * and one list at least that gives way to it.  Only level 0 matters, for that is where rows are found.
 *
 * Locks: one page, exclusively, for the node's own links.
 */
#include "insert.h"

#include "miscadmin.h"

/* Each time others must have been faster with every list. */
#define PHNSW_RELINK_ATTEMPTS 3

/* The node's list of level 0: what was chosen now, then what others have added meanwhile, as far as there is room. */
static bool
rewrite_links(PhnswInsert *ins)
{
	PhnswIndex *pi = ins->pi;
	PhnswNewLinks *links = &ins->links[0];
	uint32		place;
	BlockNumber block = phnsw_node_block(ins->index, pi, ins->id, &place);
	Buffer		buffer = phnsw_pin(ins->index, pi, block);
	phnsw_slot *slot;
	bool		there;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	slot = phnsw_page_slot(pi, BufferGetPage(buffer), place);
	there = slot->state == PHNSW_SLOT_LIVE && slot->version == ins->version;
	if (there)
	{
		PhnswWal   *wal = phnsw_wal_start(ins->index);
		uint32	   *list;
		uint32		n = links->n;

		slot = phnsw_wal_slot(wal, pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), place);
		list = phnsw_slot_links(slot, pi->code_bytes);
		for (uint32 i = 0; i < Min(slot->count, 2 * pi->m) && n < 2 * pi->m; i++)
		{
			uint32		j = 0;

			while (j < n && links->ids[j] != list[i])
				j++;
			if (j == n)
				links->ids[n++] = list[i];
		}
		memcpy(list, links->ids, n * sizeof(uint32));
		slot->count = n;
		phnsw_wal_finish(wal);
	}
	UnlockReleaseBuffer(buffer);
	return there;
}

/* The node's level is not what a search and a plan for level 0 need. */
static bool
become_entry(PhnswInsert *ins, uint8 level)
{
	bool		done;

	ins->slot->level = level;
	done = phnsw_raise_entry(ins, PHNSW_NONE);
	ins->slot->level = 0;
	return done;
}

/* What the search came to it by may be a dead node, or a list that is about to be given up, and so proves nothing. */
static void
leave_out_self(PhnswInsert *ins)
{
	PhnswCopies *near = &ins->near;
	Size		bytes = phnsw_head_bytes(ins->pi);

	for (uint32 i = 0; i < near->n; i++)
	{
		if (near->ids[i] != ins->id)
			continue;
		near->n--;
		memmove(near->ids + i, near->ids + i + 1, (near->n - i) * sizeof(uint32));
		memmove(near->distances + i, near->distances + i + 1, (near->n - i) * sizeof(float));
		memmove(near->versions + i, near->versions + i + 1, (near->n - i) * sizeof(uint32));
		memmove(near->slots + i * bytes, near->slots + (i + 1) * bytes, (near->n - i) * bytes);
	}
}

/* Once; true: that is all that can be done. */
static bool
link_again(PhnswInsert *ins, uint8 level)
{
	phnsw_index_refresh(ins->index, ins->pi);
	/* All that was here has been freed.  Those who come now, or were written with this one, find it. */
	if (!phnsw_insert_search(ins))
		return become_entry(ins, level);
	leave_out_self(ins);
	phnsw_choose_links(ins, &ins->near, 0);
	if (ins->links[0].n == 0)
		return true;
	ins->written = false;
	phnsw_plan_back_links(ins);
	return !rewrite_links(ins) || phnsw_write_back_links(ins);
}

void
phnsw_relink(PhnswInsert *ins)
{
	uint8		level = ins->slot->level;

	ins->slot->level = 0;		/* for the search and the plan */
	for (int attempt = 0; attempt < PHNSW_RELINK_ATTEMPTS; attempt++)
	{
		CHECK_FOR_INTERRUPTS();
		if (link_again(ins, level))
			break;
	}
	ins->slot->level = level;
}
