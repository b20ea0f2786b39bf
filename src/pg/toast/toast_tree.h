/*
 * toast_tree.h
 *    From a value's id to the places of its chunks, in the index of a TOAST table.
 */
#ifndef PHNSW_TOAST_TREE_H
#define PHNSW_TOAST_TREE_H

#include "search/buffer_map.h"

#include "storage/itemptr.h"

/*
 * The places of chunks 0 ... n - 1 of a value; returns how many of them were found, from the first on.  A hint:
 * the places may hold anything, and chunks that exist may not be found.  leaf: where to begin, or
 * InvalidBlockNumber.  cached_only: pages that the map does not lead to are not read.
 */
extern uint32 phnsw_toast_find(PhnswBufferMap *tree, Oid value, uint32 n, ItemPointerData *places, BlockNumber leaf,
							   bool cached_only);

/* The leaf that the value is on, or InvalidBlockNumber; its ends are asked for into the processor's caches. */
extern BlockNumber phnsw_toast_ask_leaf(PhnswBufferMap *tree, Oid value);
/* The next step: the leaf's first and last key. */
extern void phnsw_toast_ask_keys(const PhnswBufferMap *tree, BlockNumber leaf);

#endif							/* PHNSW_TOAST_TREE_H */
