/*
 * pages.h
 *    Pages, free slots and aux records on them, and changes that are logged.
 *
 * The bytes are described in core/capi/phnsw_format.h, lock order in ../README.md, WAL in README.md.
 */
#ifndef PHNSW_PAGES_H
#define PHNSW_PAGES_H

#include "compat.h"

#include "access/generic_xlog.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"

#include "index_cache.h"

/* ---- page.c: pages --------------------------------------------------------------------------- */

/* Initialises an 8 kB image: header, special space, pd_lower behind `content` bytes. */
extern void phnsw_page_init(Page page, phnsw_page_kind kind, uint16 count, Size content);
/* Writes the page header of an image whose content and special space the core has filled. */
extern void phnsw_page_finish(Page page, const phnsw_meta *meta);
/* Bytes of content on a page of that kind with `count` entries (phnsw_opaque.count). */
extern Size phnsw_page_content_bytes(const phnsw_meta *meta, phnsw_page_kind kind, uint16 count);

/* Raises ERRCODE_INDEX_CORRUPTED unless the pinned (and locked, if it may change) page is of that kind. */
extern void phnsw_page_check(Relation index, BlockNumber block, Page page, phnsw_page_kind kind);
pg_noreturn extern void phnsw_corrupt(Relation index, BlockNumber block, uint32 offset, const char *what);

static inline phnsw_meta *
phnsw_page_meta(Page page)
{
	return (phnsw_meta *) ((char *) page + PHNSW_PAGE_HEADER);
}

static inline phnsw_opaque *
phnsw_page_opaque(Page page)
{
	return (phnsw_opaque *) ((char *) page + BLCKSZ - PHNSW_PAGE_SPECIAL);
}

static inline phnsw_slot *
phnsw_page_slot(const PhnswIndex *pi, Page page, uint32 index)
{
	return (phnsw_slot *) ((char *) page + PHNSW_PAGE_HEADER + (Size) index * pi->slot_bytes);
}

/* Bytes of a slot without its links. */
static inline Size
phnsw_head_bytes(const PhnswIndex *pi)
{
	return offsetof(phnsw_slot, code) + pi->code_bytes;
}

static inline phnsw_aux *
phnsw_page_aux(const PhnswIndex *pi, Page page, uint32 index)
{
	return (phnsw_aux *) ((char *) page + PHNSW_PAGE_HEADER + (Size) index * pi->aux_bytes);
}

static inline uint32 *
phnsw_aux_links(phnsw_aux *aux)
{
	return (uint32 *) aux->payload;
}

static inline bool
phnsw_contains(const uint32 *links, uint32 n, uint32 id)
{
	for (uint32 i = 0; i < n; i++)
	{
		if (links[i] == id)
			return true;
	}
	return false;
}

static inline phnsw_tid *
phnsw_aux_tids(phnsw_aux *aux)
{
	return (phnsw_tid *) aux->payload;
}

/* Block and index of a node or aux id; raises ERRCODE_INDEX_CORRUPTED when the id is at or above the limit. */
extern BlockNumber phnsw_new_node_block(Relation index, PhnswIndex *pi, uint32 id, uint32 *slot_index);
extern BlockNumber phnsw_aux_block(Relation index, PhnswIndex *pi, uint32 id, uint32 *aux_index);

/*
 * As phnsw_locate(), but a search asks this a thousand times: the finder
 * leads to the extent, or to one shortly before it.
 */
static inline BlockNumber
phnsw_node_block(Relation index, PhnswIndex *pi, uint32 id, uint32 *slot_index)
{
	const phnsw_extent *extent;
	const phnsw_extent *last;
	uint32		page;

	if (unlikely(id >= pi->meta.nodes.limit))
		return phnsw_new_node_block(index, pi, id, slot_index);
	extent = &pi->meta.nodes.extent[pi->finder[id >> pi->finder_shift]];
	last = &pi->meta.nodes.extent[pi->meta.nodes.extents - 1];
	while (extent < last && extent[1].first_id <= id)
		extent++;
	page = (id - extent->first_id) / pi->slots_per_page;
	*slot_index = (id - extent->first_id) - page * pi->slots_per_page;
	return extent->first_block + page;
}
/* The first id of a node page or aux page; PHNSW_NONE when the block is none. */
extern uint32 phnsw_first_id(const phnsw_space *space, uint32 per_page, BlockNumber block);

/* ---- grow.c: more pages ---------------------------------------------------------------------- */

