/*
 * upper.c
 *    The upper levels of the graph, copied into the backend.
 *
 * Every search starts with a descent through the upper levels: some 150 nodes, the same few thousand
 * over and over.  After a few descents through pages a backend begins to copy the levels that fit its
 * budget (codes and lists; one node in M has any), some nodes behind each descent (upper_copy.c), and
 * when it has them descends in its own memory, several times faster.
 *
 * The copy is a hint like every link: it may be older than the pages, so the node where a descent ends
 * is looked up on its page before it is used, and the copy is dropped when that node is gone, when the
 * entry point has moved, or when the index has grown by a quarter.
 *
 * Making it touches every page that it comes from.  After a start of the server these are on disk, and a query must not
 * wait for thousands of them: so only descents count that found (nearly) all their pages in shared buffers.
 *
 * Owner: a child of the description's memory context.  No locks are held across calls.
 */
#include "search/upper.h"

#include "miscadmin.h"
#include "utils/float.h"

/* A short-lived connection does not earn the copy back. */
#define PHNSW_UPPER_AFTER_DESCENTS 12
/*
 * A descent that had to read more blocks does not count.  With some 150
 * touches it says that one block in 40 is missing.
 */
#define PHNSW_UPPER_COLD_BLOCKS    4

/* A node's list of the level; another node's, or behind all of them, where it has none. */
static inline const uint32 *
list_of(const PhnswUpper *upper, const PhnswIndex *pi, uint32 i, uint32 level)
{
	return phnsw_upper_list(upper, pi, upper->first_list[i] + level - upper->min_level);
}

static inline uint32
end_of_lists(const PhnswUpper *upper, uint32 i)
{
	return i + 1 < upper->n ? upper->first_list[i + 1] : upper->n_lists;
}

/* Searches one level; entries[] are indexes into the arrays.  Returns how many it found. */
static uint32
descend_level(const PhnswIndex *pi, const PhnswUpper *upper, phnsw_search *search, const phnsw_query *query,
			  uint32 level, phnsw_candidate *entries, uint32 n)
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
		if (list >= phnsw_upper_list(upper, pi, end_of_lists(upper, at)))
			continue;			/* reached by a stale link */
		phnsw_ensure(phnsw_search_fresh(search, list + 1, list[0], fresh, &n, &error), &error);
		limit = part != 0 ? phnsw_search_limit(search) : get_float4_infinity();
		for (uint32 i = 0; i < n; i++)
		{
			slots[i] = phnsw_upper_slot(upper, fresh[i]);
			phnsw_prefetch(slots[i],
						   limit < get_float4_infinity() ? offsetof(phnsw_slot, code) + part : upper->slot_stride);
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
phnsw_upper_descended(Relation index, PhnswIndex *pi, int64 blocks_read)
{
	if (blocks_read > PHNSW_UPPER_COLD_BLOCKS)
		return;
	if (pi->upper == NULL)
	{
		/* PG_UINT32_MAX: never again. */
		if (pi->descents < PHNSW_UPPER_AFTER_DESCENTS)
			pi->descents++;
		else if (pi->descents == PHNSW_UPPER_AFTER_DESCENTS && pi->meta.entry != PHNSW_NONE)
		{
			pi->descents++;		/* one attempt */
			phnsw_upper_begin(pi);
		}
	}
	if (pi->upper != NULL && !pi->upper->complete)
		phnsw_upper_go_on(index, pi);
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

	if (upper == NULL)
		return PHNSW_NONE;
	if (upper->entry_id != pi->meta.entry || upper->entry_level != pi->meta.entry_level ||
		upper->nodes_limit + upper->nodes_limit / 4 < pi->meta.nodes.limit)
	{
		phnsw_upper_drop(pi, false);
		return PHNSW_NONE;
	}
	if (!upper->complete)
		return PHNSW_NONE;
	if (level >= upper->entry_level)
		return PHNSW_NONE;

	entries[0] = (phnsw_candidate) {0};
	slot = phnsw_upper_slot(upper, 0);	/* the entry point's */
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
		phnsw_upper_drop(pi, false);
		return PHNSW_NONE;
	}
	return l;
}
