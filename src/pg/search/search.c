/*
 * search.c
 *    The search of one level over shared buffers: lists of links, the loop of hops, the descent to a level.
 *
 * The core's machine decides what is expanded (core/graph/README.md), touch.c reads and scores.  A list of level 0 is
 * read at a glance (glance.h); those of upper levels, which a warm backend has copies of (upper.c), under a lock.
 */
#include "phnsw.h"

#include "miscadmin.h"
#include "search/glance.h"
#include "utils/float.h"

/*
 * What a hop should ask memory for at once.  A hop with less expands the next candidate as well: it is
 * likely to be expanded anyway, and the loads of both overlap.
 */
#define PHNSW_HOP_BYTES 4096
/* Lists of a hop, besides its first, that are asked for before the first is read. */
#define PHNSW_HOP_LISTS 4
/* Lists behind a hop whose nodes are asked of the disk, while it has to be waited for. */
#define PHNSW_COLD_LISTS 8

/* Leaves out ids that do not exist, after one look at the meta page's present limit. */
static uint32
keep_known(Relation index, PhnswIndex *pi, uint32 *links, uint32 n)
{
	uint32		kept = 0;
	uint32		largest = 0;
	bool		refreshed = false;

	for (uint32 i = 0; i < n; i++)
		largest = Max(largest, links[i]);
	if (likely(largest < pi->meta.nodes.limit))
		return n;
	for (uint32 i = 0; i < n; i++)
	{
		if (links[i] >= pi->meta.nodes.limit && !refreshed)
		{
			phnsw_index_refresh(index, pi);
			refreshed = true;
		}
		if (links[i] < pi->meta.nodes.limit)
			links[kept++] = links[i];
	}
	return kept;
}

/* Links on a level above 0, through the chain of aux records. */
static uint32
upper_links(Relation index, PhnswIndex *pi, uint32 id, uint32 version, uint32 upper, uint32 level, uint32 *links)
{
	for (uint32 step = 0; step < PHNSW_LEVEL_MAX && upper != PHNSW_NONE; step++)
	{
		uint32		place;
		BlockNumber block = phnsw_aux_block(index, pi, upper, &place);
		Buffer		buffer = phnsw_pin(index, pi, block);
		Page		page = BufferGetPage(buffer);
		phnsw_aux  *aux;
		uint32		n = 0;
		bool		found;

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		phnsw_page_check(index, block, page, PHNSW_PAGE_AUX);
		aux = phnsw_page_aux(pi, page, place);
		if (aux->kind != PHNSW_AUX_UPPER || aux->node != id || aux->version != version)
		{
			/* The node was freed since its slot was read: the chain has ended. */
			UnlockReleaseBuffer(buffer);
			return 0;
		}
		if (aux->count > pi->m)
			phnsw_corrupt(index, block, place, "an upper level list has more links than M");
		found = aux->level == level;
		upper = aux->next;
		if (found)
		{
			n = aux->count;
			memcpy(links, phnsw_aux_links(aux), n * sizeof(uint32));
		}
		UnlockReleaseBuffer(buffer);
		if (found)
			return n;
	}
	return 0;
}

/* The links of level 0 at a glance: their number, or PHNSW_NONE when it takes a closer look. */
static uint32
glance_at_links(Relation index, PhnswIndex *pi, BlockNumber block, uint32 place, uint32 *links)
{
	PhnswGlance glance;
	const phnsw_slot *slot;
	uint32		n;

	if (!phnsw_glance_begin(&glance, index, pi, block))
		return PHNSW_NONE;
	slot = phnsw_page_slot(pi, glance.page, place);
	n = *(const volatile uint16 *) &slot->count;	/* read once: it is checked and then used */
	if (slot->state == PHNSW_SLOT_FREE || n > 2 * pi->m)
		return PHNSW_NONE;
	memcpy(links, phnsw_slot_links_const(slot, pi->code_bytes), n * sizeof(uint32));
	return phnsw_glance_end(&glance) ? n : PHNSW_NONE;
}

