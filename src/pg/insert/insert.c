/*
 * insert.c
 *    One row into the graph (README.md).
 *
 * The search runs without any lock that outlives a page access.  The node is written complete, with its own
 * links, before anything leads to it; back links and a higher entry point follow in records of their own.  So
 * every state between two records, which a crash may leave and a standby shows, is an index that works: at worst
 * a node lacks links to it, which costs some recall until vacuum repairs it.
 *
 * Levels are drawn from a hash of the heap TID, so that the same rows inserted in the same order give the same graph.
 */
#include "insert/insert.h"

#include <math.h>

#include "miscadmin.h"
#include "types/type_vector.h"
#include "utils/memutils.h"

/* Candidates of the search for a vector that the index is known to have. */
#define PHNSW_EF_UNCHANGED 16
/* Squared distance of equal codes as it comes out of float32 arithmetic, by their squared norm. */
#define PHNSW_EQUAL_DISTANCE 1e-6f

/* splitmix64's output function. */
static uint64
mix(uint64 x)
{
	x += UINT64CONST(0x9E3779B97F4A7C15);
	x = (x ^ (x >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

/* P(level >= l) = M^-l. */
uint32
phnsw_draw_level(const PhnswIndex *pi, ItemPointer tid)
{
	uint64		row = ((uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16) | ItemPointerGetOffsetNumberNoCheck(tid);
	double		uniform = ((mix(pi->meta.level_seed ^ mix(row)) >> 11) + 1) * 0x1.0p-53;
	double		level = floor(-log(uniform) / log(pi->m));

	return (uint32) Min(level, PHNSW_LEVEL_MAX);
}

/* Neighbours are chosen among ef_construction nodes and half as many behind them that the search has seen anyway. */
static uint32
passed_over(const PhnswIndex *pi)
{
	return Min(pi->meta.ef_construction / 2, PHNSW_SELECT_MAX - pi->meta.ef_construction);
}

/* ---- an insert ------------------------------------------------------------------------------- */

PhnswInsert *
phnsw_insert_begin(Relation index, PhnswIndex *pi)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PhnswInsert *ins = palloc0(sizeof(PhnswInsert));

	ins->index = index;
	ins->pi = pi;
	ins->context = context;
	ins->caller = caller;
	ins->slot = palloc0(pi->slot_bytes);
	return ins;
}

void
phnsw_insert_prepare(PhnswInsert *ins, const float *vector)
{
	uint32		n = ins->pi->meta.ef_construction + passed_over(ins->pi);

	ins->links = palloc0((ins->slot->level + 1) * sizeof(PhnswNewLinks));
	ins->near.ids = palloc(n * sizeof(uint32));
	ins->near.distances = palloc(n * sizeof(float));
	ins->near.versions = palloc(n * sizeof(uint32));
	ins->near.slots = palloc(n * phnsw_head_bytes(ins->pi));
	ins->search = phnsw_search_borrow(ins->pi, ins->context);
	ins->query = phnsw_query_borrow(ins->pi, ins->context);
	phnsw_query_set(ins->query, vector, PHNSW_FOR_INSERT);
}

void
phnsw_insert_end(PhnswInsert *ins)
{
	MemoryContext context = ins->context;

	MemoryContextSwitchTo(ins->caller);
	MemoryContextDelete(context);
}

/* ---- search ---------------------------------------------------------------------------------- */

/*
 * The search of a level begins at the nodes found on the level above.
 * passed: others than the ef nearest are wanted, too.
 */
static void
begin_search(PhnswInsert *ins, uint32 ef, bool passed)
{
	const PhnswCopies *found = &ins->near;
	phnsw_error error;

	phnsw_ensure(phnsw_search_begin(ins->search, ef, ins->pi->meta.nodes.limit, passed, &error), &error);
	phnsw_ensure(phnsw_search_offer(ins->search, found->ids, found->distances, found->versions, Min(found->n, ef),
									&error),
				 &error);
}

static void
add_found(PhnswCopies *found, const phnsw_candidate *candidates, uint32 n)
{
	for (uint32 i = 0; i < n; i++, found->n++)
	{
		found->ids[found->n] = candidates[i].id;
		found->distances[found->n] = candidates[i].score;
		found->versions[found->n] = candidates[i].version;
	}
}

/*
 * ins->near: copies of the n nearest nodes found at most, then of `passed`
 * more at most that the search has passed over.
 */
static void
take_nearest(PhnswInsert *ins, uint32 n, uint32 passed)
{
	PhnswCopies *found = &ins->near;
	uint32		size;
	const phnsw_candidate *candidates = phnsw_search_window(ins->search, &size);
	phnsw_error error;

	found->n = 0;
	add_found(found, candidates, Min(size, n));
	if (passed > 0)
	{
		phnsw_ensure(phnsw_search_passed(ins->search, &passed, &candidates, &error), &error);
		add_found(found, candidates, passed);
	}
	phnsw_touch_heads(ins->index, ins->pi, found->ids, found->n, found->slots, phnsw_head_bytes(ins->pi));
}

/* The start of the search on a level; false: the index is empty. */
static bool
descend(PhnswInsert *ins, uint32 level)
{
	PhnswCopies *near = &ins->near;
	phnsw_candidate entry;

	if (phnsw_descend(ins->index, ins->pi, ins->search, ins->query, level, &entry) == 0)
		return false;
	near->n = 1;
	near->ids[0] = entry.id;
	near->distances[0] = entry.score;
	near->versions[0] = entry.version;
	return true;
}

/* ins->near: what a search of the level finds, beginning at what was found before. */
static void
search_level(PhnswInsert *ins, uint32 level)
{
	uint32		ef = ins->pi->meta.ef_construction;

	begin_search(ins, ef, true);
	phnsw_search_level(ins->index, ins->pi, ins->search, ins->query, level);
	take_nearest(ins, ef, passed_over(ins->pi));
}

/* Finds the new node's surroundings; chooses its links above level 0.  false: the index is empty. */
bool
phnsw_insert_search(PhnswInsert *ins)
{
	uint32		level = Min(ins->slot->level, ins->pi->meta.entry_level);

	if (!descend(ins, level))
		return false;
	for (;; level--)
	{
		search_level(ins, level);
		if (level == 0)
			return true;
		phnsw_choose_links(ins, &ins->near, level);
	}
}

void
phnsw_insert_search_upper(PhnswInsert *ins)
{
	uint32		level = Min(ins->slot->level, ins->pi->meta.entry_level);

	if (level == 0 || !descend(ins, level))
		return;
	for (; level > 0; level--)
	{
		search_level(ins, level);
		phnsw_choose_links(ins, &ins->near, level);
	}
}

/*
 * A row whose vector an older version of it has brought into the index: a small search will do, and it ends where it
 * meets the node.  Codes that differ in a unit of a long vector may be that near as well: then the search goes on.
 */
static bool
join_unchanged(PhnswInsert *ins)
{
	uint32		ef = Min(PHNSW_EF_UNCHANGED, ins->pi->meta.ef_construction);
	float		equal = ins->slot->head.norm2 * PHNSW_EQUAL_DISTANCE;

	if (!descend(ins, 0))
		return false;
	if (ins->near.distances[0] <= equal)
	{
		phnsw_touch_heads(ins->index, ins->pi, ins->near.ids, 1, ins->near.slots, 0);
		if (phnsw_join_equal(ins))
			return true;
	}
	begin_search(ins, ef, false);
	if (phnsw_search_until(ins->index, ins->pi, ins->search, ins->query, 0, equal))
	{
		take_nearest(ins, 1, 0);
		if (phnsw_join_equal(ins))
			return true;
		phnsw_search_level(ins->index, ins->pi, ins->search, ins->query, 0);
	}
	take_nearest(ins, ef, 0);
	return phnsw_join_equal(ins);
}

/* ---- the first node -------------------------------------------------------------------------- */

/*
 * The index is empty, or vacuum has freed all that was found.  The node becomes the entry point if
 * there is none; else it is linked with what leads from there.
 */
static void
insert_first(PhnswInsert *ins)
{
	ins->slot->level = 0;		/* what was found for the levels above is gone as well */
	ins->links[0].n = 0;
	phnsw_write_node(ins);
	phnsw_test_point(PHNSW_POINT_INSERT_WRITTEN);
	if (!phnsw_raise_entry(ins))
		phnsw_relink(ins);
}

/* ---- the row --------------------------------------------------------------------------------- */

static void
insert_row(PhnswInsert *ins)
{
	bool		found = phnsw_insert_search(ins);

	CHECK_FOR_INTERRUPTS();
	phnsw_test_point(PHNSW_POINT_INSERT_FOUND);
	if (found)
	{
		if (phnsw_join_equal(ins))
			return;
		phnsw_choose_links(ins, &ins->near, 0);
	}
	if (!found || ins->links[0].n == 0)
	{
		insert_first(ins);
		return;
	}
	phnsw_plan_back_links(ins);
	phnsw_test_point(PHNSW_POINT_INSERT_PLANNED);
	phnsw_write_node(ins);
	phnsw_test_point(PHNSW_POINT_INSERT_WRITTEN);
	if (!phnsw_write_back_links(ins))
		phnsw_relink(ins);
	if (ins->slot->level > ins->pi->meta.entry_level)
		phnsw_raise_entry(ins);
}

static void
insert_vector(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid, bool unchanged)
{
	PhnswInsert *ins = phnsw_insert_begin(index, pi);
	phnsw_status status;
	phnsw_error error;

	phnsw_stats_charge(NULL);
	status = phnsw_codec_encode(pi->codec, vector, ins->slot, &error);
	if (status != PHNSW_NOT_INDEXED)
	{
		phnsw_ensure(status, &error);
		memcpy(&ins->slot->tid, heap_tid, sizeof(phnsw_tid));
		ins->slot->level = phnsw_draw_level(pi, heap_tid);
		phnsw_insert_prepare(ins, vector);
		if (!unchanged || !join_unchanged(ins))
			insert_row(ins);
		phnsw_stats_of(RelationGetRelid(index))->inserts++;
	}
	phnsw_insert_end(ins);
}

void
phnsw_insert_vector(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid)
{
	insert_vector(index, pi, vector, heap_tid, false);
}

bool
phnsw_aminsert(Relation index, Datum *values, bool *isnull, ItemPointer heap_tid, Relation heap,
			   IndexUniqueCheck check_unique, bool index_unchanged, IndexInfo *info)
{
	PhnswIndex *pi;
	PhnswCoordinates vector;

	if (isnull[0])
		return false;
	phnsw_batch_settle(index, heap, heap_tid);
	pi = phnsw_index_open(index);
	phnsw_coordinates_open(pi->element, values[0], &vector);
	phnsw_check_expected_dim(pi->meta.codec.dims, vector.dims);
	/* A row whose vector has not changed joins the node that has it. */
	if ((index_unchanged && pi->meta.nodes.limit != 0) ||
		!phnsw_batch_add(index, pi, vector.x, heap_tid, heap, info->ii_Concurrent))
	{
		if (pi->meta.nodes.limit == 0)
			phnsw_insert_now(index, vector.x, heap_tid);
		else
			insert_vector(index, pi, vector.x, heap_tid, index_unchanged);
	}
	phnsw_coordinates_close(&vector);
	return false;
}
