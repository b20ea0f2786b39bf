/*
 * vacuum_pool.c
 *    Copies of nodes, found by id: what the lists of one page need to be repaired.
 *
 * Ids are entered first and copied together, so that nodes on one page share a pin and a lock.  An index into the pool stays
 * good until it is cleared; a pointer to a copy only until the next fetch.
 */
#include "vacuum.h"

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
	pool->slots = NULL;
	pool->slots_room = 0;
	pool->table = palloc0(size * sizeof(uint32));
	pool->mask = size - 1;
	pool->n = pool->fetched = 0;
}

void
phnsw_pool_clear(PhnswPool *pool)
{
	memset(pool->table, 0, ((Size) pool->mask + 1) * sizeof(uint32));
	pool->n = pool->fetched = 0;
}

uint32
phnsw_pool_add(PhnswPool *pool, uint32 id)
{
	uint32		bucket = (id * 2654435769u) & pool->mask;

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
phnsw_pool_fetch(PhnswPool *pool)
{
	if (pool->n > pool->slots_room)
	{
		char	   *slots;

		pool->slots_room = Max(pool->n, 2 * pool->slots_room);
		slots = palloc_extended(pool->slots_room * (Size) pool->pi->slot_bytes, MCXT_ALLOC_HUGE);
		if (pool->slots != NULL)
		{
			memcpy(slots, pool->slots, pool->fetched * (Size) pool->pi->slot_bytes);
			pfree(pool->slots);
		}
		pool->slots = slots;
	}
	phnsw_touch_copy(pool->index, pool->pi, pool->ids + pool->fetched, pool->n - pool->fetched,
					 pool->slots + pool->fetched * (Size) pool->pi->slot_bytes);
	pool->fetched = pool->n;
}
