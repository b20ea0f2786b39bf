/*
 * alloc.c
 *    Free slots and aux records, and the growth of the index.
 *
 * Node ids and aux ids are dense; pages are put into use in the order of their ids, and `limit` moves in the WAL record that
 * initialises a page.  Blocks are reserved for each kind in extents that grow with the index, so the list stays short; a
 * reservation is only arithmetic, the file itself grows when a page is initialised.
 *
 * Free slots are found through PostgreSQL's free space map (a hint: every answer is verified under the page's lock), free aux
 * records through a list that starts in the meta page.
 *
 * Locks: ../README.md, Lock order.  The relation extension lock is taken under the meta page's lock and nothing is locked
 * under it.
 */
#include "phnsw.h"

#include "storage/freespace.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"

/*
 * An extent grows an id space by a 32nd, between 1 page and 8 MB.  The list of extents has an end, so the more of it is used,
 * the larger they get: up to a quarter, and 1 GB.
 */
#define PHNSW_EXTENT_SHARE     32
#define PHNSW_EXTENT_PAGES_MAX 1024

/* So many pages that others hold are passed over before a row takes a new page.  As many as there are writers come into use. */
#define PHNSW_BUSY_PAGES 2

static inline uint32
extent_pages(uint32 pages, uint32 extents)
{
	uint32		share = PHNSW_EXTENT_SHARE >> (extents * 4 / PHNSW_EXTENTS_MAX);
	uint32		pages_max = PHNSW_EXTENT_PAGES_MAX << (extents * 8 / PHNSW_EXTENTS_MAX);

	return Max(1, Min(pages / Max(share, 4), pages_max));
}

static inline uint32
per_page(const PhnswIndex *pi, phnsw_page_kind kind)
{
	return kind == PHNSW_PAGE_NODE ? pi->slots_per_page : pi->aux_per_page;
}

static inline phnsw_space *
space_of(phnsw_meta *meta, phnsw_page_kind kind)
{
	return kind == PHNSW_PAGE_NODE ? &meta->nodes : &meta->aux;
}

/* First block behind everything reserved. */
static BlockNumber
first_unreserved(const phnsw_meta *meta)
{
	BlockNumber block = Max(1, meta->centre_block + meta->centre_pages);

	for (uint32 i = 0; i < meta->nodes.extents; i++)
		block = Max(block, meta->nodes.extent[i].first_block + meta->nodes.extent[i].pages);
	for (uint32 i = 0; i < meta->aux.extents; i++)
		block = Max(block, meta->aux.extent[i].first_block + meta->aux.extent[i].pages);
	return block;
}

/* Adds blocks to an id space. */
static void
reserve(Relation index, PhnswIndex *pi, phnsw_meta *meta, phnsw_page_kind kind)
{
	phnsw_space *space = space_of(meta, kind);
	BlockNumber block = first_unreserved(meta);
	uint32		grow = extent_pages(space->limit / per_page(pi, kind), space->extents);
	phnsw_extent *last = space->extents > 0 ? &space->extent[space->extents - 1] : NULL;

	if ((uint64) space->limit + (uint64) grow * per_page(pi, kind) >= PHNSW_NONE ||
		(uint64) block + grow >= MaxBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" cannot grow any further", RelationGetRelationName(index))));
	if (last != NULL && last->first_block + last->pages == block)
	{
		last->pages += grow;
		return;
	}
	if (space->extents == PHNSW_EXTENTS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" has grown in too many pieces", RelationGetRelationName(index)),
				 errhint("REINDEX the index.")));
	space->extent[space->extents].first_id = space->limit;
	space->extent[space->extents].first_block = block;
	space->extent[space->extents].pages = grow;
	space->extents++;
}

/* Makes the file reach `block` and returns it pinned and locked exclusively; its content is whatever it was, or zeros. */
static Buffer
materialise(Relation index, BlockNumber block)
{
	Buffer		buffer;

	if (block >= RelationGetNumberOfBlocks(index))
	{
		LockRelationForExtension(index, ExclusiveLock);
		while (RelationGetNumberOfBlocks(index) <= block)
			ReleaseBuffer(ReadBuffer(index, P_NEW));
		UnlockRelationForExtension(index, ExclusiveLock);
	}
	buffer = ReadBuffer(index, block);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	return buffer;
}

