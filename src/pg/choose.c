/*
 * choose.c
 *    The new node's own links: HNSW's heuristic over what the search of a level found (graph/README.md).
 */
#include "insert.h"

void
phnsw_choose_links(PhnswInsert *ins, const PhnswCopies *copies, uint32 level)
{
	PhnswNewLinks *links = &ins->links[level];
	const phnsw_slot **slots = palloc(copies->n * sizeof(phnsw_slot *));
	float	   *distances = palloc(copies->n * sizeof(float));
	uint32	   *ids = palloc(copies->n * sizeof(uint32));
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
			ids[n++] = copies->ids[i];
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
	}
	pfree(slots);
	pfree(distances);
	pfree(ids);
}
