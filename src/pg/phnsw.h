/*
 * phnsw.h
 *    Private header of the access method: the table of contents of src/pg.
 *
 * Prototypes are grouped by the file that defines them.  The bytes of an index are described in
 * core/capi/phnsw_format.h, the core's entries in core/capi/phnsw_core.h, lock order and WAL in README.md.
 */
#ifndef PHNSW_H
#define PHNSW_H

#include "compat.h"

#include "access/amapi.h"
#include "access/generic_xlog.h"
#include "access/genam.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "portability/instr_time.h"
#include "storage/block.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"

#include "buffer_map.h"
#include "capi/phnsw_core.h"

/* ---- module.c: settings ------------------------------------------------------------------------------------------ */

typedef enum PhnswOrder
{
	PHNSW_ORDER_STRICT,			/* rows found late come at the very end, behind all others */
	PHNSW_ORDER_RELAXED			/* rows found late are returned when they are found */
} PhnswOrder;

extern int	phnsw_ef_search;		/* 0: chosen by phnsw_target_recall and the index's calibration */
extern double phnsw_target_recall;	/* 0.5 ... 0.999 */
extern int	phnsw_max_scan_tuples;	/* 0: no limit */
extern int	phnsw_iterative_scan;	/* PhnswOrder */
extern bool phnsw_check_bounds;		/* developer: verify every bound against the heap */
extern bool phnsw_log_build;		/* LOG a line per build */
extern int	phnsw_merge_threshold;	/* developer: rows from which a batch is merged; -1: by cost */

/* ---- bridge.c: core status to ereport, memory contexts that own core handles --------------------------------------- */

/* Raises the error that the core described, unless status is PHNSW_OK (or one of the caller's own outcomes). */
extern void phnsw_ensure(phnsw_status status, const phnsw_error *error);

/*
 * Makes `context` own a core handle: its reset or deletion calls destroy(*slot).  Allocates the slot (set to NULL) in the
 * context; register first, create second.
 */
typedef void (*phnsw_destroyer) (void *handle);
extern void **phnsw_own(MemoryContext context, phnsw_destroyer destroy);

/* ---- options.c ----------------------------------------------------------------------------------------------------- */

typedef struct PhnswOptions
{
	int32		vl_len_;
	int			m;
	int			ef_construction;
} PhnswOptions;

extern int	phnsw_option_m(Relation index);
extern int	phnsw_option_ef_construction(Relation index);
extern bytea *phnsw_options(Datum reloptions, bool validate);
extern void phnsw_options_register(void);	/* from _PG_init */

/* ---- index_cache.c: what a backend knows of an index ---------------------------------------------------------------- */

#define PHNSW_CACHE_LINE 64

/* Entries of the short cut from a node's id to its extent. */
#define PHNSW_FINDER 1024

typedef struct PhnswIndex
{
	/* immutable once made */
	uint64		serial;			/* of this description, never reused */
	Oid			relid;
	PhnswFile	file;
	MemoryContext context;		/* owns this struct, codec and map */
	phnsw_codec *codec;
	uint32		code_bytes;		/* of a slot's code */
	uint32		slot_bytes;
	uint32		slots_per_page;
	uint32		aux_bytes;
	uint32		aux_per_page;
	uint32		m;

	/* refreshed by phnsw_index_open() when the meta page has changed */
	phnsw_meta	meta;
	uint8		finder[PHNSW_FINDER];	/* the extent of node id i << finder_shift */
	uint32		finder_shift;

	/* hints: any value is safe */
	Buffer	   *map;			/* block -> buffer that last held it */
	BlockNumber map_size;
	BlockNumber open_page;		/* node page that this backend last inserted into */
	bool		cold;			/* the last hop had blocks that the map could not serve */
	bool		cold_rows;		/* the last row of a scan came from disk */
	PhnswBufferMap rows;		/* the table's blocks (ahead.c) */

	LocalTransactionId inserting;	/* transaction that inserted last, one row at a time ... */
	uint32		inserted;		/* ... and how many */
	bool		merged;			/* the rows that waited last were merged */

	struct PhnswUpper *upper;	/* upper.c */
	uint32		descents;		/* through pages in memory, since there is no copy of the upper levels */

	bool		stale;			/* the relation was invalidated: verify before use */
	phnsw_search *idle_search;	/* machines of ended scans and inserts, for the next */
	phnsw_query *idle_query;
	struct PhnswIndex *next;
} PhnswIndex;

