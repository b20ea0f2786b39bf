/*
 * known.c
 *    Nodes that an insert has copied, found by id: those that its search met, and the members of lists that it decides about.
 *
 * The lists of sixteen neighbours name each other's members over and over, and half of them were met by the search: so every
 * node is copied once for all of them.
 *
 * Copies are heads and codes, read without a lock (touch.c): whatever is decided by them is a hint.  Memory is bounded: when
 * the table is full, all but the search's nodes are forgotten.
 */
#include "insert.h"

/* Nodes beside the search's, and their memory; at least those of one list. */
#define PHNSW_KNOWN_MORE  512
#define PHNSW_KNOWN_BYTES (256 * 1024)

static inline uint32
bucket_of(const PhnswKnown *known, uint32 id)
{
	return (id * 2654435769u) & known->mask;
}

static void
enter(PhnswKnown *known, uint32 id, const phnsw_slot *slot)
{
	uint32		bucket = bucket_of(known, id);

	while (known->table[bucket] != 0)
		bucket = (bucket + 1) & known->mask;
	known->ids[known->n] = id;
	known->nodes[known->n] = slot;
	known->table[bucket] = ++known->n;
}

static void
enter_met(PhnswInsert *ins)
{
	PhnswKnown *known = &ins->known;

	memset(known->table, 0, ((Size) known->mask + 1) * sizeof(uint16));
	known->n = 0;
	for (uint32 i = 0; i < ins->near.n; i++)
		enter(known, ins->near.ids[i], phnsw_copy(ins, &ins->near, i));
}

void
phnsw_known_begin(PhnswInsert *ins)
{
	PhnswKnown *known = &ins->known;
	PhnswIndex *pi = ins->pi;
	uint32		more = Max(Min(PHNSW_KNOWN_MORE, PHNSW_KNOWN_BYTES / pi->slot_bytes), 2 * pi->m);
	uint32		size = 256;

	known->room = ins->near.n + more;
	while (size < 2 * known->room)
		size *= 2;
	known->mask = size - 1;
	known->table = palloc(size * sizeof(uint16));
	known->ids = palloc(known->room * sizeof(uint32));
	known->nodes = palloc(known->room * sizeof(phnsw_slot *));
	/* Not per insert: so much memory comes from the kernel, page by page. */
	if (pi->known_slots == NULL)
		pi->known_slots = MemoryContextAlloc(pi->context, (Size) more * pi->slot_bytes);
	enter_met(ins);
}

const phnsw_slot *
phnsw_known_find(const PhnswKnown *known, uint32 id)
{
	for (uint32 bucket = bucket_of(known, id); known->table[bucket] != 0; bucket = (bucket + 1) & known->mask)
	{
		uint32		index = known->table[bucket] - 1;

		if (known->ids[index] == id)
			return known->nodes[index];
	}
	return NULL;
}

void
phnsw_known_fetch(PhnswInsert *ins, const uint32 *ids, uint32 n)
{
	PhnswKnown *known = &ins->known;
	uint32		missing[PHNSW_LINKS_MAX];
	uint32		n_missing = 0;
	char	   *copies;

	if (known->n + n > known->room)
		enter_met(ins);
	for (uint32 i = 0; i < n; i++)
	{
		if (phnsw_known_find(known, ids[i]) == NULL)
			missing[n_missing++] = ids[i];
	}
	copies = ins->pi->known_slots + (Size) (known->n - ins->near.n) * ins->pi->slot_bytes;
	phnsw_touch_heads(ins->index, ins->pi, missing, n_missing, copies);
	for (uint32 i = 0; i < n_missing; i++)
		enter(known, missing[i], (const phnsw_slot *) (copies + (Size) i * ins->pi->slot_bytes));
}
