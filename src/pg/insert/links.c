/*
 * links.c
 *    The new node's neighbours, and the new node among theirs (README.md).
 *
 * Every back link is decided from a copy of the neighbour's list, without a lock: append while there is room, else the entry
 * that gives way, else nothing.  When the node itself has been written, the pages are locked, and the changes made if the
 * lists are still the ones that were looked at; a list that changed meanwhile is decided once more and then left alone, for a
 * link is a hint.  Lists on up to four pages are changed in one WAL record, in block order, so the locks are too.
 *
 * Nothing becomes unreachable by an insert: on level 0 the new node takes over every link that gives way to it (its list has
 * room for 2M, it chose M neighbours, and each of them gives up one at most), at least its nearest neighbour links to it, and
 * a new entry point links to the one before.  Without that, clusters that hang on a few long links get lost (README.md).
 *
 * Lists of level 0 stand in slots, those above in aux records; "place" is either.
 */
#include "insert/insert.h"

#include "search/glance.h"

#include "miscadmin.h"

/* ---- lists --------------------------------------------------------------------------------------------------------------- */

typedef enum LinkFate
{
	LINK_NONE,					/* not, or not any more */
	LINK_WRITE,
	LINK_THERE,					/* without our doing */
	LINK_DECIDE					/* to be decided, or once more */
} LinkFate;

/* A neighbour's list on one level, which the new node wants to be in. */
typedef struct BackLink
{
	const phnsw_slot *owner;	/* copy of the neighbour */
	uint32		id;
	float		distance;		/* between the neighbour and the new node */
	BlockNumber block;			/* page of the list */
	uint32		place;			/* slot or aux record there */
	uint32		at;				/* entry to write; behind the last to append */
	uint32		count;			/* of the list as it was copied */
	uint32	   *links;
	LinkFate	fate;
	bool		alive;			/* the owner, when its list was written */
	Buffer		buffer;			/* while the page is locked */
} BackLink;

struct BackLinks
{
	PhnswInsert *ins;
	uint32		level;
	uint32		capacity;		/* of a list on this level */
	uint32		neighbours;		/* that the new node has chosen */
	uint32		n;				/* lists still to be changed */
	BackLink   *list;
};
typedef struct BackLinks BackLinks;

/* The parts of a list on a page or its image. */
static void
list_at(const BackLinks *back, Page page, uint32 place, uint16 **count, uint32 **links)
{
	const PhnswIndex *pi = back->ins->pi;

	if (back->level == 0)
	{
		phnsw_slot *slot = phnsw_page_slot(pi, page, place);

		*count = &slot->count;
		*links = phnsw_slot_links(slot, pi->code_bytes);
	}
	else
	{
		phnsw_aux  *aux = phnsw_page_aux(pi, page, place);

		*count = &aux->count;
		*links = phnsw_aux_links(aux);
	}
}

/* The list on a locked page; false when the neighbour has gone from there. */
static bool
find_list(const BackLinks *back, Page page, const BackLink *link, uint16 **count, uint32 **links)
{
	const PhnswIndex *pi = back->ins->pi;

	list_at(back, page, link->place, count, links);
	if (back->level == 0)
	{
		const phnsw_slot *slot = phnsw_page_slot(pi, page, link->place);

		return slot->state != PHNSW_SLOT_FREE && slot->version == link->owner->version;
	}
	else
	{
		const phnsw_aux *aux = phnsw_page_aux(pi, page, link->place);

		return aux->kind == PHNSW_AUX_UPPER && aux->node == link->id && aux->version == link->owner->version &&
			aux->level == back->level;
	}
}

/* Copies the list of level 0 without a lock; false when it takes a closer look.  A torn copy is noticed when it is changed. */
static bool
glance_at_list(BackLinks *back, BackLink *link)
{
	PhnswInsert *ins = back->ins;
	PhnswGlance glance;
	uint16	   *count;
	uint32	   *links;

	if (!phnsw_glance_begin(&glance, ins->index, ins->pi, link->block) ||
		!find_list(back, glance.page, link, &count, &links))
		return false;
	link->count = *(const volatile uint16 *) count; /* read once: it is checked and then used */
	if (link->count > back->capacity)
		return false;
	memcpy(link->links, links, link->count * sizeof(uint32));
	/* New nodes, or not links at all if the page went and came back meanwhile: only the lock can tell. */
	for (uint32 i = 0; i < link->count; i++)
	{
		if (link->links[i] >= ins->pi->meta.nodes.limit)
			return false;
	}
	return phnsw_glance_end(&glance);
}

