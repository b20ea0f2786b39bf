/*
 * buffer_map.h
 *    Where the blocks of a relation were last seen in shared buffers: a hint for relations other
 *    than our own indexes, whose map is part of PhnswIndex.
 *
 * Filled as blocks are read, a part of 1,024 blocks at a time, so that a backend pays for the neighbourhoods it visits
 * and not for the relation's size; blocks beyond PHNSW_BUFFER_MAP_PARTS parts (32 GB) are not remembered.  Every answer
 * is compared with the buffer's tag before it is used.  Owned by TopMemoryContext; one backend.
 */
#ifndef PHNSW_BUFFER_MAP_H
#define PHNSW_BUFFER_MAP_H

#include "compat.h"

#include "storage/block.h"

#define PHNSW_BUFFER_MAP_PART  1024
#define PHNSW_BUFFER_MAP_PARTS 4096

typedef struct PhnswBufferMap
{
	Oid			relid;
	PhnswFile	file;
	BlockNumber blocks;			/* of the relation, at least */
	uint64		hits;			/* reads that PostgreSQL's statistics have not been told of */
	uint32		n_parts;
	Buffer	  **parts;			/* NULL: nothing known of these blocks */
} PhnswBufferMap;

/* InvalidBuffer: not known. */
static inline Buffer
phnsw_buffer_map_look(const PhnswBufferMap *map, BlockNumber block)
{
	uint32		part = block / PHNSW_BUFFER_MAP_PART;

	if (part >= map->n_parts || map->parts[part] == NULL)
		return InvalidBuffer;
	return map->parts[part][block % PHNSW_BUFFER_MAP_PART];
}

/* The map is of this file from now on; what is known of it stays. */
extern void phnsw_buffer_map_set(PhnswBufferMap *map, Oid relid, PhnswFile file);

/*
 * Pins a block; InvalidBuffer when the relation has none of that number.  REQUIRES: a lock on the
 * relation, whose storage is not that of a temporary table.
 */
extern Buffer phnsw_buffer_map_pin(PhnswBufferMap *map, BlockNumber block);

/*
 * Tells the statistics of the reads that found their buffer without ReadBuffer(), which
 * counts its own.  phnsw_buffer_map_pin() does so whenever it has the relation open; who
 * reads at a glance adds to `hits`.  REQUIRES: as above.
 */
extern void phnsw_buffer_map_tell(PhnswBufferMap *map);

/* Where a block is now, if it is in shared buffers: looks in the buffer table, and remembers.  Reads nothing. */
extern Buffer phnsw_buffer_map_find(PhnswBufferMap *map, BlockNumber block);

/*
 * Where the block behind this one might be: known already, or in one of the
 * next buffers, where what was loaded together is.
 */
extern Buffer phnsw_buffer_map_next(PhnswBufferMap *map, BlockNumber block);

/* Forgets everything and frees it. */
extern void phnsw_buffer_map_clear(PhnswBufferMap *map);

#endif							/* PHNSW_BUFFER_MAP_H */
