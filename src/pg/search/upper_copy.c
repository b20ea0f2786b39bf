/*
 * upper_copy.c
 *    How the upper levels get into the backend: a few nodes behind each descent.
 *
 * A breadth-first walk from the entry point: a node that is found gets the next place in the arrays; when it is its
 * turn, its head, code and lists are copied, the ids in these translated to places, which finds further nodes.  Each
 * descent through pages pays for some nodes, so no query pays for all: 21,000 nodes of a GloVe with 340,000 rows.  A
 * step ends early when it has to wait for the disk, and asks for the pages of the next one.
 *
 * What one step has copied may be out of date when the last one is done: the copy is a hint anyway (upper.c).
 */
#include "search/upper.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* What all backends together can spare. */
#define PHNSW_UPPER_BYTES_MAX   (16 * 1024 * 1024)
/* Nodes copied behind a descent, a tenth or so of a search's work. */
#define PHNSW_UPPER_STEP_NODES  32
/* A step that has read so many blocks is over. */
#define PHNSW_UPPER_STEP_BLOCKS 8

typedef struct UpperPlace
{
	uint32		id;
	uint32		place;
	char		status;
} UpperPlace;

#define SH_PREFIX UpperPlaces
#define SH_ELEMENT_TYPE UpperPlace
#define SH_KEY_TYPE uint32
#define SH_KEY id
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* The lowest level whose nodes are expected to fit; 0 when none does. */
static uint32
lowest_level(const PhnswIndex *pi, Size bytes_per_node, double *nodes)
{
	*nodes = pi->meta.nodes.limit;
	for (uint32 level = 1; level <= pi->meta.entry_level; level++)
	{
		*nodes /= pi->m;
		if (*nodes * bytes_per_node <= PHNSW_UPPER_BYTES_MAX)
			return level;
	}
	return 0;
}

/*
 * The place of a node, a new one if it has none; PHNSW_NONE: there are more
 * nodes than the levels' distribution promises.
 */
static uint32
place_of(PhnswUpper *upper, uint32 id)
{
	UpperPlace *known = UpperPlaces_lookup(upper->places, id);
	bool		found;

	if (known != NULL)
		return known->place;
	if (upper->n == upper->nodes_max)
		return PHNSW_NONE;
	known = UpperPlaces_insert(upper->places, id, &found);
	known->place = upper->n;
	upper->ids[upper->n] = id;
	return upper->n++;
}

void
phnsw_upper_begin(PhnswIndex *pi)
{
	Size		slot_stride = MAXALIGN(offsetof(phnsw_slot, code) + pi->code_bytes);
	Size		bytes_per_node = slot_stride + 3 * sizeof(uint32) + (pi->m + 1) * sizeof(uint32) * 5 / 4;
	double		expected;
	uint32		level = lowest_level(pi, bytes_per_node, &expected);
	MemoryContext context;
	PhnswUpper *upper;

	if (level == 0)
		return;
	context = AllocSetContextCreate(pi->context, "phnsw upper levels", ALLOCSET_DEFAULT_SIZES);
	upper = MemoryContextAllocZero(context, sizeof(PhnswUpper));
	upper->context = context;
	upper->min_level = level;
	upper->entry_id = pi->meta.entry;
	upper->entry_level = pi->meta.entry_level;
	upper->nodes_limit = pi->meta.nodes.limit;
	upper->slot_stride = slot_stride;
	pi->upper = upper;

	/* An error leaves a copy that has failed. */
	upper->failed = true;
	upper->nodes_max = (uint32) (2 * expected) + 64;
	upper->lists_max = (uint32) (1.2 * expected) + 64;
	upper->ids = MemoryContextAlloc(context, upper->nodes_max * sizeof(uint32));
	upper->versions = MemoryContextAlloc(context, upper->nodes_max * sizeof(uint32));
	upper->slots = MemoryContextAllocHuge(context, upper->nodes_max * slot_stride);
	upper->first_list = MemoryContextAlloc(context, upper->nodes_max * sizeof(uint32));
	upper->lists = MemoryContextAllocHuge(context, (Size) upper->lists_max * (pi->m + 1) * sizeof(uint32));
	upper->places = UpperPlaces_create(context, (uint32) expected, NULL);
	place_of(upper, upper->entry_id);
	upper->failed = false;
}

