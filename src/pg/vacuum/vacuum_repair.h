/*
 * vacuum_repair.h
 *    What the repair of lists shares: vacuum_repair.c (pages, candidates),
 *    vacuum_choose.c (which of them become links).
 */
#ifndef PHNSW_VACUUM_REPAIR_H
#define PHNSW_VACUUM_REPAIR_H

#include "vacuum/vacuum.h"

/* New candidates that a list may get from each dead node, from all of them, and from neighbours' neighbours. */
#define CANDIDATES_PER_DEAD 32
#define DEAD_CANDIDATES     64
#define THIN_CANDIDATES     64
#define CANDIDATES_MAX      (PHNSW_LINKS_MAX + DEAD_CANDIDATES + THIN_CANDIDATES)

/* A list that names a node that is gone. */
typedef struct PhnswRepairJob
{
	uint32		owner;			/* node id */
	uint32		version;
	uint32		place;			/* of the slot or record on the page */
	uint32		level;
	uint32		count;			/* links as on the page */
	const uint32 *links;		/* in the copy of the page */
	const phnsw_slot *slot;		/* of the owner, in the copy of the page; NULL: in the pool */
	uint32		n;				/* candidates: first the live links, then new ones */
	uint32		n_live;
	uint32		candidates[CANDIDATES_MAX]; /* pool indexes */
	uint32		chosen_count;
	uint32		chosen[PHNSW_LINKS_MAX];
} PhnswRepairJob;

typedef struct PhnswRepair
{
	PhnswVacuum *v;
	PhnswPool	pool;
	PhnswRepairJob *jobs;
	uint32		n_jobs;
	uint32		page_nodes;		/* that the lists of one page may name: owner, links, candidates of every job */
	uint32		stamp;
	char	   *image;			/* of the page */
} PhnswRepair;

/* A link to it on the job's level leads somewhere. */
static inline bool
phnsw_is_usable(const PhnswRepair *r, const PhnswRepairJob *job, uint32 index)
{
	const phnsw_slot *slot = phnsw_pool_slot(&r->pool, index);

	return slot->state == PHNSW_SLOT_LIVE && slot->level >= job->level;
}

/* Fills job->chosen.  REQUIRES: the candidates have been fetched. */
extern void phnsw_choose_repaired(PhnswRepair *r, PhnswRepairJob *job);

#endif							/* PHNSW_VACUUM_REPAIR_H */