/*
 * The description of an open index, its meta copy fresh as of now.  Raises ERRCODE_INDEX_CORRUPTED or, for another format
 * version, ERRCODE_FEATURE_NOT_SUPPORTED with a hint to REINDEX.  Valid until the end of the transaction.
 */
extern PhnswIndex *phnsw_index_open(Relation index);

/* Reads the meta page again (a share lock on block 0). */
extern void phnsw_index_refresh(Relation index, PhnswIndex *pi);

/* Forgets a relation's description, e.g. when its file has been rewritten by this backend. */
extern void phnsw_index_forget(Oid relid);

/* The operator class's metric: its support function 1 takes no argument and returns a phnsw_metric. */
extern phnsw_metric phnsw_index_metric(Relation index);

/* Takes the idle machine or query of the index, or makes one; `context` owns it from now on (reset callback). */
extern phnsw_search *phnsw_search_borrow(PhnswIndex *pi, MemoryContext context);
extern phnsw_query *phnsw_query_borrow(PhnswIndex *pi, MemoryContext context);

/* ---- page.c: pages ----------------------------------------------------------------------------------------------------- */

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

static inline phnsw_tid *
phnsw_aux_tids(phnsw_aux *aux)
{
	return (phnsw_tid *) aux->payload;
}

/* Block and index of a node or aux id; raises ERRCODE_INDEX_CORRUPTED when the id is at or above the limit. */
extern BlockNumber phnsw_new_node_block(Relation index, PhnswIndex *pi, uint32 id, uint32 *slot_index);
extern BlockNumber phnsw_aux_block(Relation index, PhnswIndex *pi, uint32 id, uint32 *aux_index);

/* As phnsw_locate(), but a search asks this a thousand times: the finder leads to the extent, or to one shortly before it. */
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

/* ---- alloc.c: free slots and aux records ------------------------------------------------------------------------------- */

/*
 * A page with a FREE slot, pinned and locked exclusively; *id is the first free slot's.  Tries the backend's open page, the
 * free space map, then a new page.  The caller fills the slot in a WAL record of its own.
 */
extern Buffer phnsw_alloc_slot(Relation index, PhnswIndex *pi, uint32 *id);

/* A free slot that a bulk insert means to fill.  Others may still be faster: it is looked at again under its page's lock. */
typedef struct PhnswClaim
{
	uint32		id;
	uint32		version;
} PhnswClaim;

/*
 * Claims n free slots, ascending by id, and takes their pages out of the free space map.  Returns the one page that has more
 * free slots, to be put back when the claims are filled (phnsw_page_has_room), or InvalidBlockNumber.
 */
extern BlockNumber phnsw_claim_slots(Relation index, PhnswIndex *pi, uint32 n, PhnswClaim *claims);
/* The slot's page, pinned and locked exclusively, and its place there; InvalidBuffer: it is not free any more. */
extern Buffer phnsw_lock_claim(Relation index, PhnswIndex *pi, const PhnswClaim *claim, uint32 *place);
/* Vacuum: tells the free space map whether a page has room.  Inserts need not: alloc.c keeps the map true. */
extern void phnsw_page_has_room(Relation index, PhnswIndex *pi, BlockNumber block, bool room);

/* n aux records off the free list (or from new pages), marked as `kind` with node PHNSW_NONE, WAL-logged. */
extern void phnsw_alloc_aux(Relation index, PhnswIndex *pi, phnsw_aux_kind kind, uint32 n, uint32 *ids);
/* Puts aux records of one block back on the free list; marks them FREE.  No locks held by the caller. */
extern void phnsw_free_aux(Relation index, PhnswIndex *pi, BlockNumber block, const uint32 *ids, uint32 n);

/* ---- wal.c: changes of pages, logged ------------------------------------------------------------------------------------ */

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
 * The image of a page, for the caller to change: a private copy, of which PHNSW_WAL_PARTS leaves everything undefined that
 * phnsw_wal_part() has not been asked for.  The same buffer again: the same image.  REQUIRES: pinned, locked exclusively
 * until phnsw_wal_finish().  An unchanged page of a record that changes others is part of it, and replay locks it.
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

/* ---- testpoint.c: where a test stops a backend, or lets it die ------------------------------------------------------------ */