uint32
phnsw_links(Relation index, PhnswIndex *pi, uint32 id, uint32 level, uint32 *links)
{
	uint32		place;
	BlockNumber block = phnsw_node_block(index, pi, id, &place);
	Buffer		buffer;
	phnsw_slot *slot;
	uint32		n = level == 0 ? glance_at_links(index, pi, block, place, links) : PHNSW_NONE;
	uint32		upper = PHNSW_NONE;
	uint32		version;

	if (n != PHNSW_NONE)
		return keep_known(index, pi, links, n);

	n = 0;
	buffer = phnsw_pin(index, pi, block);
	slot = phnsw_page_slot(pi, BufferGetPage(buffer), place);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	version = slot->version;
	if (slot->state != PHNSW_SLOT_FREE && level <= slot->level)
	{
		if (level > 0)
			upper = slot->upper;
		else
		{
			n = slot->count;
			if (n > 2 * pi->m)
				phnsw_corrupt(index, block, place, "a list has more links than 2M");
			memcpy(links, phnsw_slot_links(slot, pi->code_bytes), n * sizeof(uint32));
		}
	}
	UnlockReleaseBuffer(buffer);

	if (upper != PHNSW_NONE)
		n = upper_links(index, pi, id, version, upper, level, links);
	return keep_known(index, pi, links, n);
}

/*
 * Asks for the lists of the candidates that are likely to join this hop.  Their codes came with an earlier one,
 * their lists did not: read one after the other, each would be waited for.
 */
static inline void
ask_for_lists(const phnsw_search *search, Relation index, PhnswIndex *pi)
{
	uint32		nodes[PHNSW_HOP_LISTS];
	uint32		n = phnsw_search_upcoming(search, nodes, PHNSW_HOP_LISTS);

	for (uint32 i = 0; i < n; i++)
	{
		uint32		place;
		Buffer		buffer = phnsw_glance_where(pi, phnsw_node_block(index, pi, nodes[i], &place));

		if (buffer != InvalidBuffer)
			phnsw_prefetch((const char *) phnsw_slot_links_const(phnsw_page_slot(pi, BufferGetPage(buffer), place),
																 pi->code_bytes),
						   2 * pi->m * sizeof(uint32));
	}
}

/*
 * Asks the disk for the nodes of a hop and, behind them, for those that the next candidates lead to: they are likely to
 * be wanted in the hops to come, and a disk is kept busy by several hops better than by one.
 */
static pg_noinline void
ask_for_nodes(const phnsw_search *search, Relation index, PhnswIndex *pi, const uint32 *fresh, uint32 n)
{
	uint32		nodes[PHNSW_COLD_LISTS];
	uint32		links[PHNSW_LINKS_MAX];

	phnsw_ask_for_nodes(index, pi, fresh, n);
	n = phnsw_search_upcoming(search, nodes, PHNSW_COLD_LISTS);
	for (uint32 i = 0; i < n; i++)
	{
		uint32		place;
		BlockNumber block = phnsw_node_block(index, pi, nodes[i], &place);
		uint32		more = glance_at_links(index, pi, block, place, links);

		if (more != PHNSW_NONE)
			phnsw_ask_for_nodes(index, pi, links, more);
	}
}

/*
 * Scores the nodes of a hop and offers them; those that cannot enter the window need no whole score.
 * Returns how many have one: they come to the front of fresh.
 */
static inline uint32
score_hop(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query, uint32 *fresh, uint32 n,
		  float *scores)
{
	uint32		versions[PHNSW_LINKS_MAX];
	uint32		scored = n;
	float		limit = phnsw_query_part(query) != 0 ? phnsw_search_limit(search) : get_float4_infinity();
	phnsw_error error;

	if (limit < get_float4_infinity())
	{
		scored = phnsw_touch_within(index, pi, query, limit, fresh, n, scores, versions);
		phnsw_ensure(phnsw_search_pass_over(search, fresh + scored, n - scored, n, &error), &error);
	}
	else
		phnsw_touch(index, pi, query, fresh, n, scores, versions, NULL);
	phnsw_ensure(phnsw_search_offer(search, fresh, scores, versions, scored, &error), &error);
	return scored;
}

