/*
 * upper.c
 *    The upper levels of the graph, copied into the backend.
 *
 * Every search starts with a descent through the upper levels: some 150 nodes, the same few thousand over and over.
 * After a few descents through pages a backend copies the levels that fit its budget (codes and lists; one node in M has
 * any) and descends in its own memory, several times faster.
 *
 * The copy is a hint like every link: it may be older than the pages, so the node where a descent ends is looked up on its
 * page before it is used, and the copy is dropped when that node is gone, when the entry point has moved, or when the index
 * has grown by a quarter.
 *
 * Making it touches every page that it comes from.  After a start of the server these are on disk, and a query must not wait
 * for thousands of them: so only descents count that found (nearly) all their pages in shared buffers.
 *
 * Owner: a child of the description's memory context.  No locks are held across calls.
 */
#include "phnsw.h"

#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"

/* A short-lived connection does not earn the copy back. */
#define PHNSW_UPPER_AFTER_DESCENTS 12
/* A descent that had to read more blocks does not count.  With some 150 touches it says that one block in 40 is missing. */
#define PHNSW_UPPER_COLD_BLOCKS    4
#define PHNSW_UPPER_BYTES_MAX      (16 * 1024 * 1024)

struct PhnswUpper
{
	MemoryContext context;
	uint32		n;
	uint32		min_level;		/* lists of this level and above are here */
	uint32		entry;			/* index into the arrays */
	uint32		entry_level;
	uint32		entry_id;		/* as the meta page had it */
	uint32		nodes_limit;	/* of the index when the copy was made */
	Size		slot_stride;
	uint32	   *ids;			/* ascending */
	uint32	   *versions;
	char	   *slots;			/* heads and codes */
	uint32	   *first_list;		/* per node: its list of min_level; those of higher levels follow */
	uint32		n_lists;
	uint32	   *lists;			/* m + 1 words each: count, then indexes into the arrays */
};

static inline const phnsw_slot *
upper_slot(const PhnswUpper *upper, uint32 i)
{
	return (const phnsw_slot *) (upper->slots + i * upper->slot_stride);
}

/* Its list of the level; another node's, or behind all of them, where the node has none. */
static inline const uint32 *
list_of(const PhnswUpper *upper, const PhnswIndex *pi, uint32 i, uint32 level)
{
	return upper->lists + (Size) (upper->first_list[i] + level - upper->min_level) * (pi->m + 1);
}

static inline uint32
end_of_lists(const PhnswUpper *upper, uint32 i)
{
	return i + 1 < upper->n ? upper->first_list[i + 1] : upper->n_lists;
}

static int
compare_ids(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

/* Index of an id, or n. */
static uint32
find_id(const PhnswUpper *upper, uint32 id)
{
	const uint32 *found = bsearch(&id, upper->ids, upper->n, sizeof(uint32), compare_ids);

	return found != NULL ? (uint32) (found - upper->ids) : upper->n;
}

/* The lowest level whose nodes are expected to fit; 0 when none does. */
static uint32
lowest_level(const PhnswIndex *pi, Size bytes_per_node)
{
	double		nodes = pi->meta.nodes.limit;

	for (uint32 level = 1; level <= pi->meta.entry_level; level++)
	{
		nodes /= pi->m;
		if (nodes * bytes_per_node <= PHNSW_UPPER_BYTES_MAX)
			return level;
	}
	return 0;
}

/* All nodes that a breadth-first walk of one level reaches from the entry point. */
static bool
collect_ids(Relation index, PhnswIndex *pi, PhnswUpper *upper, uint32 nodes_max)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "phnsw upper levels", ALLOCSET_DEFAULT_SIZES);
	phnsw_search *seen = phnsw_search_borrow(pi, scratch);
	uint32		links[PHNSW_LINKS_MAX];
	uint32		n = 1;
	phnsw_error error;

	upper->ids = palloc(nodes_max * sizeof(uint32));
	upper->ids[0] = pi->meta.entry;
	phnsw_ensure(phnsw_search_begin(seen, 1, pi->meta.nodes.limit, false, &error), &error);
	phnsw_ensure(phnsw_search_fresh(seen, upper->ids, 1, links, &n, &error), &error);
	upper->n = 1;
	for (uint32 head = 0; head < upper->n && n != PHNSW_NONE; head++)
	{
		CHECK_FOR_INTERRUPTS();
		n = phnsw_links(index, pi, upper->ids[head], upper->min_level, links);
		phnsw_ensure(phnsw_search_fresh(seen, links, n, links, &n, &error), &error);
		if (upper->n + n > nodes_max)
			n = PHNSW_NONE;		/* more nodes than the levels' distribution promises: not worth it */
		else
		{
			memcpy(upper->ids + upper->n, links, n * sizeof(uint32));
			upper->n += n;
			/* Few of them are on one page. */
			if (unlikely(pi->cold))
				phnsw_ask_for_nodes(index, pi, links, n);
		}
	}
	MemoryContextDelete(scratch);
	if (n == PHNSW_NONE)
		return false;
	qsort(upper->ids, upper->n, sizeof(uint32), compare_ids);
	return true;
}

