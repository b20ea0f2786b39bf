/*
 * check.h
 *    What the files of phnsw_check and phnsw_index_info share.
 */
#ifndef PHNSW_CHECK_H
#define PHNSW_CHECK_H

#include "phnsw.h"

#include "access/xlogdefs.h"

/* A heap row that the index names. */
typedef struct PhnswEntry
{
	phnsw_tid	tid;
	bool		met;			/* a scan of the table has come to it */
	uint32		node;
} PhnswEntry;

typedef struct PhnswCheck
{
	/* immutable */
	Relation	heap;
	Relation	index;
	PhnswIndex *pi;
	BufferAccessStrategy strategy;
	bool		locked;			/* nobody writes; otherwise this is a standby, and replay does */
	XLogRecPtr	replayed;		/* on a standby: up to here when the check began */
	uint32		limit;			/* node ids and aux ids at the start */
	uint32		aux_limit;

	/* the page at hand, and one aux record */
	char	   *page;
	phnsw_aux  *aux;

	/* nodes */
	uint64	   *live;			/* bits by node id */
	uint64		live_nodes;
	uint64		dead_nodes;
	bool		pristine;		/* no slot has ever been freed */

	/* aux records */
	uint64	   *aux_used;		/* bits by aux id: on some node's chain, or on the free list */
	uint64		aux_free;
	uint32		free_list;		/* its head */

	PhnswEntry *entries;
	uint64		entries_n;
	uint64		entries_room;
} PhnswCheck;

/* check.c */

/*
 * Opens a phnsw index for reading pages; raises an error for anything else.  Its table is locked in `mode`;
 * *heap may be left open by the caller until the end of the transaction.
 */
extern Relation phnsw_open_to_read(Oid relid, LOCKMODE mode, Relation *heap);

/*
 * A fault that several pages show together.  Where replay goes on meanwhile, or a standby is promoted and others write,
 * it may be no fault: an error only if nobody has written since the check began.
 */
extern void phnsw_check_fault(const PhnswCheck *check, BlockNumber block, uint32 offset, const char *what);

/* check_aux.c */

/* Follows the upper lists and TIDs of a node, of which `slot` is a copy. */
extern void phnsw_check_chains(PhnswCheck *check, BlockNumber block, uint32 place, uint32 id, const phnsw_slot *slot);
extern void phnsw_check_aux_page(PhnswCheck *check, BlockNumber block, uint32 first);
extern void phnsw_check_free_list(PhnswCheck *check);
extern void phnsw_check_add_entry(PhnswCheck *check, const phnsw_tid *tid, uint32 node);

/* check_heap.c */

/* Sorts the entries; no row may have two. */
extern void phnsw_check_entries(PhnswCheck *check);
/* Every visible row that belongs in the index is there, with the code that its vector has, and no other one. */
extern void phnsw_check_heap(PhnswCheck *check);

#endif							/* PHNSW_CHECK_H */
