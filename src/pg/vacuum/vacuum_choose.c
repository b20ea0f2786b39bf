/*
 * vacuum_choose.c
 *    The links of a repaired list, among the candidates that vacuum_repair.c has collected.
 *
 * Every link that stays keeps its place and the new ones take those of the
 * dead, so that a record carries nothing but them.
 */
#include "vacuum/vacuum_repair.h"

#include <math.h>

/* Candidates whose copies are asked for before they are looked at. */
#define CANDIDATES_AHEAD 8

/* A new candidate, at its distance from the list's owner. */
typedef struct Fresh
{
	float		distance;
	uint32		index;			/* into the pool */
} Fresh;

/* Heads and codes of a job's candidates are asked for so many candidates ahead: the pool does not fit into a cache. */
static inline void
prefetch_candidate(const PhnswRepair *r, const PhnswRepairJob *job, uint32 i)
{
	if (i < job->n)
		phnsw_prefetch(phnsw_pool_slot(&r->pool, job->candidates[i]), phnsw_head_bytes(r->v->pi));
}

/* The usable new candidates, nearest first. */
static uint32
sort_fresh(const PhnswRepair *r, const PhnswRepairJob *job, const phnsw_slot *owner, Fresh *fresh)
{
	uint32		n = 0;

	for (uint32 i = job->n_live; i < job->n; i++)
	{
		uint32		index = job->candidates[i];
		uint32		j;
		float		distance;

		prefetch_candidate(r, job, i + CANDIDATES_AHEAD);
		if (!phnsw_is_usable(r, job, index))
			continue;
		distance = phnsw_codec_distance(r->v->pi->codec, owner, phnsw_pool_slot(&r->pool, index));
		if (!isfinite(distance))
			continue;
		for (j = n++; j > 0 && fresh[j - 1].distance > distance; j--)
			fresh[j] = fresh[j - 1];
		fresh[j] = (Fresh) {.distance = distance, .index = index};
	}
	return n;
}

/*
 * Some entry of the list that is nearer to the owner is nearer to the candidate than the owner is, and so leads to it.
 */
static bool
is_covered(const PhnswRepair *r, const Fresh *candidate, const phnsw_slot *const *kept, const float *distances,
		   uint32 n)
{
	const phnsw_slot *slot = phnsw_pool_slot(&r->pool, candidate->index);

	for (uint32 i = 0; i < n; i++)
	{
		if (distances[i] < candidate->distance &&
			phnsw_codec_distance(r->v->pi->codec, kept[i], slot) < candidate->distance)
			return true;
	}
	return false;
}

/*
 * Orders the chosen links: the first n_kept, which the list has had in this
 * order, into their places, the others into gaps.
 */
static void
keep_places(PhnswRepairJob *job, uint32 n_kept)
{
	bool		stays[PHNSW_LINKS_MAX] = {false};
	uint32		movers[PHNSW_LINKS_MAX];
	uint32		n_movers = job->chosen_count - n_kept;

	memcpy(movers, job->chosen + n_kept, n_movers * sizeof(uint32));
	for (uint32 i = 0, kept = 0; i < job->count && kept < n_kept; i++)
	{
		if (job->links[i] != job->chosen[kept])
			continue;
		kept++;
		if (i < job->chosen_count)
			stays[i] = true;
		else
			movers[n_movers++] = job->links[i];
	}
	for (uint32 i = 0, mover = 0; i < job->chosen_count; i++)
		job->chosen[i] = stays[i] ? job->links[i] : movers[mover++];
}

/*
 * The live links stay: they were chosen when more was known.  The places of the dead go to new candidates, nearest
 * first, by HNSW's rule: who is not covered by the list so far, then who was passed over.
 */
void
phnsw_choose_repaired(PhnswRepair *r, PhnswRepairJob *job)
{
	PhnswIndex *pi = r->v->pi;
	const phnsw_slot *owner = job->slot != NULL ? job->slot :
		phnsw_pool_slot(&r->pool, phnsw_pool_add(&r->pool, job->owner));
	const phnsw_slot *kept[PHNSW_LINKS_MAX];
	float		distances[PHNSW_LINKS_MAX]; /* of the kept ones */
	Fresh		fresh[CANDIDATES_MAX];
	uint32		passed[CANDIDATES_MAX];
	uint32		n_passed = 0;
	uint32		n_fresh;
	uint32		n_kept;
	uint32		n = 0;
	/* As many links as the list had, so that vacuum neither thins nor fattens the graph. */
	uint32		m = job->level > 0 ? pi->m : Min(Max(job->count, pi->m), 2 * pi->m);

	for (uint32 i = 0; i < job->n_live && n < m; i++)
	{
		if (!phnsw_is_usable(r, job, job->candidates[i]))
			continue;
		kept[n] = phnsw_pool_slot(&r->pool, job->candidates[i]);
		distances[n] = phnsw_codec_distance(pi->codec, owner, kept[n]);
		job->chosen[n++] = r->pool.ids[job->candidates[i]];
	}
	n_kept = n;
	n_fresh = sort_fresh(r, job, owner, fresh);
	for (uint32 i = 0; i < n_fresh && n < m; i++)
	{
		if (is_covered(r, &fresh[i], kept, distances, n))
		{
			passed[n_passed++] = fresh[i].index;
			continue;
		}
		kept[n] = phnsw_pool_slot(&r->pool, fresh[i].index);
		distances[n] = fresh[i].distance;
		job->chosen[n++] = r->pool.ids[fresh[i].index];
	}
	for (uint32 i = 0; i < n_passed && n < m; i++)
		job->chosen[n++] = r->pool.ids[passed[i]];
	job->chosen_count = n;
	keep_places(job, n_kept);
}