typedef enum PhnswTestPoint
{
	PHNSW_POINT_NONE,
	PHNSW_POINT_RECORD,			/* behind a WAL record, whose pages are still locked */
	PHNSW_POINT_INSERT_PLANNED, /* the new node's links are chosen, nothing is written */
	PHNSW_POINT_INSERT_WRITTEN, /* the node is there, nothing leads to it */
	PHNSW_POINT_MERGE_COMPUTED, /* a merge knows all links, nothing is written */
	PHNSW_POINT_MERGE_WRITTEN,	/* its nodes are there, hardly anything leads to them */
	PHNSW_POINT_VACUUM_REPAIR,	/* dead nodes are marked, lists name them */
	PHNSW_POINT_VACUUM_AUX,		/* lists of level 0 are repaired */
	PHNSW_POINT_VACUUM_ATTACH,	/* all lists are repaired, and the entry point */
	PHNSW_POINT_VACUUM_FREE,	/* before slots become free */
	PHNSW_POINT_KILL			/* a scan has met a row that is gone, whose TID it is about to take out */
} PhnswTestPoint;

extern PhnswTestPoint phnsw_test_point_armed;
extern void phnsw_test_point_reached(void);
extern void phnsw_test_point_init(void);	/* from _PG_init */

static inline void
phnsw_test_point(PhnswTestPoint point)
{
	if (unlikely(phnsw_test_point_armed == point))
		phnsw_test_point_reached();
}

/* ---- pass.c: blocks whose order is known before they are used ---------------------------------------------------------- */

/* The next block, or InvalidBlockNumber; called ahead of the blocks' use, reads nothing. */
typedef BlockNumber (*PhnswNextBlock) (void *state);
typedef struct PhnswPass PhnswPass;

/* In the current memory context; `state` must live as long. */
extern PhnswPass *phnsw_pass_begin(Relation relation, BufferAccessStrategy strategy, PhnswNextBlock next_block, void *state);
/* The next block's buffer, pinned; InvalidBuffer behind the last. */
extern Buffer phnsw_pass_next(PhnswPass *pass);
extern void phnsw_pass_end(PhnswPass *pass);

/* Blocks from `next` on, below `end`. */
typedef struct PhnswPassRange
{
	BlockNumber next;
	BlockNumber end;
} PhnswPassRange;

extern BlockNumber phnsw_pass_range(void *range);

/* Pages of nodes or aux records, from the one that starts with id `next` on, below `limit`. */
typedef struct PhnswPassPages
{
	const phnsw_space *space;
	uint32		per_page;
	uint32		next;
	uint32		limit;
} PhnswPassPages;

extern BlockNumber phnsw_pass_pages(void *pages);

/* Asks for the cache lines of bytes >= 1 bytes. */
static inline void
phnsw_prefetch(const void *start, Size bytes)
{
	for (const char *at = start; at < (const char *) start + bytes; at += PHNSW_CACHE_LINE)
	{
		__builtin_prefetch(at);
		/* gcc 12 drops prefetches from loops that it takes for without effect. */
		__asm__ volatile("" ::: "memory");
	}
}

/* ---- touch.c: from node ids to scores over shared buffers ------------------------------------------------------------- */

/* Pins a block through the block-to-buffer map. */
extern Buffer phnsw_pin(Relation index, PhnswIndex *pi, BlockNumber block);

/*
 * Scores nodes: scores[i] (+inf for FREE slots), versions[i] and, unless NULL, states[i].  ids below the limit.
 * No content lock is taken (README.md, Reading).
 */
extern void phnsw_touch(Relation index, PhnswIndex *pi, const phnsw_query *query, const uint32 *ids, uint32 n,
						float *scores, uint32 *versions, uint8 *states);

/* Nodes that are read where they stand in shared buffers, without a pin or a lock. */
typedef struct PhnswLook
{
	uint32		n;
	BlockNumber blocks[PHNSW_LINKS_MAX];
	uint16		places[PHNSW_LINKS_MAX];	/* on their pages */
	Buffer		buffers[PHNSW_LINKS_MAX];	/* where the map leads; InvalidBuffer: nowhere, or to a local buffer */
} PhnswLook;

/* Where n <= PHNSW_LINKS_MAX nodes stand; false: some are not in shared buffers, or the map does not know. */
extern bool phnsw_look_begin(Relation index, PhnswIndex *pi, PhnswLook *look, const uint32 *ids, uint32 n,
							 const phnsw_slot **slots);
/* false: what was read there may be anything, and is to be forgotten; else a hint. */
extern bool phnsw_look_end(Relation index, const PhnswLook *look);