/* Copies the list at link->block and link->place; false when it is not there, *next: the aux record behind it. */
static bool
copy_list(BackLinks *back, BackLink *link, uint32 *next)
{
	PhnswInsert *ins = back->ins;
	phnsw_page_kind kind = back->level == 0 ? PHNSW_PAGE_NODE : PHNSW_PAGE_AUX;
	Buffer		buffer = phnsw_pin(ins->index, ins->pi, link->block);
	Page		page = BufferGetPage(buffer);
	uint16	   *count;
	uint32	   *links;
	bool		found;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(ins->index, link->block, page, kind);
	found = find_list(back, page, link, &count, &links);
	if (back->level > 0)
	{
		const phnsw_aux *aux = phnsw_page_aux(ins->pi, page, link->place);

		*next = aux->kind == PHNSW_AUX_UPPER && aux->node == link->id ? aux->next : PHNSW_NONE;
	}
	if (found)
	{
		if (*count > back->capacity)
			phnsw_corrupt(ins->index, link->block, link->place, "a list has more links than fit");
		link->count = *count;
		memcpy(link->links, links, link->count * sizeof(uint32));
	}
	UnlockReleaseBuffer(buffer);
	return found;
}

/* Finds and copies the neighbour's list on the level; false when it has none. */
static bool
read_list(BackLinks *back, BackLink *link)
{
	PhnswInsert *ins = back->ins;
	uint32		record = link->owner->upper;

	if (back->level == 0)
	{
		link->block = phnsw_node_block(ins->index, ins->pi, link->id, &link->place);
		return glance_at_list(back, link) || copy_list(back, link, &record);
	}
	for (uint32 step = 0; step < PHNSW_LEVEL_MAX && record != PHNSW_NONE; step++)
	{
		link->block = phnsw_aux_block(ins->index, ins->pi, record, &link->place);
		if (copy_list(back, link, &record))
			return true;
	}
	return false;
}

/* ---- deciding ------------------------------------------------------------------------------------------------------------- */

