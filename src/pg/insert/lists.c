/*
 * lists.c
 *    The neighbours' lists on their pages: copied before it is decided who gives
 *    way, changed when the new node has been written.
 *
 * A list is copied without a lock that outlives the look at it.  When it is to be changed its page is locked, and the
 * change made if the list is still the one that was looked at, or has room; else links.c decides again.  Lists on up to
 * four pages are changed in one WAL record, in block order, so the locks are too.
 *
 * Lists of level 0 stand in slots, those above in aux records; "place" is either.
 */
#include "insert/lists.h"

#include "search/glance.h"

/* The parts of a list on a page or its image. */
static void
list_at(const PhnswBackLinks *back, Page page, uint32 place, uint16 **count, uint32 **links)
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
find_list(const PhnswBackLinks *back, Page page, const PhnswBackLink *link, uint16 **count, uint32 **links)
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

/*
 * Copies the list of level 0 without a lock; false when it takes a closer
 * look.  A torn copy is noticed when it is changed.
 */
static bool
glance_at_list(PhnswBackLinks *back, PhnswBackLink *link)
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
copy_list(PhnswBackLinks *back, PhnswBackLink *link, uint32 *next)
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

bool
phnsw_read_list(PhnswBackLinks *back, PhnswBackLink *link)
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

/* ---- writing --------------------------------------------------------------------------------- */

/*
 * Looks at the list on the locked page again.  As it was: as decided.  Grown, but with room: takes
 * the link at its new end.  Otherwise it is to be decided again.
 */
static PhnswLinkFate
look_again(const PhnswBackLinks *back, Page page, PhnswBackLink *link)
{
	uint16	   *count;
	uint32	   *links;

	/* The new node has got the slot of a neighbour that was freed, whose upper lists vacuum may not have freed yet. */
	if (link->id == back->ins->id)
		return LINK_NONE;
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
write_link(const PhnswBackLinks *back, PhnswWal *wal, Page image, const PhnswBackLink *link)
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
write_record(const PhnswBackLinks *back, PhnswBackLink *lists, uint32 n)
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
	const PhnswBackLink *left = a;
	const PhnswBackLink *right = b;

	if (left->block != right->block)
		return left->block < right->block ? -1 : 1;
	return left->place < right->place ? -1 : left->place > right->place;
}

void
phnsw_write_lists(const PhnswBackLinks *back, PhnswBackLink *lists, uint32 n)
{
	uint32		first = 0;
	uint32		pages = 0;

	qsort(lists, n, sizeof(PhnswBackLink), by_place);
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
