/*
 * vacuum_pool.c
 *    Copies of nodes, found by id: what it takes to repair lists.
 *
 * Ids are entered first and copied together, so that nodes on one page share a look at it.  An index into
 * the pool, and a pointer to a copy, stay good until it is cleared.
 */
#include "vacuum/vacuum.h"

void
phnsw_pool_init(PhnswPool *pool, Relation index, PhnswIndex *pi, uint32 room)
{
	uint32		size = 1024;

	while (size < 2 * room)
		size *= 2;
	pool->index = index;
	pool->pi = pi;
	pool->room = room;
	pool->ids = palloc(room * sizeof(uint32));
	pool->stamps = palloc(room * sizeof(uint32));
	/* Pages of memory that are never touched are never there. */
	pool->slots = palloc_extended(room * (Size) pi->slot_bytes, MCXT_ALLOC_HUGE);
	pool->table = palloc0(size * sizeof(uint32));
	pool->mask = size - 1;
	pool->n = pool->fetched = 0;
}

/* Sixteen ids in a row share a line of cache: nodes near each other were often numbered near each other. */
static inline uint32
bucket_of(const PhnswPool *pool, uint32 id)
{
	return ((id >> 4) * (2654435769u << 4) + (id & 15)) & pool->mask;
}

void
phnsw_pool_clear(PhnswPool *pool)
{
	if (pool->n > pool->mask / 16)
		memset(pool->table, 0, ((Size) pool->mask + 1) * sizeof(uint32));
	else
	{
		/* Backwards, so that the table is each time as it was before that id was entered. */
		for (uint32 index = pool->n; index-- > 0;)
		{
			uint32		bucket = bucket_of(pool, pool->ids[index]);

			while (pool->table[bucket] != index + 1)
				bucket = (bucket + 1) & pool->mask;
			pool->table[bucket] = 0;
		}
	}
	pool->n = pool->fetched = 0;
}

uint32
phnsw_pool_add(PhnswPool *pool, uint32 id)
{
	uint32		bucket = bucket_of(pool, id);

	while (pool->table[bucket] != 0)
	{
		uint32		index = pool->table[bucket] - 1;

		if (pool->ids[index] == id)
			return index;
		bucket = (bucket + 1) & pool->mask;
	}
	if (pool->n == pool->room)
		elog(ERROR, "phnsw: more candidates than the vacuum has room for");
	pool->ids[pool->n] = id;
	pool->stamps[pool->n] = 0;
	pool->table[bucket] = ++pool->n;
	return pool->n - 1;
}

void
phnsw_pool_fetch(PhnswPool *pool, bool links)
{
	uint32		n = pool->n - pool->fetched;
	char	   *slots = pool->slots + pool->fetched * (Size) pool->pi->slot_bytes;

	if (links)
		phnsw_touch_copy(pool->index, pool->pi, pool->ids + pool->fetched, n, slots);
	else
		phnsw_touch_heads(pool->index, pool->pi, pool->ids + pool->fetched, n, slots, pool->pi->slot_bytes);
	pool->fetched = pool->n;
}