/* The new node takes over a link that gives way to it; false when it has no room. */
static bool
take_over(BackLinks *back, uint32 id)
{
	PhnswNewLinks *links = &back->ins->links[back->level];
	const PhnswNewLinks *kept = back->level == 0 ? back->ins->kept : NULL;
	uint32		given_up = kept != NULL ? back->neighbours : 0;

	if (phnsw_contains(links->ids + given_up, links->n - given_up, id) || (kept != NULL && phnsw_contains(kept->ids, kept->n, id)))
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
 * The entry of the copied list, which is full, that gives way; link->count: the new node loses.  must: it does not lose.  slots: the
 * entries' nodes, with room for one more.  *gone: the entry leads nowhere.
 */
static uint32
choose_entry(const BackLinks *back, const BackLink *link, bool must, const phnsw_slot **slots, bool *gone)
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
choose_in_place(const BackLinks *back, const BackLink *link, bool must, bool *gone)
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
 * Which entry of the copied list to write; false when the new node loses.  must: it does not lose.  While the node is being
 * planned (ins->written is false) it takes over what it displaces; later it displaces only what it links to anyway.
 */
static bool
decide(BackLinks *back, BackLink *link, bool must)
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

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

/*
 * Looks at the list on the locked page again.  As it was: as decided.  Grown, but with room: takes the link at its new end.
 * Otherwise it is to be decided again.
 */
static LinkFate
look_again(const BackLinks *back, Page page, BackLink *link)
{
	uint16	   *count;
	uint32	   *links;

	if (!find_list(back, page, link, &count, &links) || *count > back->capacity)
		return LINK_NONE;
	link->alive = back->level > 0 || phnsw_page_slot(back->ins->pi, page, link->place)->state == PHNSW_SLOT_LIVE;
	if (phnsw_contains(links, *count, back->ins->id))
		return LINK_THERE;		/* a stale link to the slot's former node has come true */
	if (*count == link->count && memcmp(links, link->links, link->count * sizeof(uint32)) == 0)
		return LINK_WRITE;
	if (*count == back->capacity)
		return LINK_DECIDE;
	link->at = *count;
	return LINK_WRITE;
}

static void
write_link(const BackLinks *back, PhnswWal *wal, Page image, const BackLink *link)
{
	uint16	   *count;
	uint32	   *links;

	/* Where the list stands in the image; what it says is on the page. */
	list_at(back, image, link->place, &count, &links);
	*(uint32 *) phnsw_wal_part(wal, &links[link->at], sizeof(uint32)) = back->ins->id;
	phnsw_wal_part(wal, count, sizeof(uint16));
	if (link->at == *count)
		(*count)++;
}

/* Changes n lists, which lie on at most as many pages as a WAL record takes; leaves each with its fate. */
static void
write_record(const BackLinks *back, BackLink *lists, uint32 n)
{
	PhnswInsert *ins = back->ins;
	phnsw_page_kind kind = back->level == 0 ? PHNSW_PAGE_NODE : PHNSW_PAGE_AUX;
	Buffer		held[PHNSW_WAL_PAGES];
	Buffer		registered = InvalidBuffer;
	uint32		n_held = 0;
	PhnswWal   *wal = NULL;
	Page		image = NULL;

	for (uint32 i = 0; i < n; i++)
	{
		if (i == 0 || lists[i].block != lists[i - 1].block)
		{
			Buffer		buffer = phnsw_pin(ins->index, ins->pi, lists[i].block);

			Assert(n_held < PHNSW_WAL_PAGES);
			LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
			phnsw_page_check(ins->index, lists[i].block, BufferGetPage(buffer), kind);
			held[n_held++] = buffer;
		}
		lists[i].buffer = held[n_held - 1];
		lists[i].fate = look_again(back, BufferGetPage(lists[i].buffer), &lists[i]);
	}
	for (uint32 i = 0; i < n; i++)
	{
		if (lists[i].fate != LINK_WRITE)
			continue;
		if (wal == NULL)
			wal = phnsw_wal_start(ins->index);
		if (lists[i].buffer != registered)
		{
			registered = lists[i].buffer;
			image = phnsw_wal_register(wal, registered, PHNSW_WAL_PARTS);
		}
		write_link(back, wal, image, &lists[i]);
	}
	if (wal != NULL)
		phnsw_wal_finish(wal);
	for (uint32 i = 0; i < n_held; i++)
		UnlockReleaseBuffer(held[i]);
}

static int
by_place(const void *a, const void *b)
{
	const BackLink *left = a;
	const BackLink *right = b;

	if (left->block != right->block)
		return left->block < right->block ? -1 : 1;
	return left->place < right->place ? -1 : left->place > right->place;
}

/* Writes lists[0 ... n), a WAL record's worth of pages at a time. */
static void
write_lists(const BackLinks *back, BackLink *lists, uint32 n)
{
	uint32		first = 0;
	uint32		pages = 0;

	qsort(lists, n, sizeof(BackLink), by_place);
	for (uint32 i = 0; i < n; i++)
	{
		if (i > first && lists[i].block == lists[i - 1].block)
			continue;
		if (pages++ < PHNSW_WAL_PAGES)
			continue;
		write_record(back, lists + first, i - first);
		first = i;
		pages = 1;
	}
	if (n > first)
		write_record(back, lists + first, n - first);
}

/* ---- a level ---------------------------------------------------------------------------------------------------------------- */

/* Fills back->list with the nodes that the new one links to, as they are now. */
static void
list_owners(BackLinks *back)
{
	PhnswInsert *ins = back->ins;
	const PhnswNewLinks *links = &ins->links[back->level];
	char	   *owners = NULL;
	uint32	   *lists = palloc((Size) links->n * back->capacity * sizeof(uint32));

	back->list = palloc0(links->n * sizeof(BackLink));
	if (back->level > 0)
	{
		/* Under a lock, since their references to aux records will be followed. */
		owners = palloc((Size) links->n * ins->pi->slot_bytes);
		phnsw_touch_copy(ins->index, ins->pi, links->ids, links->n, owners);
	}
	for (uint32 i = 0; i < links->n; i++)
	{
		BackLink   *link = &back->list[back->n++];

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

/* Reads and decides the lists that are to be decided; keeps those to be written, and the first of the others in *spare. */
static void
decide_lists(BackLinks *back, BackLink *spare)
{
	uint32		n = 0;

	spare->links = NULL;
	for (uint32 i = 0; i < back->n; i++)
	{
		BackLink	link = back->list[i];

		CHECK_FOR_INTERRUPTS();
		if (link.fate != LINK_DECIDE || !read_list(back, &link))
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
	ins->back = palloc0((ins->slot->level + 1) * sizeof(BackLinks));
	for (uint32 level = ins->lowest; level <= ins->slot->level; level++)
	{
		BackLinks  *back = &ins->back[level];
		BackLink	spare;

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

/* Whether something leads to the new node now, and will when vacuum, which may have passed already, has freed the dead. */
static bool
is_linked(const BackLinks *back, uint32 n)
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
		BackLinks  *back = &ins->back[level];
		BackLink	spare;

		write_lists(back, back->list, back->n);
		linked |= level == 0 && is_linked(back, back->n);
		decide_lists(back, &spare);
		write_lists(back, back->list, back->n);
		linked |= level == 0 && is_linked(back, back->n);
	}
	return linked;
}
