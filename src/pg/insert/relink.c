/*
 * relink.c
 *    A new node that nothing leads to (README.md).
 *
 * Between the search and the back links other backends may have filled every list that was to name the new node, or
 * vacuum may have freed all those neighbours, or be about to; or the node was to be the first of an empty index and is
 * not.  Then it chooses again, among what is there now: a new search, new links of its own, and one list at least that
 * gives way to it.  Only level 0 matters, for that is where rows are found.
 *
 * Locks: one page, exclusively, for the node's own links.
 */
#include "insert/insert.h"

#include "miscadmin.h"

/* Each time others must have been faster with every list. */
#define PHNSW_RELINK_ATTEMPTS 3

/* Not itself, which a neighbour's list may name already. */
static void
add_link(const PhnswInsert *ins, PhnswNewLinks *links, uint32 id)
{
	if (links->n < 2 * ins->pi->m && id != ins->id && !phnsw_contains(links->ids, links->n, id))
		links->ids[links->n++] = id;
}

/*
 * Adds what the node has of its list itself, or what others have added; never twice, and as far as there is room for n.
 */
static void
add_links(const PhnswIndex *pi, const phnsw_slot *slot, const PhnswNewLinks *own, bool others, PhnswNewLinks *links,
		  uint32 n)
{
	const uint32 *list = phnsw_slot_links_const(slot, pi->code_bytes);

	for (uint32 i = 0; i < Min(slot->count, 2 * pi->m) && links->n < n; i++)
	{
		if (phnsw_contains(own->ids, own->n, list[i]) != others && !phnsw_contains(links->ids, links->n, list[i]))
			links->ids[links->n++] = list[i];
	}
}

/*
 * What others have added to the node's list, having come to it by a list that is gone by now: maybe nothing else
 * leads there.  A place remains for a link that gives way to the node.
 */
static void
keep_links(PhnswInsert *ins, const PhnswNewLinks *own)
{
	phnsw_slot *slot;
	uint32		place;
	Buffer		buffer = phnsw_lock_self(ins, BUFFER_LOCK_SHARE, &slot, &place);

	ins->kept->n = 0;
	if (buffer == InvalidBuffer)
		return;
	add_links(ins->pi, slot, own, true, ins->kept, 2 * ins->pi->m - 1);
	UnlockReleaseBuffer(buffer);
}

/*
 * The node's list of level 0: what it takes over, what others have added, the neighbours it has chosen now, what it
 * had before, as far as there is room.  *own: what of it is the node's.
 */
static bool
rewrite_links(PhnswInsert *ins, uint32 neighbours, PhnswNewLinks *own)
{
	PhnswIndex *pi = ins->pi;
	const PhnswNewLinks *wanted = &ins->links[0];
	uint32		capacity = 2 * pi->m;
	PhnswNewLinks links = {.n = 0};
	PhnswNewLinks others = {.n = 0};
	phnsw_slot *slot;
	uint32		place;
	Buffer		buffer = phnsw_lock_self(ins, BUFFER_LOCK_EXCLUSIVE, &slot, &place);
	PhnswWal   *wal;

	if (buffer == InvalidBuffer)
		return false;
	add_links(pi, slot, own, true, &others, capacity);
	for (uint32 i = neighbours; i < wanted->n; i++)
		add_link(ins, &links, wanted->ids[i]);
	for (uint32 i = 0; i < others.n; i++)
		add_link(ins, &links, others.ids[i]);
	for (uint32 i = 0; i < neighbours; i++)
		add_link(ins, &links, wanted->ids[i]);
	add_links(pi, slot, own, false, &links, capacity);
	wal = phnsw_wal_start(ins->index);
	slot = phnsw_wal_slot(wal, pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), place);
	memcpy(phnsw_slot_links(slot, pi->code_bytes), links.ids, links.n * sizeof(uint32));
	slot->count = links.n;
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);
	own->n = 0;
	for (uint32 i = 0; i < links.n; i++)
	{
		if (!phnsw_contains(others.ids, others.n, links.ids[i]))
			own->ids[own->n++] = links.ids[i];
	}
	ins->links[0] = links;
	return true;
}

/* The node's level is not what a search and a plan for level 0 need. */
static bool
become_entry(PhnswInsert *ins, uint8 level)
{
	bool		done;

	ins->slot->level = level;
	done = phnsw_raise_entry(ins);
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
link_again(PhnswInsert *ins, uint8 level, PhnswNewLinks *own)
{
	uint32		neighbours;

	phnsw_index_refresh(ins->index, ins->pi);
	/* All that was here has been freed.  Those who come now, or were written with this one, find it. */
	if (!phnsw_insert_search(ins))
		return become_entry(ins, level);
	leave_out_self(ins);
	phnsw_choose_links(ins, &ins->near, 0);
	/* Nothing but itself, which is the entry point then; or all of that has been freed. */
	if (ins->links[0].n == 0)
		return ins->near.n == 0;
	neighbours = ins->links[0].n;
	keep_links(ins, own);
	ins->written = false;
	phnsw_plan_back_links(ins);
	return !rewrite_links(ins, neighbours, own) || phnsw_write_back_links(ins);
}

void
phnsw_relink(PhnswInsert *ins)
{
	uint8		level = ins->slot->level;
	PhnswNewLinks own = ins->links[0];	/* what it was written with */

	ins->kept = palloc(sizeof(PhnswNewLinks));
	ins->slot->level = 0;		/* for the search and the plan */
	for (int attempt = 0; attempt < PHNSW_RELINK_ATTEMPTS; attempt++)
	{
		CHECK_FOR_INTERRUPTS();
		if (link_again(ins, level, &own))
			break;
	}
	ins->slot->level = level;
	ins->kept = NULL;
}

void
phnsw_insert_relink(Relation index, PhnswIndex *pi, const float *vector, const phnsw_slot *slot, uint32 id,
					uint32 version)
{
	PhnswInsert *ins = phnsw_insert_begin(index, pi);

	memcpy(ins->slot, slot, pi->slot_bytes);
	ins->id = id;
	ins->version = version;
	phnsw_insert_prepare(ins, vector);
	ins->links[0].n = slot->count;
	memcpy(ins->links[0].ids, phnsw_slot_links_const(slot, pi->code_bytes), slot->count * sizeof(uint32));
	phnsw_relink(ins);
	phnsw_insert_end(ins);
}
