/*
 * links.c
 *    Which of its neighbours link to the new node, and what gives way to it there (README.md).
 *
 * Every back link is decided from a copy of the neighbour's list, without a lock: append while there is room,
 * else the entry that gives way, else nothing.  A list that has changed by the time it is to be written
 * (lists.c) is decided once more and then left alone, for a link is a hint.
 *
 * Nothing becomes unreachable by an insert: on level 0 the new node takes over every link that gives
 * way to it (its list has room for 2M, it chose M neighbours, and each of them gives up one at most),
 * at least its nearest neighbour links to it, and a new entry point links to the one before.  Without
 * that, clusters that hang on a few long links get lost (README.md).
 */
#include "insert/lists.h"

#include "miscadmin.h"

/* ---- deciding -------------------------------------------------------------------------------- */

/* The new node takes over a link that gives way to it; false when it has no room. */
static bool
take_over(PhnswBackLinks *back, uint32 id)
{
	PhnswNewLinks *links = &back->ins->links[back->level];
	const PhnswNewLinks *kept = back->level == 0 ? back->ins->kept : NULL;
	uint32		given_up = kept != NULL ? back->neighbours : 0;

	if (phnsw_contains(links->ids + given_up, links->n - given_up, id) ||
		(kept != NULL && phnsw_contains(kept->ids, kept->n, id)))
		return true;
	if (links->n - given_up + (kept != NULL ? kept->n : 0) >= back->capacity || links->n == PHNSW_LINKS_MAX)
		return false;
	links->ids[links->n++] = id;
	return true;
}

static uint32
farthest(const float *distances, uint32 n)
{
	uint32		at = 0;

	for (uint32 i = 1; i < n; i++)
	{
		if (distances[i] > distances[at])
			at = i;
	}
	return at;
}

/*
 * The entry of the copied list, which is full, that gives way; link->count: the new node loses.  must: it does not
 * lose.  slots: the entries' nodes, with room for one more.  *gone: the entry leads nowhere.
 */
static uint32
choose_entry(const PhnswBackLinks *back, const PhnswBackLink *link, bool must, const phnsw_slot **slots, bool *gone)
{
	float		distances[PHNSW_LINKS_MAX + 1]; /* from the list's owner */
	uint32		at;

	for (at = 0; at < link->count; at++)
	{
		*gone = slots[at]->state == PHNSW_SLOT_FREE || slots[at]->level < back->level;
		if (*gone)
			return at;
	}
	phnsw_codec_distances(back->ins->pi->codec, link->owner, slots, link->count, distances);
	at = phnsw_choose_victim(back->ins, link->distance, slots, distances, link->count);
	return at == link->count && must ? farthest(distances, link->count) : at;
}

/* The same, with the nodes as they stand in shared buffers: the lists of sixteen neighbours name much the same ones. */
static uint32
choose_in_place(const PhnswBackLinks *back, const PhnswBackLink *link, bool must, bool *gone)
{
	PhnswInsert *ins = back->ins;
	const phnsw_slot *slots[PHNSW_LINKS_MAX + 1];
	PhnswLook	look;
	uint32		at;

	if (phnsw_look_begin(ins->index, ins->pi, &look, link->links, link->count, slots))
	{
		at = choose_entry(back, link, must, slots, gone);
		if (phnsw_look_end(ins->index, &look))
			return at;
	}
	if (ins->members == NULL)
		ins->members = MemoryContextAlloc(ins->context, PHNSW_LINKS_MAX * phnsw_head_bytes(ins->pi));
	phnsw_touch_heads(ins->index, ins->pi, link->links, link->count, ins->members, phnsw_head_bytes(ins->pi));
	for (uint32 i = 0; i < link->count; i++)
		slots[i] = (const phnsw_slot *) (ins->members + i * phnsw_head_bytes(ins->pi));
	return choose_entry(back, link, must, slots, gone);
}

/*
 * Which entry of the copied list to write; false when the new node loses.  must: it does not
 * lose.  While the node is being planned (ins->written is false) it takes over what it
 * displaces; later it displaces only what it links to anyway.
 */
