/*
 * vacuum_attach.c
 *    After repair: a way to every live node.
 *
 * Repair looks at one list at a time and may drop the last link to a node; so may an insert that was cut short by
 * a crash.  One walk over level 0 (reach.c) finds the nodes that no search can find any more.  Each is searched
 * for, with its own code as the query; whatever the search meets can be reached, so a link from there back to the
 * lost node makes it reachable too, and everything that it leads to.
 *
 * The link goes into the nearest list with room.  If none of the nearest has room, it replaces a link p -> v for which
 * p has another link p -> w with w -> v, so that v stays reachable; failing that the farthest of the nearest list,
 * whose owner has the most to offer around itself, and the lost node leads on to that.
 */
#include "vacuum/vacuum.h"

#include <float.h>
#include <math.h>

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/float.h"

/* ---- search with a node's own code ----------------------------------------------------------- */

/* Nodes that the search may choose from. */
#define ATTACH_EF_MIN 32

/* Links that walk_away() follows. */
#define WALK_STEPS 32

typedef struct Attach
{
	PhnswVacuum *v;
	phnsw_search *search;
	PhnswReach	reach;
	phnsw_slot *lost;			/* copy of the node to be attached */
	char	   *hop;			/* copies of one hop's nodes */
	char	   *list;			/* copies of one list's nodes */
} Attach;

static void
score(Attach *a, const uint32 *ids, uint32 n, float *scores, uint32 *versions)
{
	PhnswIndex *pi = a->v->pi;

	phnsw_touch_copy(a->v->index, pi, ids, n, a->hop);
	for (uint32 i = 0; i < n; i++)
	{
		const phnsw_slot *slot = (phnsw_slot *) (a->hop + (Size) i * pi->slot_bytes);

		scores[i] = slot->state == PHNSW_SLOT_FREE ? get_float4_infinity() :
			phnsw_codec_distance(pi->codec, a->lost, slot);
		versions[i] = slot->version;
	}
}

/* Dead nodes would lead to others that are lost, and among themselves those cannot help each other. */
static uint32
keep_reached(const Attach *a, uint32 *links, uint32 n)
{
	uint32		kept = 0;

	for (uint32 i = 0; i < n; i++)
	{
		if (links[i] < a->reach.limit && phnsw_bit(a->reach.reached, links[i]) && !phnsw_is_dead(a->v, links[i]))
			links[kept++] = links[i];
	}
	return kept;
}

/* Searches one level from `entry`, among nodes that can be reached; leaves the result in the machine's window. */
static void
search_level(Attach *a, const phnsw_candidate *entry, uint32 level, uint32 ef)
{
	PhnswIndex *pi = a->v->pi;
	uint32		links[PHNSW_LINKS_MAX];
	uint32		fresh[PHNSW_LINKS_MAX];
	float		scores[PHNSW_LINKS_MAX];
	uint32		versions[PHNSW_LINKS_MAX];
	uint32		node;
	phnsw_error error;

	phnsw_ensure(phnsw_search_begin(a->search, ef, pi->meta.nodes.limit, false, &error), &error);
	phnsw_ensure(phnsw_search_offer(a->search, &entry->id, &entry->score, &entry->version, 1, &error), &error);
	while (phnsw_search_pop(a->search, &node))
	{
		uint32		n = phnsw_links(a->v->index, pi, node, level, links);

		CHECK_FOR_INTERRUPTS();
		n = keep_reached(a, links, n);
		phnsw_ensure(phnsw_search_fresh(a->search, links, n, fresh, &n, &error), &error);
		if (n == 0)
			continue;
		score(a, fresh, n, scores, versions);
		phnsw_ensure(phnsw_search_offer(a->search, fresh, scores, versions, n, &error), &error);
	}
}

/* The nearest nodes of level 0, in the machine's window; false when the index has no entry point. */
static bool
search(Attach *a)
{
	PhnswIndex *pi = a->v->pi;
	phnsw_candidate entry = {.id = pi->meta.entry};

	if (entry.id == PHNSW_NONE)
		return false;
	score(a, &entry.id, 1, &entry.score, &entry.version);
	for (uint32 level = pi->meta.entry_level; level > 0; level--)
	{
		uint32		n;
		const phnsw_candidate *window;

		search_level(a, &entry, level, 1);
		window = phnsw_search_window(a->search, &n);
		if (n > 0)
			entry = window[0];
		entry.expanded = 0;
	}
	search_level(a, &entry, 0, Max(pi->meta.ef_construction, ATTACH_EF_MIN));
	return true;
}

/* ---- writing one list ------------------------------------------------------------------------ */