/* Heads, codes, versions; and how many lists there are. */
static uint32
copy_slots(Relation index, PhnswIndex *pi, PhnswUpper *upper)
{
	char	   *slot = palloc(pi->slot_bytes);
	uint32		lists = 0;

	upper->slots = palloc(upper->n * upper->slot_stride);
	upper->versions = palloc(upper->n * sizeof(uint32));
	upper->first_list = palloc(upper->n * sizeof(uint32));
	for (uint32 i = 0; i < upper->n; i++)
	{
		const phnsw_slot *copy = (const phnsw_slot *) slot;

		phnsw_touch_copy(index, pi, &upper->ids[i], 1, slot);
		memcpy(upper->slots + i * upper->slot_stride, slot, upper->slot_stride);
		upper->versions[i] = copy->version;
		upper->first_list[i] = lists;
		/* At least one list each, so that a node that lost its level meanwhile has an empty one. */
		lists += copy->state != PHNSW_SLOT_FREE && copy->level > upper->min_level
			? Min(copy->level, PHNSW_LEVEL_MAX) - upper->min_level + 1 : 1;
	}
	pfree(slot);
	return lists;
}

static void
copy_lists(Relation index, PhnswIndex *pi, PhnswUpper *upper)
{
	uint32		links[PHNSW_LINKS_MAX];

	upper->lists = palloc0((Size) upper->n_lists * (pi->m + 1) * sizeof(uint32));
	for (uint32 i = 0; i < upper->n; i++)
	{
		uint32		end = end_of_lists(upper, i);

		CHECK_FOR_INTERRUPTS();
		for (uint32 list = upper->first_list[i]; list < end; list++)
		{
			uint32	   *copy = upper->lists + (Size) list * (pi->m + 1);
			uint32		level = upper->min_level + (list - upper->first_list[i]);
			uint32		n = phnsw_links(index, pi, upper->ids[i], level, links);

			for (uint32 j = 0; j < n; j++)
			{
				uint32		k = find_id(upper, links[j]);

				if (k < upper->n)
					copy[++copy[0]] = k;
			}
		}
	}
}

static void
drop_copy(PhnswIndex *pi)
{
	if (pi->upper != NULL)
		MemoryContextDelete(pi->upper->context);
	pi->upper = NULL;
	pi->descents = 0;
}

static void
make_copy(Relation index, PhnswIndex *pi)
{
	MemoryContext context;
	MemoryContext old;
	PhnswUpper *upper;
	Size		slot_stride = MAXALIGN(offsetof(phnsw_slot, code) + pi->code_bytes);
	Size		bytes_per_node = slot_stride + 3 * sizeof(uint32) + (pi->m + 1) * sizeof(uint32) * 5 / 4;
	uint32		level = lowest_level(pi, bytes_per_node);

	if (level == 0)
		return;
	/* The transaction's until it is complete: an error half way drops it. */
	context = AllocSetContextCreate(CurrentMemoryContext, "phnsw upper levels", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	upper = palloc0(sizeof(PhnswUpper));
	upper->context = context;
	upper->min_level = level;
	upper->entry_id = pi->meta.entry;
	upper->entry_level = pi->meta.entry_level;
	upper->nodes_limit = pi->meta.nodes.limit;
	upper->slot_stride = slot_stride;
	if (collect_ids(index, pi, upper, 2 * PHNSW_UPPER_BYTES_MAX / bytes_per_node))
	{
		upper->n_lists = copy_slots(index, pi, upper);
		copy_lists(index, pi, upper);
		upper->entry = find_id(upper, upper->entry_id);
		MemoryContextSetParent(context, pi->context);
		pi->upper = upper;
		MemoryContextSwitchTo(old);
	}
	else
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
	}
}

