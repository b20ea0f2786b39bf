/*
 * choose.c
 *    Which nodes become links, by HNSW's heuristic (graph/README.md): the new node's own, of what the search of a level
 *    found; the old ones, of a full list that the new node wants to be in.
 */
#include "insert/insert.h"

void
phnsw_choose_links(PhnswInsert *ins, const PhnswCopies *copies, uint32 level)
{
	PhnswNewLinks *links = &ins->links[level];
	const phnsw_slot **slots = palloc(copies->n * sizeof(phnsw_slot *));
	float	   *distances = palloc(copies->n * sizeof(float));
	uint32	   *ids = palloc(copies->n * sizeof(uint32));
	uint16	   *places = palloc(copies->n * sizeof(uint16));
	uint16		chosen[PHNSW_M_MAX];
	uint32		n = 0;
	uint8		wanted = PHNSW_SLOT_LIVE;

	for (;;)
	{
		for (uint32 i = 0; i < copies->n; i++)
		{
			const phnsw_slot *slot = phnsw_copy(ins, copies, i);

			if (slot->state != wanted || slot->version != copies->versions[i] || slot->level < level)
				continue;
			slots[n] = slot;
			distances[n] = copies->distances[i];
			ids[n] = copies->ids[i];
			places[n++] = i;
		}
		if (n > 0 || level > 0 || wanted == PHNSW_SLOT_DEAD)
			break;
		/* Whatever was here is dead.  Vacuum hands its neighbours on, so it is a way to the others while it lasts. */
		wanted = PHNSW_SLOT_DEAD;
	}
	links->n = phnsw_select(ins->pi->codec, slots, distances, ids, n, ins->pi->m, chosen);
	for (uint32 i = 0; i < links->n; i++)
	{
		links->ids[i] = ids[chosen[i]];
		links->distances[i] = distances[chosen[i]];
		links->found[i] = places[chosen[i]];
	}
	pfree(slots);
	pfree(distances);
	pfree(ids);
	pfree(places);
}

/* A node of the list that is nearer to its owner is also nearer to `at` than the owner is. */
static bool
is_covered(const PhnswInsert *ins, const phnsw_slot *const *slots, const float *distances, uint32 n, uint32 at)
{
	const phnsw_slot *nearer[PHNSW_LINKS_MAX + 1];
	uint32		n_nearer = 0;

	/* Without a branch, which would be mispredicted half the time. */
	for (uint32 i = 0; i < n; i++)
	{
		nearer[n_nearer] = slots[i];
		n_nearer += distances[i] < distances[at];
	}
	return phnsw_codec_any_nearer(ins->pi->codec, slots[at], nearer, n_nearer, distances[at]);
}

uint32
phnsw_choose_victim(const PhnswInsert *ins, float distance, const phnsw_slot **slots, float *distances, uint32 n)
{
	uint64		left[PHNSW_LINKS_MAX + 1]; /* to be tried: distance, place; 0: tried */
	uint32		farthest = PHNSW_NONE;

	slots[n] = ins->slot;
	distances[n] = distance;
	/* A distance is 0 at least and no NaN, so its bits compare as it does. */
	for (uint32 i = 0; i <= n; i++)
	{
		uint32		bits;

		memcpy(&bits, &distances[i], sizeof(bits));
		left[i] = (uint64) bits << 32 | (i + 1);
	}
	for (uint32 round = 0; round <= n; round++)
	{
		uint64		largest = 0;
		uint32		at;

		/* The next from the far end; of two at one distance the new node. */
		for (uint32 i = 0; i <= n; i++)
			largest = Max(largest, left[i]);
		at = (uint32) largest - 1;
		if (round == 0)
			farthest = at;
		if (is_covered(ins, slots, distances, n + 1, at))
			return at;
		left[at] = 0;
	}
	return farthest;
}