/* Replaces a node's list if it is still the copy's. */
static bool
write_list(PhnswVacuum *v, uint32 id, const phnsw_slot *copy, const uint32 *links, uint32 count)
{
	PhnswIndex *pi = v->pi;
	uint32		place;
	BlockNumber block = phnsw_node_block(v->index, pi, id, &place);
	Buffer		buffer = phnsw_pin(v->index, pi, block);
	PhnswWal   *wal;
	phnsw_slot *slot;
	bool		same;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	wal = phnsw_wal_start(v->index);
	slot = phnsw_wal_slot(wal, pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), place);
	same = slot->state == PHNSW_SLOT_LIVE && slot->version == copy->version && slot->count == copy->count &&
		memcmp(phnsw_slot_links(slot, pi->code_bytes), phnsw_slot_links_const(copy, pi->code_bytes),
			   copy->count * sizeof(uint32)) == 0;
	if (same)
	{
		memcpy(phnsw_slot_links(slot, pi->code_bytes), links, count * sizeof(uint32));
		slot->count = count;
		phnsw_wal_finish(wal);
	}
	UnlockReleaseBuffer(buffer);
	return same;
}

static bool
names(const PhnswIndex *pi, const phnsw_slot *slot, uint32 id)
{
	return phnsw_contains(phnsw_slot_links_const(slot, pi->code_bytes), Min(slot->count, 2 * pi->m), id);
}

/*
 * The entry of a full list that may give way: the farthest that another entry leads to, or (any) simply the farthest.
 * Returns the list's length when there is none.
 */
static uint32
victim(Attach *a, const phnsw_slot *owner, bool any)
{
	PhnswIndex *pi = a->v->pi;
	const uint32 *links = phnsw_slot_links_const(owner, pi->code_bytes);
	uint32		n = owner->count;
	uint32		best = n;
	float		best_distance = -1;

	phnsw_touch_copy(a->v->index, pi, links, n, a->list);
	for (uint32 i = 0; i < n; i++)
	{
		const phnsw_slot *slot = (phnsw_slot *) (a->list + (Size) i * pi->slot_bytes);
		float		distance = phnsw_codec_distance(pi->codec, owner, slot);
		bool		led_to = any || slot->state != PHNSW_SLOT_LIVE;

		for (uint32 j = 0; j < n && !led_to; j++)
			led_to = j != i && names(pi, (phnsw_slot *) (a->list + (Size) j * pi->slot_bytes), links[i]);
		if (led_to && distance > best_distance)
		{
			best = i;
			best_distance = distance;
		}
	}
	return best;
}

/*
 * A link from the lost node to one that is about to lose its own: in a free place, in place of a node that has been
 * reached without the lost one, or of one that another of its links leads to.
 */
static bool
lead_on(Attach *a, uint32 lost, uint32 node)
{
	PhnswIndex *pi = a->v->pi;
	uint32		links[PHNSW_LINKS_MAX];
	uint32		count;
	uint32		at = 0;

	phnsw_touch_copy(a->v->index, pi, &lost, 1, (char *) a->lost);
	count = a->lost->count;
	if (a->lost->state != PHNSW_SLOT_LIVE || count > 2 * pi->m)
		return false;
	if (node == lost || names(pi, a->lost, node))
		return true;
	memcpy(links, phnsw_slot_links(a->lost, pi->code_bytes), count * sizeof(uint32));
	if (count < 2 * pi->m)
		at = count++;
	else
	{
		while (at < count && !(links[at] < a->reach.limit && phnsw_bit(a->reach.reached, links[at])))
			at++;
		if (at == count)
			at = victim(a, a->lost, false);
		if (at == count)
			return false;
	}
	links[at] = node;
	return write_list(a->v, lost, a->lost, links, count);
}

/* Writes a link from `from` to the lost node; with `replace` also into a full list. */
static bool
link_to(Attach *a, uint32 from, uint32 lost, bool replace, bool any)
{
	PhnswIndex *pi = a->v->pi;
	phnsw_slot *copy = (phnsw_slot *) a->hop;
	uint32		links[PHNSW_LINKS_MAX];
	uint32		count;

	phnsw_touch_copy(a->v->index, pi, &from, 1, a->hop);
	count = copy->count;
	if (copy->state != PHNSW_SLOT_LIVE || count > 2 * pi->m || names(pi, copy, lost))
		return false;
	memcpy(links, phnsw_slot_links(copy, pi->code_bytes), count * sizeof(uint32));
	if (count < 2 * pi->m)
		links[count++] = lost;
	else
	{
		uint32		i = replace ? victim(a, copy, any) : count;

		if (i == count)
			return false;
		/* Perhaps the only way to a whole cluster. */
		if (any)
			lead_on(a, lost, links[i]);
		links[i] = lost;
	}
	return write_list(a->v, from, copy, links, count);
}

/* A lost node without links of its own gets some of what the search has found. */
static void
give_links(Attach *a, uint32 lost, const uint32 *found, uint32 n)
{
	PhnswIndex *pi = a->v->pi;
	const phnsw_slot *slots[PHNSW_LINKS_MAX];
	float		distances[PHNSW_LINKS_MAX];
	uint16		chosen[PHNSW_LINKS_MAX];
	uint32		links[PHNSW_LINKS_MAX];
	uint32		count;

	n = Min(n, PHNSW_LINKS_MAX);
	phnsw_touch_copy(a->v->index, pi, found, n, a->list);
	for (uint32 i = 0; i < n; i++)
	{
		slots[i] = (phnsw_slot *) (a->list + (Size) i * pi->slot_bytes);
		distances[i] = phnsw_codec_distance(pi->codec, a->lost, slots[i]);
		if (!isfinite(distances[i]))
			distances[i] = FLT_MAX;
	}
	count = phnsw_select(pi->codec, slots, distances, found, n, pi->m, chosen);
	for (uint32 i = 0; i < count; i++)
		links[i] = found[chosen[i]];
	write_list(a->v, lost, a->lost, links, count);
}

