/*
 * alloc_slot.c
 *    Free slots for new nodes.
 *
 * They are found through PostgreSQL's free space map, which names pages: a hint, every answer is verified under the
 * page's lock.  A page is in the map for as long as it has room, also while a backend fills it.
 *
 * Locks: one node page, or the meta page and then a new one (grow.c).
 */
#include "phnsw.h"

#include "storage/freespace.h"
#include "storage/indexfsm.h"

/*
 * So many pages that others hold are passed over before a row takes a new
 * page.  As many as there are writers come into use.
 */
#define PHNSW_BUSY_PAGES 2

/*
 * Enters a page into the free space map.  A search of the map goes down from its root, which PostgreSQL updates in
 * VACUUM only: without the second call every new session would take a new page for its first row.
 */
static void
offer_page(Relation index, BlockNumber block)
{
	RecordFreeIndexPage(index, block);
	FreeSpaceMapVacuumRange(index, block, block + 1);
}

/* The first id of a page that the free space map has named; PHNSW_NONE: an old hint.  No page is locked. */
static uint32
first_id_of(Relation index, PhnswIndex *pi, BlockNumber block)
{
	uint32		first = phnsw_first_id(&pi->meta.nodes, pi->slots_per_page, block);

	if (first == PHNSW_NONE)
	{
		/* Perhaps somebody has added it just now.  The map has forgotten it already. */
		phnsw_index_refresh(index, pi);
		first = phnsw_first_id(&pi->meta.nodes, pi->slots_per_page, block);
	}
	return first;
}

typedef enum PageState
{
	PAGE_FULL,					/* or it is none: an old hint of the free space map */
	PAGE_LAST,					/* it had one free slot, which is now taken */
	PAGE_ROOM,					/* it had more */
	PAGE_BUSY					/* somebody else holds its lock */
} PageState;

/* Looks for a free slot on a node page, which is returned locked if there is one.  Does not wait for the lock. */
static Buffer
try_page(Relation index, PhnswIndex *pi, BlockNumber block, uint32 *id, PageState *state)
{
	uint32		first = first_id_of(index, pi, block);
	uint32		found = 0;
	Buffer		buffer;
	Page		page;

	*state = PAGE_FULL;
	if (first == PHNSW_NONE)
		return InvalidBuffer;
	buffer = phnsw_pin(index, pi, block);
	if (!ConditionalLockBuffer(buffer))
	{
		ReleaseBuffer(buffer);
		*state = PAGE_BUSY;
		return InvalidBuffer;
	}
	page = BufferGetPage(buffer);
	phnsw_page_check(index, block, page, PHNSW_PAGE_NODE);
	for (uint32 i = 0; i < pi->slots_per_page; i++)
	{
		if (phnsw_page_slot(pi, page, i)->state != PHNSW_SLOT_FREE)
			continue;
		if (found++ == 0)
			*id = first + i;
		else
			break;
	}
	if (found == 0)
	{
		UnlockReleaseBuffer(buffer);
		return InvalidBuffer;
	}
	*state = found == 1 ? PAGE_LAST : PAGE_ROOM;
	return buffer;
}

/*
 * A page stays in the free space map for as long as it has room, so that no backend's end loses
 * free slots.  Hence backends come to share one; who finds it locked takes another page, for
 * whoever holds the lock may have lost its processor to us.
 */
static Buffer
open_page(Relation index, PhnswIndex *pi, BlockNumber block, uint32 *id, PageState *state)
{
	Buffer		buffer = try_page(index, pi, block, id, state);

	if (*state == PAGE_FULL || *state == PAGE_LAST)
	{
		RecordUsedIndexPage(index, block);
		pi->open_page = InvalidBlockNumber;
	}
	else if (pi->open_page != block)
	{
		offer_page(index, block);
		if (*state == PAGE_ROOM)
			pi->open_page = block;
	}
	return buffer;
}

