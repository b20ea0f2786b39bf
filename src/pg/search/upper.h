/*
 * upper.h
 *    The copied upper levels, for upper.c (descents in the copy) and upper_copy.c (making it).
 */
#ifndef PHNSW_UPPER_H
#define PHNSW_UPPER_H

#include "phnsw.h"

struct UpperPlaces_hash;

/*
 * Nodes stand in the order in which a breadth-first walk from the entry point
 * has found them: the entry point is the first.
 */
struct PhnswUpper
{
	MemoryContext context;
	bool		complete;		/* descents may use it */
	uint32		min_level;		/* lists of this level and above are here */
	uint32		entry_level;
	uint32		entry_id;		/* as the meta page had it */
	uint32		nodes_limit;	/* of the index when the copy was begun */
	Size		slot_stride;

	uint32		n;				/* nodes found; their ids are known */
	uint32		n_copied;		/* of these; the rest of the arrays is for these only */
	uint32		nodes_max;
	uint32	   *ids;
	uint32	   *versions;
	char	   *slots;			/* heads and codes */
	uint32	   *first_list;		/* per node: its list of min_level; those of higher levels follow */
	uint32		n_lists;
	uint32		lists_max;
	uint32	   *lists;			/* m + 1 words each: count, then indexes into the arrays */

	/* while it is made */
	struct UpperPlaces_hash *places;	/* from id to index */
	bool		failed;			/* an error has come between */
};

static inline const phnsw_slot *
phnsw_upper_slot(const PhnswUpper *upper, uint32 i)
{
	return (const phnsw_slot *) (upper->slots + i * upper->slot_stride);
}

static inline uint32 *
phnsw_upper_list(const PhnswUpper *upper, const PhnswIndex *pi, uint32 list)
{
	return upper->lists + (Size) list * (pi->m + 1);
}

/* An empty copy, which pi->upper then is; does nothing where no level fits. */
extern void phnsw_upper_begin(PhnswIndex *pi);
/* Copies some more nodes of an incomplete copy, or gives it up. */
extern void phnsw_upper_go_on(Relation index, PhnswIndex *pi);
/* Forgets the copy, for good or until there were some descents again. */
extern void phnsw_upper_drop(PhnswIndex *pi, bool for_good);

#endif							/* PHNSW_UPPER_H */