void
phnsw_upper_drop(PhnswIndex *pi, bool for_good)
{
	if (pi->upper != NULL)
		MemoryContextDelete(pi->upper->context);
	pi->upper = NULL;
	pi->descents = for_good ? PG_UINT32_MAX : 0;
}

/* Copies one list, which is new, with places for ids; false when there is no more place. */
static bool
copy_list(Relation index, PhnswIndex *pi, PhnswUpper *upper, uint32 id, uint32 level)
{
	uint32		links[PHNSW_LINKS_MAX];
	uint32		n = phnsw_links(index, pi, id, level, links);
	uint32	   *list;

	if (upper->n_lists == upper->lists_max)
	{
		upper->lists_max *= 2;
		upper->lists = repalloc_huge(upper->lists, (Size) upper->lists_max * (pi->m + 1) * sizeof(uint32));
	}
	list = phnsw_upper_list(upper, pi, upper->n_lists++);
	list[0] = n;
	for (uint32 i = 0; i < n; i++)
	{
		list[i + 1] = place_of(upper, links[i]);
		if (list[i + 1] == PHNSW_NONE)
			return false;
	}
	return true;
}

/* The next node, with its lists; false when there is no more place. */
static bool
copy_node(Relation index, PhnswIndex *pi, PhnswUpper *upper, char *slot)
{
	const phnsw_slot *copy = (const phnsw_slot *) slot;
	uint32		at = upper->n_copied;
	uint32		id = upper->ids[at];
	uint32		level = upper->min_level;

	phnsw_touch_copy(index, pi, &id, 1, slot);
	memcpy(upper->slots + at * upper->slot_stride, slot, upper->slot_stride);
	upper->versions[at] = copy->version;
	upper->first_list[at] = upper->n_lists;
	/* At least one list each, so that a node that lost its level meanwhile has an empty one. */
	do
	{
		if (!copy_list(index, pi, upper, id, level))
			return false;
	} while (copy->state != PHNSW_SLOT_FREE && level++ < Min(copy->level, PHNSW_LEVEL_MAX));
	upper->n_copied++;
	return true;
}

static void
complete_copy(PhnswUpper *upper)
{
	UpperPlaces_destroy(upper->places);
	upper->places = NULL;
	upper->slots = repalloc_huge(upper->slots, upper->n * upper->slot_stride);
	upper->complete = true;
}

void
phnsw_upper_go_on(Relation index, PhnswIndex *pi)
{
	PhnswUpper *upper = pi->upper;
	int64		read_before = pgBufferUsage.shared_blks_read;
	char	   *slot;
	bool		fits = !upper->failed;

	if (fits)
	{
		upper->failed = true;	/* until all is well */
		slot = palloc(pi->slot_bytes);
		for (uint32 i = 0; fits && i < PHNSW_UPPER_STEP_NODES && upper->n_copied < upper->n &&
			 pgBufferUsage.shared_blks_read - read_before < PHNSW_UPPER_STEP_BLOCKS; i++)
			fits = copy_node(index, pi, upper, slot);
		pfree(slot);
		upper->failed = false;
	}
	if (!fits)
		phnsw_upper_drop(pi, true);
	else if (upper->n_copied == upper->n)
		complete_copy(upper);
	else if (unlikely(pgBufferUsage.shared_blks_read != read_before))
		phnsw_ask_for_nodes(index, pi, upper->ids + upper->n_copied,
							Min(upper->n - upper->n_copied, PHNSW_UPPER_STEP_NODES));
}
