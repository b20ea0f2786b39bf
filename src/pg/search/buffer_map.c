/*
 * buffer_map.c
 *    Blocks of other relations to shared buffers (buffer_map.h).
 */
#include "postgres.h"

#include "search/buffer_map.h"

#include "access/relation.h"
#include "search/glance.h"
#include "storage/buf_internals.h"
#include "storage/lockdefs.h"
#include "utils/memutils.h"

/*
 * How far behind the buffer of a block that of the next one is looked for: pages of the
 * table, its TOAST table and its index come together.
 */
#define PHNSW_MAP_NEIGHBOURS 6

/* Every so many pins go through ReadBuffer, whose usage count keeps hot pages in the cache. */
#define PHNSW_MAP_USAGE_PERIOD 16

void
phnsw_buffer_map_clear(PhnswBufferMap *map)
{
	for (uint32 i = 0; i < map->n_parts; i++)
	{
		if (map->parts[i] != NULL)
			pfree(map->parts[i]);
	}
	if (map->parts != NULL)
		pfree(map->parts);
	map->parts = NULL;
	map->n_parts = 0;
	map->blocks = 0;
}

void
phnsw_buffer_map_set(PhnswBufferMap *map, Oid relid, PhnswFile file)
{
	if (map->relid != relid || !PhnswFileEquals(map->file, file))
		phnsw_buffer_map_clear(map);
	if (map->relid != relid)
		map->hits = 0;			/* of an index that REINDEX has replaced */
	map->relid = relid;
	map->file = file;
}

static void
tell(PhnswBufferMap *map, Relation relation)
{
	phnsw_count_hits(relation, map->hits);
	map->hits = 0;
}

void
phnsw_buffer_map_tell(PhnswBufferMap *map)
{
	Relation	relation = relation_open(map->relid, NoLock);

	tell(map, relation);
	relation_close(relation, NoLock);
}

static void
remember(PhnswBufferMap *map, BlockNumber block, Buffer buffer)
{
	uint32		part = block / PHNSW_BUFFER_MAP_PART;

	if (part >= PHNSW_BUFFER_MAP_PARTS)
		return;
	if (part >= map->n_parts)
	{
		uint32		n = Min(Max(part + 1, map->n_parts * 2), PHNSW_BUFFER_MAP_PARTS);

		if (map->parts == NULL)
			map->parts = MemoryContextAlloc(TopMemoryContext, n * sizeof(Buffer *));
		else
			map->parts = repalloc(map->parts, n * sizeof(Buffer *));
		for (; map->n_parts < n; map->n_parts++)
			map->parts[map->n_parts] = NULL;
	}
	if (map->parts[part] == NULL)
		map->parts[part] = MemoryContextAllocZero(TopMemoryContext, PHNSW_BUFFER_MAP_PART * sizeof(Buffer));
	map->parts[part][block % PHNSW_BUFFER_MAP_PART] = buffer;
}

Buffer
phnsw_buffer_map_pin(PhnswBufferMap *map, BlockNumber block)
{
	static uint32 pins = 0;
	Buffer		buffer = phnsw_buffer_map_look(map, block);
	Relation	relation;

	if (buffer != InvalidBuffer && ++pins % PHNSW_MAP_USAGE_PERIOD != 0 &&
		ReadRecentBuffer(map->file, MAIN_FORKNUM, block, buffer))
	{
		map->hits++;
		return buffer;
	}

	relation = relation_open(map->relid, NoLock);
	tell(map, relation);
	if (block >= map->blocks)
		map->blocks = RelationGetNumberOfBlocks(relation);
	if (block < map->blocks && PhnswFileEquals(map->file, PhnswRelationFile(relation)))
	{
		buffer = ReadBuffer(relation, block);
		remember(map, block, buffer);
	}
	else
		buffer = InvalidBuffer;
	relation_close(relation, NoLock);
	return buffer;
}

Buffer
phnsw_buffer_map_next(PhnswBufferMap *map, BlockNumber block)
{
	Buffer		at = phnsw_buffer_map_look(map, block);
	Buffer		next = phnsw_buffer_map_look(map, block + 1);
	BufferTag	tag;

	if (next != InvalidBuffer || at <= InvalidBuffer)
		return next;
	PhnswInitBufferTag(&tag, &map->file, block + 1);
	for (next = at + 1; next <= Min(at + PHNSW_MAP_NEIGHBOURS, NBuffers); next++)
	{
		/* Without a lock: a hint, as all that the map says. */
		if (PhnswBufferTagsEqual(&tag, &GetBufferDescriptor(next - 1)->tag))
		{
			remember(map, block + 1, next);
			return next;
		}
	}
	return InvalidBuffer;
}

Buffer
phnsw_buffer_map_find(PhnswBufferMap *map, BlockNumber block)
{
	BufferTag	tag;
	uint32		hash;
	int			id;

	PhnswInitBufferTag(&tag, &map->file, block);
	hash = BufTableHashCode(&tag);
	LWLockAcquire(BufMappingPartitionLock(hash), LW_SHARED);
	id = BufTableLookup(&tag, hash);
	LWLockRelease(BufMappingPartitionLock(hash));
	if (id < 0)
		return InvalidBuffer;
	remember(map, block, id + 1);
	return id + 1;
}
