/*
 * vacuum.h
 *    What the files of vacuum share, and the walk over level 0 that the checker uses too.
 *
 * One vacuum is one PhnswVacuum, which lives with its arrays in a memory context of their
 * own.  Bit arrays have one bit per node id below `limit`, which is the number of ids at the
 * start: a node inserted later can be neither dead nor missed.
 */
#ifndef PHNSW_VACUUM_H
#define PHNSW_VACUUM_H

#include "phnsw.h"

#include "access/genam.h"

/* Slots have at least 40 bytes of head, 4 of code, 16 of links; aux records at least 16 and 64. */
#define PHNSW_SLOTS_MAX (PHNSW_PAGE_CONTENT / 60)
#define PHNSW_AUX_MAX   (PHNSW_PAGE_CONTENT / 80)

/* ---- bits.  n bits, all zero; may be larger than 1 GB ---------------------------------------- */

static inline uint64 *
phnsw_bits_make(uint32 n)
{
	return palloc_extended(((Size) n / 64 + 1) * sizeof(uint64), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static inline bool
phnsw_bit(const uint64 *bits, uint32 i)
{
	return (bits[i / 64] >> (i % 64)) & 1;
}

static inline void
phnsw_bit_set(uint64 *bits, uint32 i)
{
	bits[i / 64] |= UINT64CONST(1) << (i % 64);
}

/* ---- vacuum.c -------------------------------------------------------------------------------- */

/* Aux records that nothing refers to any more, freed page by page when there are many. */
#define PHNSW_AUX_BATCH 1024

typedef struct PhnswVacuum
{
	/* immutable */
	IndexVacuumInfo *info;
	Relation	index;
	PhnswIndex *pi;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	uint32		limit;

	/* results of the first pass */
	IndexBulkDeleteResult *stats;
	uint64	   *dead;			/* DEAD: to be unlinked and freed */
	uint64	   *gone;			/* DEAD, or FREE when it was seen: a list that names it deserves a look */
	uint32		dead_nodes;
	uint64		lists_repaired;
	uint32		top;			/* a live node of the highest level, PHNSW_NONE */
	uint32		top_version;
	uint32		top_level;

	uint32		batch_n;
	uint32		batch[PHNSW_AUX_BATCH];
} PhnswVacuum;

static inline bool
phnsw_is_dead(const PhnswVacuum *v, uint32 id)
{
	return id < v->limit && phnsw_bit(v->dead, id);
}

/* A node page for a pass in block order: pinned, not locked. */
extern Buffer phnsw_vacuum_page(PhnswVacuum *v, BlockNumber block);

/* ---- vacuum_chain.c -------------------------------------------------------------------------- */

/*
 * Removes the dead TIDs of a node that has a chain.  The caller holds a pin of the node's
 * page, no lock.  Returns false when the node is DEAD now.
 */
extern bool phnsw_vacuum_chain(PhnswVacuum *v, Buffer buffer, uint32 place, uint32 id, uint32 version);

/* ---- vacuum_pool.c --------------------------------------------------------------------------- */

typedef struct PhnswPool
{
	Relation	index;
	PhnswIndex *pi;
	uint32		n;
	uint32		fetched;		/* the first ones have been copied */
	uint32		room;
	uint32	   *ids;
	uint32	   *stamps;			/* the caller's: who last named the node; 0 when it is entered */
	char	   *slots;			/* slot_bytes each */
	uint32	   *table;			/* open addressing: index + 1, 0 is empty */
	uint32		mask;
} PhnswPool;

/* So that no array but the slots' is larger than 1 GB. */
#define PHNSW_POOL_MAX (UINT32_C(1) << 26)

/* For at most `room` nodes, no more than PHNSW_POOL_MAX. */
extern void phnsw_pool_init(PhnswPool *pool, Relation index, PhnswIndex *pi, uint32 room);
extern void phnsw_pool_clear(PhnswPool *pool);
/* Index of a node in the pool, entered if it was not there. */
extern uint32 phnsw_pool_add(PhnswPool *pool, uint32 id);
/* Copies what was entered since the last time: whole slots, under locks, or heads and codes without. */
extern void phnsw_pool_fetch(PhnswPool *pool, bool links);

/* REQUIRES: the node was fetched since it was entered. */
static inline phnsw_slot *
phnsw_pool_slot(const PhnswPool *pool, uint32 index)
{
	Assert(index < pool->fetched);
	return (phnsw_slot *) (pool->slots + (Size) index * pool->pi->slot_bytes);
}

/* ---- vacuum_repair.c ------------------------------------------------------------------------- */

/* Every list that names a dead node is chosen anew; aux records of freed nodes are reclaimed on the way. */
extern void phnsw_vacuum_repair(PhnswVacuum *v);

/* ---- vacuum_entry.c -------------------------------------------------------------------------- */

/* Replaces a dead entry point. */
extern void phnsw_vacuum_entry(PhnswVacuum *v);

/* ---- vacuum_attach.c ------------------------------------------------------------------------- */

/* Gives live nodes that no walk from the entry point finds a link that leads to them. */
extern void phnsw_vacuum_attach(PhnswVacuum *v);

/* ---- vacuum_free.c --------------------------------------------------------------------------- */

/* Remembers an aux record that nothing refers to any more, to be freed together with others of its page. */
extern void phnsw_vacuum_free_aux(PhnswVacuum *v, uint32 aux);
extern void phnsw_vacuum_flush_aux(PhnswVacuum *v);
/* The slots of all dead nodes, and what they refer to.  REQUIRES: lists are repaired, and so is the entry point. */
extern void phnsw_vacuum_free_slots(PhnswVacuum *v);

/* ---- vacuum_calibrate.c ---------------------------------------------------------------------- */

/* Measures ef against recall anew when the index has grown a lot since that was done. */
extern void phnsw_vacuum_calibrate(IndexVacuumInfo *info);

/* ---- reach.c --------------------------------------------------------------------------------- */

typedef struct PhnswReach
{
	uint32		limit;			/* ids looked at */
	const uint64 *avoid;		/* nodes not to be walked through, for ids below avoid_limit */
	uint32		avoid_limit;
	uint64	   *reached;
	uint64	   *expanded;
} PhnswReach;

extern void phnsw_reach_init(PhnswReach *reach, uint32 limit, const uint64 *avoid, uint32 avoid_limit);
/* Marks all that can be reached over level 0 from `start` and is not yet marked.  Page by page, share locks only. */
extern void phnsw_reach_from(Relation index, PhnswIndex *pi, PhnswReach *reach, uint32 start);

#endif							/* PHNSW_VACUUM_H */
