/*
 * raise.c
 *    A node of level 0 that gets its upper levels.
 *
 * A bulk insert writes all its nodes as nodes of level 0.  Those of higher levels are raised one by one
 * when it is known what leads to them: links above level 0 are searched for as any insert does, or have
 * been found before there was a node; the upper lists and the slot's level are one change
 * (insert_node.c).  Until then the node is one of level 0, to everybody.
 */
#include "insert/insert.h"

PhnswUpperLinks *
phnsw_insert_find_upper(Relation index, PhnswIndex *pi, const float *vector, uint32 level)
{
	PhnswUpperLinks *upper = palloc0(offsetof(PhnswUpperLinks, links) + level * sizeof(PhnswNewLinks));
	PhnswInsert *ins = phnsw_insert_begin(index, pi);

	ins->slot->level = level;
	phnsw_insert_prepare(ins, vector);
	/* Before: the search may refresh it. */
	upper->entry_level = pi->meta.entry_level;
	phnsw_insert_search_upper(ins);
	memcpy(upper->links, ins->links + 1, level * sizeof(PhnswNewLinks));
	phnsw_insert_end(ins);
	return upper;
}

/*
 * Links that were found for the node before.  false: a new entry point of a higher level is to be among those of
 * its levels, or it has come to stand in the slot of one that was found.
 */
static bool
take_upper_links(PhnswInsert *ins, const PhnswUpperLinks *upper)
{
	if (upper == NULL || upper->entry_level != ins->pi->meta.entry_level)
		return false;
	for (uint32 level = 1; level <= ins->slot->level; level++)
	{
		const PhnswNewLinks *links = &upper->links[level - 1];

		if (phnsw_contains(links->ids, links->n, ins->id))
			return false;
		ins->links[level] = *links;
	}
	return true;
}

/* A link of the node that a node which it links to has as well. */
static uint32
find_spare(PhnswInsert *ins)
{
	uint32		own[PHNSW_LINKS_MAX];
	uint32		links[PHNSW_LINKS_MAX];
	uint32		n = phnsw_links(ins->index, ins->pi, ins->id, 0, own);

	for (uint32 i = n; i-- > 0;)
	{
		uint32		n_links = phnsw_links(ins->index, ins->pi, own[i], 0, links);

		for (uint32 j = 0; j < n_links; j++)
		{
			for (uint32 k = 0; k < n; k++)
			{
				if (k != i && own[k] == links[j])
					return own[k];
			}
		}
	}
	return PHNSW_NONE;
}

void
phnsw_insert_raise(Relation index, PhnswIndex *pi, const float *vector, const phnsw_slot *slot,
				   const PhnswUpperLinks *upper, uint32 id, uint32 version)
{
	PhnswInsert *ins = phnsw_insert_begin(index, pi);

	memcpy(ins->slot, slot, pi->slot_bytes);
	ins->raised = true;
	ins->id = id;
	ins->version = version;
	ins->lowest = 1;
	phnsw_insert_prepare(ins, vector);
	if (!take_upper_links(ins, upper))
		phnsw_insert_search_upper(ins);
	phnsw_plan_back_links(ins);
	ins->spare = slot->level > pi->meta.entry_level ? find_spare(ins) : PHNSW_NONE;
	if (phnsw_write_node(ins))
	{
		phnsw_write_back_links(ins);
		/* Vacuum may have made it the entry point meanwhile, as a node of level 0 (vacuum_entry.c). */
		phnsw_index_refresh(index, pi);
		if (slot->level > pi->meta.entry_level && (!ins->no_entry || pi->meta.entry == id) && phnsw_raise_entry(ins))
			phnsw_index_refresh(index, pi);
	}
	phnsw_insert_end(ins);
}