/* All records of a fresh aux page form the head of the free list. */
static void
fill_aux_page(const PhnswIndex *pi, Page page, phnsw_meta *meta, uint32 first)
{
	for (uint32 i = 0; i < pi->aux_per_page; i++)
	{
		phnsw_aux  *aux = phnsw_page_aux(pi, page, i);

		aux->node = PHNSW_NONE;
		aux->kind = PHNSW_AUX_FREE;
		aux->next = i + 1 < pi->aux_per_page ? first + i + 1 : meta->aux_free;
	}
	meta->aux_free = first;
}

/*
 * Puts the next page of a kind into use.  REQUIRES: the meta page is locked exclusively.  Returns the new page, pinned and
 * locked exclusively, and its first id.
 */
static Buffer
add_page(Relation index, PhnswIndex *pi, Buffer meta_buffer, phnsw_page_kind kind, uint32 *first)
{
	PhnswWal   *wal = phnsw_wal_start(index);
	phnsw_meta *meta = phnsw_page_meta(phnsw_wal_register(wal, meta_buffer, PHNSW_WAL_WHOLE));
	phnsw_space *space = space_of(meta, kind);
	uint32		count = per_page(pi, kind);
	BlockNumber block;
	uint32		place;
	Buffer		buffer;
	Page		page;

	*first = space->limit;
	block = phnsw_locate(space, count, *first, &place);
	if (block == 0)
	{
		reserve(index, pi, meta, kind);
		block = phnsw_locate(space, count, *first, &place);
	}
	buffer = materialise(index, block);
	page = phnsw_wal_register(wal, buffer, PHNSW_WAL_FRESH);
	phnsw_page_init(page, kind, count, phnsw_page_content_bytes(meta, kind, count));
	if (kind == PHNSW_PAGE_AUX)
		fill_aux_page(pi, page, meta, *first);
	else
	{
		for (uint32 i = 0; i < count; i++)
		{
			phnsw_page_slot(pi, page, i)->upper = PHNSW_NONE;
			phnsw_page_slot(pi, page, i)->tids = PHNSW_NONE;
		}
	}
	space->limit += count;
	meta->change++;
	phnsw_wal_finish(wal);
	return buffer;
}

static Buffer
lock_meta(Relation index)
{
	Buffer		buffer = ReadBuffer(index, 0);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(index, 0, BufferGetPage(buffer), PHNSW_PAGE_META);
	return buffer;
}

/*
 * Enters a page into the free space map.  A search of the map goes down from its root, which PostgreSQL updates in VACUUM only: without
 * the second call every new session would take a new page for its first row.
 */
static void
offer_page(Relation index, BlockNumber block)
{
	RecordFreeIndexPage(index, block);
	FreeSpaceMapVacuumRange(index, block, block + 1);
}

/* ---- slots -------------------------------------------------------------------------------------------------------------- */

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
 * A page stays in the free space map for as long as it has room, so that no backend's end loses free slots.  Hence backends come to share
 * one; who finds it locked takes another page, for whoever holds the lock may have lost its processor to us.
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
		/* From here on whatever the map names, perhaps this page again, is entered again: the map forgets what it names. */
		pi->open_page = InvalidBlockNumber;
	}
	for (int busy = 0; busy < PHNSW_BUSY_PAGES && (block = GetFreeIndexPage(index)) != InvalidBlockNumber;)
	{
		buffer = open_page(index, pi, block, id, &state);
		if (buffer != InvalidBuffer)
			return buffer;
		busy += state == PAGE_BUSY;
	}

	meta_buffer = lock_meta(index);
	buffer = add_page(index, pi, meta_buffer, PHNSW_PAGE_NODE, id);
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
 * Adds the page's free slots to the claims; *partial: it has more of them than are wanted.  Nobody sees what is claimed, so vacuum, or who fills
 * the page as well, enters it in the map again while we look for more: *pages are those that we have had.
 */
static void
claim_page(Relation index, PhnswIndex *pi, BlockNumber block, uint32 wanted, PhnswClaim *claims, uint32 *n, bool *partial,
		   Bitmapset **pages)
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
		Buffer		meta_buffer = lock_meta(index);
		uint32		first;
		Buffer		buffer = add_page(index, pi, meta_buffer, PHNSW_PAGE_NODE, &first);
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