/* Copies whole slots (slot_bytes each, links included) of nodes into `slots`, one behind the other. */
extern void phnsw_touch_copy(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n, char *slots);
/* The same without links and without a lock, one every `stride` bytes: the copies are hints. */
extern void phnsw_touch_heads(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n, char *slots, Size stride);

/* ---- search.c: the search of one level ------------------------------------------------------------------------------------ */

/*
 * Copies the links of a node on a level into links[PHNSW_LINKS_MAX]; returns how many.  Links at or above the limit known to
 * the backend are left out after one refresh.  0 for a node that is FREE or does not reach that level.
 */
extern uint32 phnsw_links(Relation index, PhnswIndex *pi, uint32 id, uint32 level, uint32 *links);

/* Greedy or ef-bounded search of one level with the machine: pops, reads links, touches, offers until settled. */
extern void phnsw_search_level(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query,
							   uint32 level);
/* The same until a node scores `enough` at most: true.  May be continued.  false: settled. */
extern bool phnsw_search_until(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query,
							   uint32 level, float enough);
/* Entry point, then down to level + 1: *entry is the start for `level` (score and version too).  0: the index is empty. */
extern uint32 phnsw_descend(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query,
							uint32 level, phnsw_candidate *entry);

/*
 * The search of one upper level on a descent, around the caller's loop of hops: entries[PHNSW_DESCENT_EF] are where it begins and
 * then what it found, nearest first.  query NULL: scores are squared distances.  The end returns their number.
 */
extern void phnsw_descent_begin(phnsw_search *search, const phnsw_query *query, uint32 id_limit,
								const phnsw_candidate *entries, uint32 n);
extern uint32 phnsw_descent_end(const phnsw_search *search, phnsw_candidate *entries);

/* ---- upper.c: the upper levels, copied into the backend ---------------------------------------------------------------- */

typedef struct PhnswUpper PhnswUpper;

/*
 * Descends in the backend's copy of the upper levels as far as it goes: *entry is a verified node, and the levels above the
 * returned one are done.  PHNSW_NONE: there is no copy, begin at the entry point.
 */
extern uint32 phnsw_upper_descend(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query,
								  uint32 level, phnsw_candidate *entry);
/* A descent through pages has ended; blocks_read: how many of them were not in shared buffers. */
extern void phnsw_upper_descended(PhnswIndex *pi, int64 blocks_read);

/* ---- stats.c: what scans, inserts and vacuums have done ---------------------------------------------------------------- */

/* Only uint64 fields: sums and differences are taken over the struct as an array. */
typedef struct PhnswCounters
{
	uint64		scans;
	uint64		hops;			/* nodes expanded */
	uint64		touches;		/* nodes scored */
	uint64		pins;			/* pages pinned for them */
	uint64		misses;			/* pins that the block-to-buffer map could not serve */
	uint64		emitted;		/* rows handed to the executor, each of which it rechecks */
	uint64		late;			/* candidates found too late for strict order */
	uint64		sweeps;			/* linear passes */
	uint64		killed;			/* rows that were gone, taken out of the index */
} PhnswCounters;

/* What this backend has done so far, whatever for; phnsw_stats_charge() says for whom. */
extern PhnswCounters phnsw_counters;

/* The statistics of an index.  Only uint64 fields. */
typedef struct PhnswIndexStats
{
	PhnswCounters scan;
	uint64		inserts;		/* rows that went into the graph one by one */
	uint64		inserts_bulk;	/* rows that were built into an empty index, or merged into a filled one, together */
	uint64		bulk_flushes;	/* such builds and merges */
	uint64		vacuums;		/* passes that looked for dead rows */
	uint64		rows_removed;	/* by vacuum */
	uint64		nodes_freed;
	uint64		lists_repaired;
} PhnswIndexStats;

/* Seconds since *mark, which moves on to now. */
static inline double
phnsw_lap(instr_time *mark)
{
	instr_time	now;
	instr_time	passed;

	INSTR_TIME_SET_CURRENT(now);
	passed = now;
	INSTR_TIME_SUBTRACT(passed, *mark);
	*mark = now;
	return INSTR_TIME_GET_DOUBLE(passed);
}

/*
 * One scan, from its first row to its end, and again after every rescan.  Lives in the scan; its memory context ends it when
 * nobody else does, so that a scan that was cancelled counts too.
 */