static bool
decide(PhnswBackLinks *back, PhnswBackLink *link, bool must)
{
	PhnswInsert *ins = back->ins;
	const PhnswNewLinks *mine = &ins->links[back->level];
	bool		gone;

	link->at = link->count;
	if (link->count < back->capacity)
		return true;
	link->at = choose_in_place(back, link, must, &gone);
	if (link->at == link->count || gone)
		return gone;
	if (ins->written)
		return phnsw_contains(mine->ids, mine->n, link->links[link->at]);
	return take_over(back, link->links[link->at]) || back->level > 0;
}

/* ---- a level --------------------------------------------------------------------------------- */

/* Fills back->list with the nodes that the new one links to, as they are now. */
static void
list_owners(PhnswBackLinks *back)
{
	PhnswInsert *ins = back->ins;
	const PhnswNewLinks *links = &ins->links[back->level];
	char	   *owners = NULL;
	uint32	   *lists = palloc((Size) links->n * back->capacity * sizeof(uint32));

	back->list = palloc0(links->n * sizeof(PhnswBackLink));
	if (back->level > 0)
	{
		/* Under a lock, since their references to aux records will be followed. */
		owners = palloc((Size) links->n * ins->pi->slot_bytes);
		phnsw_touch_copy(ins->index, ins->pi, links->ids, links->n, owners);
	}
	for (uint32 i = 0; i < links->n; i++)
	{
		PhnswBackLink *link = &back->list[back->n++];

		link->owner = owners != NULL ? (const phnsw_slot *) (owners + (Size) i * ins->pi->slot_bytes) :
			phnsw_copy(ins, &ins->near, links->found[i]);
		link->id = links->ids[i];
		link->distance = links->distances[i];
		link->links = lists + i * back->capacity;
		link->fate = LINK_DECIDE;
		if (link->owner->state == PHNSW_SLOT_FREE || link->owner->level < back->level)
			back->n--;
	}
}

/*
 * Reads and decides the lists that are to be decided; keeps those to be written, and the first of the others in *spare.
 */
static void
decide_lists(PhnswBackLinks *back, PhnswBackLink *spare)
{
	uint32		n = 0;

	spare->links = NULL;
	for (uint32 i = 0; i < back->n; i++)
	{
		PhnswBackLink link = back->list[i];

		CHECK_FOR_INTERRUPTS();
		if (link.fate != LINK_DECIDE || !phnsw_read_list(back, &link))
			continue;
		if (decide(back, &link, false))
			back->list[n++] = link;
		else if (spare->links == NULL)
			*spare = link;
	}
	back->n = n;
}

void
phnsw_plan_back_links(PhnswInsert *ins)
{
	ins->back = palloc0((ins->slot->level + 1) * sizeof(PhnswBackLinks));
	for (uint32 level = ins->lowest; level <= ins->slot->level; level++)
	{
		PhnswBackLinks *back = &ins->back[level];
		PhnswBackLink spare;

		if (ins->links[level].n == 0)
			continue;
		back->ins = ins;
		back->level = level;
		back->capacity = level == 0 ? 2 * ins->pi->m : ins->pi->m;
		back->neighbours = ins->links[level].n;
		list_owners(back);
		if (level == 0 && ins->slot->level > ins->pi->meta.entry_level && ins->pi->meta.entry != PHNSW_NONE)
			take_over(back, ins->pi->meta.entry);
		decide_lists(back, &spare);
		if (back->n == 0 && spare.links != NULL && decide(back, &spare, true))
			back->list[back->n++] = spare;
	}
}

/*
 * Whether something leads to the new node now, and will when vacuum, which may have passed already, has freed the dead.
 */
static bool
is_linked(const PhnswBackLinks *back, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		if (back->list[i].alive && (back->list[i].fate == LINK_WRITE || back->list[i].fate == LINK_THERE))
			return true;
	}
	return false;
}

bool
phnsw_write_back_links(PhnswInsert *ins)
{
	bool		linked = false;

	ins->written = true;
	for (uint32 level = ins->lowest; level <= ins->slot->level; level++)
	{
		PhnswBackLinks *back = &ins->back[level];
		PhnswBackLink spare;

		phnsw_write_lists(back, back->list, back->n);
		linked |= level == 0 && is_linked(back, back->n);
		decide_lists(back, &spare);
		phnsw_write_lists(back, back->list, back->n);
		linked |= level == 0 && is_linked(back, back->n);
	}
	return linked;
}