/* ---- aux records ---------------------------------------------------------------------------------------------------------- */

/* The head of the free list, in the image of the meta page. */
static uint32 *
wal_aux_free(PhnswWal *wal, Buffer meta_buffer)
{
	phnsw_meta *meta = phnsw_page_meta(phnsw_wal_register(wal, meta_buffer, PHNSW_WAL_PARTS));

	return phnsw_wal_part(wal, &meta->aux_free, sizeof(meta->aux_free));
}

/* Takes as many records as lie on the page of the list's head, at most n.  REQUIRES: the list is not empty, meta locked. */
static uint32
pop_aux(Relation index, PhnswIndex *pi, Buffer meta_buffer, phnsw_aux_kind kind, uint32 n, uint32 *ids)
{
	PhnswWal   *wal = phnsw_wal_start(index);
	const phnsw_meta *meta = phnsw_page_meta(BufferGetPage(meta_buffer));
	uint32	   *aux_free = wal_aux_free(wal, meta_buffer);
	uint32		place;
	BlockNumber block = phnsw_locate(&meta->aux, pi->aux_per_page, *aux_free, &place);
	Buffer		buffer;
	Page		page;
	uint32		taken = 0;

	if (block == 0 || *aux_free >= meta->aux.limit)
		phnsw_corrupt(index, 0, *aux_free, "the free list of aux records leads beyond the end");
	buffer = ReadBuffer(index, block);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
	page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	while (taken < n && *aux_free != PHNSW_NONE && *aux_free < meta->aux.limit &&
		   phnsw_locate(&meta->aux, pi->aux_per_page, *aux_free, &place) == block)
	{
		phnsw_aux  *aux = phnsw_wal_aux(wal, pi, page, place);

		if (aux->kind != PHNSW_AUX_FREE)
			phnsw_corrupt(index, block, place, "an aux record on the free list is in use");
		ids[taken++] = *aux_free;
		*aux_free = aux->next;
		aux->kind = kind;
		aux->node = PHNSW_NONE;
		aux->version = 0;
		aux->next = PHNSW_NONE;
		aux->level = 0;
		aux->count = 0;
	}
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);
	return taken;
}

void
phnsw_alloc_aux(Relation index, PhnswIndex *pi, phnsw_aux_kind kind, uint32 n, uint32 *ids)
{
	Buffer		meta_buffer = lock_meta(index);
	uint32		taken = 0;

	while (taken < n)
	{
		const phnsw_meta *meta = phnsw_page_meta(BufferGetPage(meta_buffer));

		if (meta->aux_free == PHNSW_NONE)
		{
			uint32		first;

			UnlockReleaseBuffer(add_page(index, pi, meta_buffer, PHNSW_PAGE_AUX, &first));
		}
		taken += pop_aux(index, pi, meta_buffer, kind, n - taken, ids + taken);
	}
	UnlockReleaseBuffer(meta_buffer);
}

void
phnsw_free_aux(Relation index, PhnswIndex *pi, BlockNumber block, const uint32 *ids, uint32 n)
{
	Buffer		meta_buffer = lock_meta(index);
	Buffer		buffer = ReadBuffer(index, block);
	PhnswWal   *wal = phnsw_wal_start(index);
	const phnsw_meta *meta = phnsw_page_meta(BufferGetPage(meta_buffer));
	uint32	   *aux_free = wal_aux_free(wal, meta_buffer);
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
	page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	for (uint32 i = 0; i < n; i++)
	{
		uint32		place;
		phnsw_aux  *aux;

		if (phnsw_locate(&meta->aux, pi->aux_per_page, ids[i], &place) != block)
			elog(ERROR, "aux record %u is not on block %u", ids[i], block);
		aux = phnsw_wal_aux(wal, pi, page, place);
		if (aux->kind == PHNSW_AUX_FREE)
			continue;
		memset(aux, 0, pi->aux_bytes);
		aux->node = PHNSW_NONE;
		aux->kind = PHNSW_AUX_FREE;
		aux->next = *aux_free;
		*aux_free = ids[i];
	}
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);
	UnlockReleaseBuffer(meta_buffer);
}