typedef struct PhnswAccount
{
	MemoryContextCallback callback;
	Oid			relid;
	uint32		ef;
	bool		open;
	bool		answered;		/* a row was returned, or there was none */
	PhnswCounters work;
	PhnswCounters sum;			/* of all scans that ended, since phnsw_stats_attach() */
	instr_time	begun;
	instr_time	first_row;
} PhnswAccount;

extern PhnswAccount *phnsw_charged;
extern void phnsw_stats_switch(PhnswAccount *account);

/* What is counted from now on belongs to `account`; NULL: to nobody. */
static inline void
phnsw_stats_charge(PhnswAccount *account)
{
	if (unlikely(phnsw_charged != account))
		phnsw_stats_switch(account);
}

/* Once for a scan; `context` owns *account. */
extern void phnsw_stats_attach(PhnswAccount *account, MemoryContext context);
/* The scan is about to read the index for a new query: ends the account's previous one, and charges it. */
extern void phnsw_stats_begin(PhnswAccount *account, Oid index, uint32 ef);
extern void phnsw_stats_first_row(PhnswAccount *account);
extern void phnsw_stats_end(PhnswAccount *account);

/* This backend's statistics of an index, to be added to.  Valid until the next call. */
extern PhnswIndexStats *phnsw_stats_of(Oid index);

extern void phnsw_stats_init(void); /* from _PG_init */

/* ---- row_place.c: the ctid of rows out of the executor's queue -------------------------------------------------------- */

extern void phnsw_row_place_init(void); /* from _PG_init */

/* ---- explain.c: EXPLAIN (ANALYZE, PHNSW) ------------------------------------------------------------------------------- */

extern void phnsw_explain_init(void);	/* from _PG_init */

/* ---- batch.c: rows that are collected until they are worth a bulk build or a merge --------------------------------------- */

/*
 * true: the row is in the index, or will be before anybody can see it; false: insert it now.  validation: the row
 * comes from the second pass of a concurrent build, and need not be of this transaction.
 */
extern bool phnsw_batch_add(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid, Relation heap,
							bool validation);
/* One row now, under the lock that makes an empty index a filled one. */
extern void phnsw_insert_now(Relation index, const float *vector, ItemPointer heap_tid);
/* The index is built anew in the same file: the build sees the rows in the table. */
extern void phnsw_batch_forget(Relation index);
/* Before this backend reads the index. */
extern void phnsw_batch_flush(Relation index);
extern void phnsw_batch_init(void);	/* from _PG_init: callbacks and hooks */

/* ---- callbacks of the access method, each in the file of its name -------------------------------------------------------- */

/* build.c */
extern IndexBuildResult *phnsw_ambuild(Relation heap, Relation index, IndexInfo *info);
extern void phnsw_ambuildempty(Relation index);
/* insert.c */
extern bool phnsw_aminsert(Relation index, Datum *values, bool *isnull, ItemPointer heap_tid, Relation heap,
						   IndexUniqueCheck check_unique, bool index_unchanged, IndexInfo *info);
/* One row, already detoasted.  REQUIRES: if the index is empty, what phnsw_insert_now() does. */
extern void phnsw_insert_vector(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid);
/* scan.c */
extern IndexScanDesc phnsw_ambeginscan(Relation index, int nkeys, int norderbys);
extern void phnsw_amrescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys);
extern bool phnsw_amgettuple(IndexScanDesc scan, ScanDirection direction);
extern void phnsw_amendscan(IndexScanDesc scan);
/* vacuum.c */
extern IndexBulkDeleteResult *phnsw_ambulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
												 IndexBulkDeleteCallback callback, void *callback_state);
extern IndexBulkDeleteResult *phnsw_amvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats);
/* cost.c */
extern void phnsw_amcostestimate(PlannerInfo *root, IndexPath *path, double loop_count, Cost *startup_cost,
								 Cost *total_cost, Selectivity *selectivity, double *correlation, double *pages);
/* validate.c */
extern bool phnsw_amvalidate(Oid opclass);

/* The least that is chosen: with less, a query for ten rows uses up its window and goes on searching, which takes longer. */
#define PHNSW_EF_TEN_ROWS 20

/* ef for a scan of this index: phnsw.ef_search, or from the calibration by phnsw.target_recall. */
extern uint32 phnsw_choose_ef(const phnsw_meta *meta);
/* What recall would take by the calibration, whatever phnsw.ef_search is. */
extern uint32 phnsw_target_ef(const phnsw_meta *meta);

#endif							/* PHNSW_H */