/* The meta page, pinned and locked exclusively. */
extern Buffer phnsw_lock_meta(Relation index);
/*
 * Puts the next page of a kind into use.  REQUIRES: the meta page is locked exclusively.  Returns
 * the new page, pinned and locked exclusively, and its first id.
 */
extern Buffer phnsw_add_page(Relation index, PhnswIndex *pi, Buffer meta_buffer, phnsw_page_kind kind, uint32 *first);

/* ---- alloc_slot.c: free slots ---------------------------------------------------------------- */

/*
 * A page with a FREE slot, pinned and locked exclusively; *id is the first free slot's.  Tries the backend's open page,
 * the free space map, then a new page.  The caller fills the slot in a WAL record of its own.
 */
extern Buffer phnsw_alloc_slot(Relation index, PhnswIndex *pi, uint32 *id);

/*
 * A free slot that a bulk insert means to fill.  Others may still be faster:
 * it is looked at again under its page's lock.
 */
typedef struct PhnswClaim
{
	uint32		id;
	uint32		version;
} PhnswClaim;

/*
 * Claims n free slots, ascending by id, and takes their pages out of the free space map.  Returns the one page that has
 * more free slots, to be put back when the claims are filled (phnsw_page_has_room), or InvalidBlockNumber.
 */
extern BlockNumber phnsw_claim_slots(Relation index, PhnswIndex *pi, uint32 n, PhnswClaim *claims);
/* Vacuum: tells the free space map whether a page has room.  Inserts need not: alloc_slot.c keeps the map true. */
extern void phnsw_page_has_room(Relation index, PhnswIndex *pi, BlockNumber block, bool room);

/* ---- alloc_aux.c: free aux records ----------------------------------------------------------- */

/* n aux records off the free list (or from new pages), marked as `kind` with node PHNSW_NONE, WAL-logged. */
extern void phnsw_alloc_aux(Relation index, PhnswIndex *pi, phnsw_aux_kind kind, uint32 n, uint32 *ids);
/* Puts aux records of one block back on the free list; marks them FREE.  No locks held by the caller. */
extern void phnsw_free_aux(Relation index, PhnswIndex *pi, BlockNumber block, const uint32 *ids, uint32 n);

/* ---- wal.c: changes of pages, logged --------------------------------------------------------- */

/* Pages of one record, as many as PostgreSQL replays at once. */
#define PHNSW_WAL_PAGES MAX_GENERIC_XLOG_PAGES

typedef enum PhnswWalMode
{
	PHNSW_WAL_PARTS,			/* changed in the parts that phnsw_wal_part() names; logged as what differs */
	PHNSW_WAL_WHOLE,			/* changed anywhere; logged as what differs */
	PHNSW_WAL_FRESH				/* a new page; logged as a full image */
} PhnswWalMode;

typedef struct PhnswWal PhnswWal;

/* A record begins; one at a time.  If it is not finished nothing has happened. */
extern PhnswWal *phnsw_wal_start(Relation index);
/*
 * The image of a page, for the caller to change: a private copy, of which PHNSW_WAL_PARTS leaves
 * everything undefined that phnsw_wal_part() has not been asked for.  The same buffer again: the same
 * image.  REQUIRES: pinned, locked exclusively until phnsw_wal_finish().  An unchanged page of a
 * record that changes others is part of it, and replay locks it.
 */
extern Page phnsw_wal_register(PhnswWal *wal, Buffer buffer, PhnswWalMode mode);
/* Copies what stands at `at` in an image from the page, to be read and changed; returns `at`.  Once more: no effect. */
extern void *phnsw_wal_part(PhnswWal *wal, void *at, Size bytes);
/* Changes the pages and logs that.  A record without any change is none. */
extern void phnsw_wal_finish(PhnswWal *wal);

/* On the image of a registered page: a slot, a slot without code and links, an aux record. */
static inline phnsw_slot *
phnsw_wal_slot(PhnswWal *wal, const PhnswIndex *pi, Page image, uint32 place)
{
	return phnsw_wal_part(wal, phnsw_page_slot(pi, image, place), pi->slot_bytes);
}

static inline phnsw_slot *
phnsw_wal_slot_head(PhnswWal *wal, const PhnswIndex *pi, Page image, uint32 place)
{
	return phnsw_wal_part(wal, phnsw_page_slot(pi, image, place), offsetof(phnsw_slot, code));
}

static inline phnsw_aux *
phnsw_wal_aux(PhnswWal *wal, const PhnswIndex *pi, Page image, uint32 place)
{
	return phnsw_wal_part(wal, phnsw_page_aux(pi, image, place), pi->aux_bytes);
}

#endif							/* PHNSW_PAGES_H */
