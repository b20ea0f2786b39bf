/*
 * toast_tree.h
 *    From a value's id to the places of its chunks, in the index of a TOAST table.
 */
#ifndef PHNSW_TOAST_TREE_H
#define PHNSW_TOAST_TREE_H

#include "buffer_map.h"

#include "storage/itemptr.h"

/*
 * The places of chunks 0 ... n - 1 of a value; returns how many of them were found, from the first on.  A hint: the places may
 * hold anything, and chunks that exist may not be found.  cached_only: pages that the map does not lead to are not read.
 */
extern uint32 phnsw_toast_find(PhnswBufferMap *tree, Oid value, uint32 n, ItemPointerData *places, bool cached_only);

#endif							/* PHNSW_TOAST_TREE_H */
