/*
 * grow.c
 *    The growth of the index, page by page.
 *
 * Node ids and aux ids are dense; pages are put into use in the order of their ids, and `limit` moves in the WAL record
 * that initialises a page.  Blocks are reserved for each kind in extents that grow with the index, so the list stays
 * short; a reservation is only arithmetic, the file itself grows when a page is initialised.
 *
 * Locks: the meta page, then the new one.  The relation extension lock is taken under
 * the meta page's lock and nothing is locked under it.
 */
#include "phnsw.h"

#include "storage/lmgr.h"

/*
 * An extent grows an id space by a 32nd, between 1 page and 8 MB.  The list of extents has an end, so the
 * more of it is used, the larger they get: up to a quarter, and 1 GB.
 */
#define PHNSW_EXTENT_SHARE     32
#define PHNSW_EXTENT_PAGES_MAX 1024

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

/*
 * Makes the file reach `block` and returns it pinned and locked exclusively; its content is whatever it was, or zeros.
 */
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

Buffer
phnsw_add_page(Relation index, PhnswIndex *pi, Buffer meta_buffer, phnsw_page_kind kind, uint32 *first)
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

Buffer
phnsw_lock_meta(Relation index)
{
	Buffer		buffer = ReadBuffer(index, 0);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(index, 0, BufferGetPage(buffer), PHNSW_PAGE_META);
	return buffer;
}