/* Searches one level; entries[] are indexes into the arrays.  Returns how many it found. */
static uint32
descend_level(const PhnswIndex *pi, const PhnswUpper *upper, phnsw_search *search, const phnsw_query *query, uint32 level,
			  phnsw_candidate *entries, uint32 n)
{
	static const uint32 versions[PHNSW_M_MAX];
	const phnsw_slot *slots[PHNSW_M_MAX];
	uint32		fresh[PHNSW_M_MAX];
	float		scores[PHNSW_M_MAX];
	uint32		within[PHNSW_M_MAX];
	uint32		part = phnsw_query_part(query);
	uint32		at;
	float		limit;
	phnsw_error error;

	phnsw_descent_begin(search, query, upper->n, entries, n);
	while (phnsw_search_pop(search, &at))
	{
		const uint32 *list = list_of(upper, pi, at, level);

		phnsw_counters.hops++;
		if (list >= upper->lists + (Size) end_of_lists(upper, at) * (pi->m + 1))
			continue;			/* reached by a stale link */
		phnsw_ensure(phnsw_search_fresh(search, list + 1, list[0], fresh, &n, &error), &error);
		limit = part != 0 ? phnsw_search_limit(search) : get_float4_infinity();
		for (uint32 i = 0; i < n; i++)
		{
			slots[i] = upper_slot(upper, fresh[i]);
			phnsw_prefetch(slots[i], limit < get_float4_infinity() ? offsetof(phnsw_slot, code) + part : upper->slot_stride);
			__builtin_prefetch(list_of(upper, pi, fresh[i], level));
		}
		if (limit < get_float4_infinity())
		{
			uint32		tested = n;

			n = phnsw_query_score_within(query, slots, n, limit, scores, within);
			for (uint32 i = 0; i < n; i++)
			{
				fresh[i] = fresh[within[i]];
				scores[i] = scores[within[i]];
			}
			phnsw_ensure(phnsw_search_pass_over(search, NULL, tested - n, tested, &error), &error);
		}
		else
			phnsw_query_score(query, slots, n, scores);
		phnsw_ensure(phnsw_search_offer(search, fresh, scores, versions, n, &error), &error);
	}
	return phnsw_descent_end(search, entries);
}

void
phnsw_upper_descended(PhnswIndex *pi, int64 blocks_read)
{
	if (pi->descents < PHNSW_UPPER_AFTER_DESCENTS && blocks_read <= PHNSW_UPPER_COLD_BLOCKS)
		pi->descents++;
}

uint32
phnsw_upper_descend(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query, uint32 level,
					phnsw_candidate *entry)
{
	PhnswUpper *upper = pi->upper;
	phnsw_candidate entries[PHNSW_DESCENT_EF];
	const phnsw_slot *slot;
	uint32		n = 1;
	uint32		at;
	uint32		l;
	uint8		state;
	uint32		version;

	if (upper != NULL && (upper->entry_id != pi->meta.entry || upper->entry_level != pi->meta.entry_level ||
						  upper->nodes_limit + upper->nodes_limit / 4 < pi->meta.nodes.limit))
	{
		drop_copy(pi);
		upper = NULL;
	}
	if (upper == NULL)
	{
		if (pi->descents != PHNSW_UPPER_AFTER_DESCENTS || pi->meta.entry == PHNSW_NONE)
			return PHNSW_NONE;
		pi->descents++;			/* one attempt */
		make_copy(index, pi);
		upper = pi->upper;
		if (upper == NULL)
			return PHNSW_NONE;
	}
	if (level >= upper->entry_level)
		return PHNSW_NONE;

	entries[0] = (phnsw_candidate) {0};
	entries[0].id = upper->entry;
	slot = upper_slot(upper, upper->entry);
	phnsw_query_score(query, &slot, 1, &entries[0].score);
	for (l = upper->entry_level; l > level && l >= upper->min_level; l--)
		n = descend_level(pi, upper, search, query, l, entries, n);
	at = entries[0].id;

	/* Is the node still what the copy says? */
	entry->id = upper->ids[at];
	entry->expanded = 0;
	phnsw_touch(index, pi, query, &entry->id, 1, &entry->score, &version, &state);
	entry->version = version;
	if (state == PHNSW_SLOT_FREE || version != upper->versions[at])
	{
		drop_copy(pi);
		return PHNSW_NONE;
	}
	return l;
}
