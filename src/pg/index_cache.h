/*
 * index_cache.h
 *    What a backend knows of an index.
 */
#ifndef PHNSW_INDEX_CACHE_H
#define PHNSW_INDEX_CACHE_H

#include "compat.h"

#include "utils/rel.h"

#include "capi/phnsw_core.h"
#include "element.h"
#include "search/buffer_map.h"

/* ---- index_cache.c: what a backend knows of an index ----------------------------------------- */

#define PHNSW_CACHE_LINE 64

/* Entries of the short cut from a node's id to its extent. */
#define PHNSW_FINDER 1024

/* Blocks that have been asked of the disk (cold.c) are remembered, each at its number's remainder: a hint. */
#define PHNSW_ASKED_BLOCKS 512
#define PHNSW_ASKED_ROWS   64

/* Has the block been asked for?  It has now. */
static inline bool
phnsw_asked(BlockNumber *asked, uint32 size, BlockNumber block)
{
	BlockNumber *place = &asked[block % size];
	bool		found = *place == block;

	*place = block;
	return found;
}

static inline void
phnsw_asked_forget(BlockNumber *asked, uint32 size, BlockNumber block)
{
	if (asked[block % size] == block)
		asked[block % size] = InvalidBlockNumber;
}

typedef struct PhnswIndex
{
	/* immutable once made */
	uint64		serial;			/* of this description, never reused */
	Oid			relid;
	PhnswFile	file;
	MemoryContext context;		/* owns this struct, codec and map */
	phnsw_codec *codec;
	PhnswElement element;		/* of the indexed type */
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
	uint8		cold_rows;		/* rows to come until none of so many came from disk; 0: they are in memory */
	BlockNumber asked[PHNSW_ASKED_BLOCKS];	/* and not read since */
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
 * The description of an open index, its meta copy fresh as of now.  Raises ERRCODE_INDEX_CORRUPTED or, for another
 * format version, ERRCODE_FEATURE_NOT_SUPPORTED with a hint to REINDEX.  Valid until the end of the transaction.
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

#endif							/* PHNSW_INDEX_CACHE_H */