Buffer
phnsw_alloc_slot(Relation index, PhnswIndex *pi, uint32 *id)
{
	Buffer		buffer;
	Buffer		meta_buffer;
	BlockNumber block;
	PageState	state;

	if (pi->open_page != InvalidBlockNumber)
	{
		buffer = open_page(index, pi, pi->open_page, id, &state);
		if (buffer != InvalidBuffer)
			return buffer;
		/*
		 * From here on whatever the map names, perhaps this page again, is
		 * entered again: the map forgets what it names.
		 */
		pi->open_page = InvalidBlockNumber;
	}
	for (int busy = 0; busy < PHNSW_BUSY_PAGES && (block = GetFreeIndexPage(index)) != InvalidBlockNumber;)
	{
		buffer = open_page(index, pi, block, id, &state);
		if (buffer != InvalidBuffer)
			return buffer;
		busy += state == PAGE_BUSY;
	}

	meta_buffer = phnsw_lock_meta(index);
	buffer = phnsw_add_page(index, pi, meta_buffer, PHNSW_PAGE_NODE, id);
	UnlockReleaseBuffer(meta_buffer);
	block = BufferGetBlockNumber(buffer);
	if (pi->slots_per_page > 1)
	{
		offer_page(index, block);
		pi->open_page = block;
	}
	return buffer;
}

/*
 * Adds the page's free slots to the claims; *partial: it has more of them than are wanted.
 * Nobody sees what is claimed, so vacuum, or who fills the page as well, enters it in the map
 * again while we look for more: *pages are those that we have had.
 */
static void
claim_page(Relation index, PhnswIndex *pi, BlockNumber block, uint32 wanted, PhnswClaim *claims, uint32 *n,
		   bool *partial, Bitmapset **pages)
{
	uint32		first = first_id_of(index, pi, block);
	Buffer		buffer;
	Page		page;

	*partial = false;
	if (first == PHNSW_NONE || bms_is_member((int) (first / pi->slots_per_page), *pages))
		return;					/* an old hint of the free space map, or not news */
	*pages = bms_add_member(*pages, (int) (first / pi->slots_per_page));
	buffer = phnsw_pin(index, pi, block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	phnsw_page_check(index, block, page, PHNSW_PAGE_NODE);
	for (uint32 i = 0; i < pi->slots_per_page; i++)
	{
		const phnsw_slot *slot = phnsw_page_slot(pi, page, i);

		if (slot->state != PHNSW_SLOT_FREE)
			continue;
		*partial = *n == wanted;
		if (*partial)
			break;
		claims[*n].id = first + i;
		claims[(*n)++].version = slot->version;
	}
	UnlockReleaseBuffer(buffer);
	phnsw_test_point(PHNSW_POINT_MERGE_CLAIMED);
}

static int
by_id(const void *a, const void *b)
{
	uint32		x = ((const PhnswClaim *) a)->id;
	uint32		y = ((const PhnswClaim *) b)->id;

	return x < y ? -1 : x > y;
}

BlockNumber
phnsw_claim_slots(Relation index, PhnswIndex *pi, uint32 wanted, PhnswClaim *claims)
{
	uint32		n = 0;
	BlockNumber block = InvalidBlockNumber;
	bool		partial = false;
	Bitmapset  *pages = NULL;

	if (pi->open_page != InvalidBlockNumber)
	{
		block = pi->open_page;
		RecordUsedIndexPage(index, block);
		pi->open_page = InvalidBlockNumber;
		claim_page(index, pi, block, wanted, claims, &n, &partial, &pages);
	}
	while (n < wanted && (block = GetFreeIndexPage(index)) != InvalidBlockNumber)
		claim_page(index, pi, block, wanted, claims, &n, &partial, &pages);
	while (n < wanted)
	{
		Buffer		meta_buffer = phnsw_lock_meta(index);
		uint32		first;
		Buffer		buffer = phnsw_add_page(index, pi, meta_buffer, PHNSW_PAGE_NODE, &first);
		uint32		taken = Min(pi->slots_per_page, wanted - n);

		UnlockReleaseBuffer(meta_buffer);
		block = BufferGetBlockNumber(buffer);
		UnlockReleaseBuffer(buffer);
		for (uint32 i = 0; i < taken; i++)
			claims[n++] = (PhnswClaim) {.id = first + i, .version = 0};
		partial = taken < pi->slots_per_page;
	}
	bms_free(pages);
	qsort(claims, n, sizeof(PhnswClaim), by_id);
	return partial ? block : InvalidBlockNumber;
}

void
phnsw_page_has_room(Relation index, PhnswIndex *pi, BlockNumber block, bool room)
{
	if (room)
		offer_page(index, block);
	else
		RecordUsedIndexPage(index, block);
}
