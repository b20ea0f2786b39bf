/*
 * search.h
 *    Reading the graph: blocks in a known order, nodes by their ids, the search of a level, the descent to it.
 */
#ifndef PHNSW_SEARCH_H
#define PHNSW_SEARCH_H

#include "compat.h"

#include "storage/bufmgr.h"

#include "index_cache.h"

/* ---- pass.c: blocks whose order is known before they are used -------------------------------- */

/* The next block, or InvalidBlockNumber; called ahead of the blocks' use, reads nothing. */
typedef BlockNumber (*PhnswNextBlock) (void *state);
typedef struct PhnswPass PhnswPass;

/* In the current memory context; `state` must live as long. */
extern PhnswPass *phnsw_pass_begin(Relation relation, BufferAccessStrategy strategy, PhnswNextBlock next_block,
								   void *state);
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

/* ---- touch.c: from node ids to scores over shared buffers ------------------------------------ */

/* Pins a block through the block-to-buffer map. */
extern Buffer phnsw_pin(Relation index, PhnswIndex *pi, BlockNumber block);

/*
 * Scores nodes: scores[i] (+inf for FREE slots), versions[i] and, unless NULL, states[i].  ids below the limit.
 * No content lock is taken (README.md).
 */
extern void phnsw_touch(Relation index, PhnswIndex *pi, const phnsw_query *query, const uint32 *ids, uint32 n,
						float *scores, uint32 *versions, uint8 *states);

/*
 * The same for nodes that may score less than limit (phnsw_query_score_within; REQUIRES: phnsw_query_part() != 0):
 * returns how many, which come to the front of ids, with their scores and versions; behind them those that are farther.
 */
extern uint32 phnsw_touch_within(Relation index, PhnswIndex *pi, const phnsw_query *query, float limit, uint32 *ids,
								 uint32 n, float *scores, uint32 *versions);

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

/* ---- cold.c: what is asked of the disk before it is waited for ------------------------------- */

/*
 * Asks for those of the blocks that are not in shared buffers, so that the disk reads them side by side; true: there
 * are such.  Blocks that only the map does not know come into the map.
 */
extern bool phnsw_ask_for_blocks(Relation index, PhnswIndex *pi, BlockNumber *blocks, uint32 n);
/* The same for the blocks of n <= PHNSW_LINKS_MAX nodes; ids at or above the limit are passed over. */
extern void phnsw_ask_for_nodes(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n);

/* ---- search.c: the search of one level ------------------------------------------------------- */

/*
 * Copies the links of a node on a level into links[PHNSW_LINKS_MAX]; returns how many.  Links at or above the limit
 * known to the backend are left out after one refresh.  0 for a node that is FREE or does not reach that level.
 */
extern uint32 phnsw_links(Relation index, PhnswIndex *pi, uint32 id, uint32 level, uint32 *links);

/* Greedy or ef-bounded search of one level with the machine: pops, reads links, touches, offers until settled. */
extern void phnsw_search_level(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query,
							   uint32 level);
/* The same until a node scores `enough` at most: true.  May be continued.  false: settled. */
extern bool phnsw_search_until(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query,
							   uint32 level, float enough);
/* Scores what the search has passed over; to be called after candidates were taken from it. */
extern void phnsw_search_score_rest(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query);
/*
 * Entry point, then down to level + 1: *entry is the start for `level` (score and version too).  0: the index is empty.
 */
extern uint32 phnsw_descend(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query,
							uint32 level, phnsw_candidate *entry);

/*
 * The search of one upper level on a descent, around the caller's loop of hops:
 * entries[PHNSW_DESCENT_EF] are where it begins and then what it found, nearest first.  query NULL:
 * scores are squared distances.  The end returns their number.
 */
extern void phnsw_descent_begin(phnsw_search *search, const phnsw_query *query, uint32 id_limit,
								const phnsw_candidate *entries, uint32 n);
extern uint32 phnsw_descent_end(const phnsw_search *search, phnsw_candidate *entries);

/* ---- upper.c: the upper levels, copied into the backend -------------------------------------- */

typedef struct PhnswUpper PhnswUpper;

/*
 * Descends in the backend's copy of the upper levels as far as it goes: *entry is a verified node, and the levels above
 * the returned one are done.  PHNSW_NONE: there is no copy, begin at the entry point.
 */
extern uint32 phnsw_upper_descend(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query,
								  uint32 level, phnsw_candidate *entry);
/*
 * A descent through pages has ended; blocks_read: how many of them were not in shared buffers.  Goes on with the copy.
 */
extern void phnsw_upper_descended(Relation index, PhnswIndex *pi, int64 blocks_read);

#endif							/* PHNSW_SEARCH_H */