static void
attach(Attach *a, uint32 lost)
{
	PhnswIndex *pi = a->v->pi;
	const phnsw_candidate *window;
	uint32		window_n;
	uint32	   *found;
	uint32		n = 0;
	bool		done = false;

	phnsw_touch_copy(a->v->index, pi, &lost, 1, (char *) a->lost);
	if (a->lost->state != PHNSW_SLOT_LIVE || !search(a))
		return;
	window = phnsw_search_window(a->search, &window_n);
	found = palloc(window_n * sizeof(uint32) + 1);
	for (uint32 i = 0; i < window_n; i++)
	{
		uint32		id = window[i].id;

		if (id != lost && isfinite(window[i].score))
			found[n++] = id;
	}
	if (a->lost->count == 0 && n > 0)
		give_links(a, lost, found, n);
	for (uint32 i = 0; i < n && !done; i++)
		done = link_to(a, found[i], lost, false, false);
	for (uint32 i = 0; i < n && !done; i++)
		done = link_to(a, found[i], lost, true, false);
	for (uint32 i = 0; i < n && !done; i++)
		done = link_to(a, found[i], lost, true, true);
	pfree(found);
}

/* Live nodes of a page that were not reached.  Most pages have no node to ask about and are not read. */
static uint32
find_lost(Attach *a, uint32 first, uint32 count, uint32 *lost)
{
	PhnswVacuum *v = a->v;
	Buffer		buffer = InvalidBuffer;
	uint32		n = 0;

	for (uint32 i = 0; i < count; i++)
	{
		uint32		id = first + i;

		if (phnsw_bit(a->reach.reached, id) || phnsw_is_dead(v, id))
			continue;
		if (buffer == InvalidBuffer)
		{
			uint32		place;

			buffer = phnsw_pin(v->index, v->pi, phnsw_node_block(v->index, v->pi, first, &place));
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
		}
		if (phnsw_page_slot(v->pi, BufferGetPage(buffer), i)->state == PHNSW_SLOT_LIVE)
			lost[n++] = id;
	}
	if (buffer != InvalidBuffer)
		UnlockReleaseBuffer(buffer);
	return n;
}

/*
 * Where the walk starts: not at the entry point itself but some steps away from it, among nodes that have nodes
 * before them.  A search meets level 0 somewhere else every time, so a node that only the entry point leads to is as
 * good as lost; and the entry point too needs a link that leads to it.
 */
static uint32
walk_away(PhnswVacuum *v, uint32 node)
{
	uint32		links[PHNSW_LINKS_MAX];

	for (uint32 step = 0; step < WALK_STEPS; step++)
	{
		uint32		n = phnsw_links(v->index, v->pi, node, 0, links);
		uint32		i = 0;

		while (i < n && phnsw_is_dead(v, links[(step + i) % n]))
			i++;
		if (i == n)
			break;
		node = links[(step + i) % n];
	}
	return node;
}

void
phnsw_vacuum_attach(PhnswVacuum *v)
{
	PhnswIndex *pi = v->pi;
	Attach		a = {.v = v};
	uint32		start;
	uint32		limit;
	uint32		attached = 0;

	if (pi->meta.entry == PHNSW_NONE)
		return;
	a.search = phnsw_search_borrow(pi, CurrentMemoryContext);
	a.lost = palloc(pi->slot_bytes);
	a.hop = palloc((Size) PHNSW_LINKS_MAX * pi->slot_bytes);
	a.list = palloc((Size) PHNSW_LINKS_MAX * pi->slot_bytes);
	start = walk_away(v, pi->meta.entry);
	/*
	 * Not only nodes of the first look: an insert may have found nothing but dead ones meanwhile.  After
	 * walk_away(), which may learn of more nodes and end at one of them.
	 */
	limit = pi->meta.nodes.limit;
	phnsw_reach_init(&a.reach, limit, v->dead, v->limit);
	phnsw_reach_from(v->index, pi, &a.reach, start);
	for (uint32 first = 0; first < limit; first += pi->slots_per_page)
	{
		uint32		lost[PHNSW_SLOTS_MAX];
		uint32		n = find_lost(&a, first, Min(pi->slots_per_page, limit - first), lost);

		for (uint32 i = 0; i < n; i++)
		{
			if (phnsw_bit(a.reach.reached, lost[i]))
				continue;
			PhnswVacuumDelay();
			attach(&a, lost[i]);
			attached++;
			/* Whatever the node leads to has been found with it. */
			phnsw_reach_from(v->index, pi, &a.reach, lost[i]);
		}
	}
	elog(DEBUG1, "phnsw vacuum of \"%s\": %u dead nodes, %u attached again", RelationGetRelationName(v->index),
		 v->dead_nodes, attached);
}