void
phnsw_search_score_rest(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query)
{
	uint32		ids[PHNSW_LINKS_MAX];
	float		scores[PHNSW_LINKS_MAX];
	uint32		versions[PHNSW_LINKS_MAX];
	uint32		n;
	phnsw_error error;

	while ((n = phnsw_search_unscored(search, ids, PHNSW_LINKS_MAX)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		phnsw_touch(index, pi, query, ids, n, scores, versions, NULL);
		phnsw_ensure(phnsw_search_offer(search, ids, scores, versions, n, &error), &error);
	}
}

bool
phnsw_search_until(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query, uint32 level,
				   float enough)
{
	uint32		links[PHNSW_LINKS_MAX];
	uint32		fresh[PHNSW_LINKS_MAX];
	float		scores[PHNSW_LINKS_MAX];
	uint32		hop_nodes = PHNSW_HOP_BYTES / (offsetof(phnsw_slot, code) + pi->code_bytes);
	bool		several = level == 0 && hop_nodes > pi->m;	/* lists in a hop */
	uint32		node;
	bool		found = false;
	phnsw_error error;

	while (phnsw_search_pop(search, &node))
	{
		uint32		n = 0;

		CHECK_FOR_INTERRUPTS();
		if (several)
			ask_for_lists(search, index, pi);
		do
		{
			uint32		more = phnsw_links(index, pi, node, level, links);

			phnsw_counters.hops++;
			phnsw_ensure(phnsw_search_fresh(search, links, more, fresh + n, &more, &error), &error);
			n += more;
		} while (n < hop_nodes && n + 2 * pi->m <= PHNSW_LINKS_MAX && phnsw_search_pop(search, &node));
		if (n == 0)
			continue;
		if (unlikely(pi->cold) && level == 0)
			ask_for_nodes(search, index, pi, fresh, n);
		n = score_hop(index, pi, search, query, fresh, n, scores);
		for (uint32 i = 0; i < n; i++)
			found |= scores[i] <= enough;
		if (unlikely(found))
			return true;
	}
	return false;
}

void
phnsw_search_level(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query, uint32 level)
{
	phnsw_search_until(index, pi, search, query, level, -get_float4_infinity());
}

/* ---- descent --------------------------------------------------------------------------------- */

void
phnsw_descent_begin(phnsw_search *search, const phnsw_query *query, uint32 id_limit, const phnsw_candidate *entries,
					uint32 n)
{
	uint32		ids[PHNSW_DESCENT_EF];
	float		scores[PHNSW_DESCENT_EF];
	uint32		versions[PHNSW_DESCENT_EF];
	phnsw_error error;

	phnsw_ensure(phnsw_search_begin(search, PHNSW_DESCENT_EF, id_limit, false, &error), &error);
	phnsw_search_stop_beyond(search, 1, PHNSW_DESCENT_SLACK, query != NULL ? phnsw_query_offset(query) : 0);
	phnsw_search_forget_beyond(search);
	for (uint32 i = 0; i < n; i++)
	{
		ids[i] = entries[i].id;
		scores[i] = entries[i].score;
		versions[i] = entries[i].version;
	}
	phnsw_ensure(phnsw_search_offer(search, ids, scores, versions, n, &error), &error);
}

uint32
phnsw_descent_end(const phnsw_search *search, phnsw_candidate *entries)
{
	uint32		n;
	const phnsw_candidate *window = phnsw_search_window(search, &n);

	memcpy(entries, window, n * sizeof(phnsw_candidate));
	return n;
}

/*
 * The entry point, scored; false when the index is empty.  An empty index is not looked at again: a bulk insert may be
 * replacing it by another build, which is for the next phnsw_index_open() to find.
 */
static bool
entry_point(Relation index, PhnswIndex *pi, const phnsw_query *query, phnsw_candidate *entry)
{
	while (pi->meta.entry != PHNSW_NONE)
	{
		uint32		version = pi->meta.entry_version;
		uint8		state;

		entry->id = pi->meta.entry;
		entry->expanded = 0;
		phnsw_touch(index, pi, query, &entry->id, 1, &entry->score, &entry->version, &state);
		if (state != PHNSW_SLOT_FREE)
			return true;
		/* Vacuum has replaced the entry point before it freed it: look again. */
		phnsw_index_refresh(index, pi);
		if (pi->meta.entry == entry->id && pi->meta.entry_version == version)
			break;				/* corrupted: phnsw_check() tells */
	}
	return false;
}

uint32
phnsw_descend(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query, uint32 level,
			  phnsw_candidate *entry)
{
	phnsw_candidate entries[PHNSW_DESCENT_EF];
	uint32		n = 1;
	int64		read_before = pgBufferUsage.shared_blks_read;
	uint32		l = phnsw_upper_descend(index, pi, search, query, level, entries);
	bool		copied = l != PHNSW_NONE;

	if (!copied)
	{
		if (!entry_point(index, pi, query, entries))
			return 0;
		l = pi->meta.entry_level;
	}
	for (; l > level; l--)
	{
		phnsw_descent_begin(search, query, pi->meta.nodes.limit, entries, n);
		phnsw_search_level(index, pi, search, query, l);
		n = phnsw_descent_end(search, entries);
	}
	*entry = entries[0];
	if (!copied)
		phnsw_upper_descended(index, pi, pgBufferUsage.shared_blks_read - read_before);
	return 1;
}
