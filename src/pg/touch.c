/*
 * touch.c
 *    The hop: from node ids to scores over pinned pages, and the search loop around it.
 *
 * A page touch is what a search costs, so this file is about making it cheap: descriptors and code lines of a whole hop are
 * prefetched through the backend's block-to-buffer map before the first is used, pages are read at a glance where the map
 * leads to them (glance.h) and pinned where not, and ids on one page share either.  Codes are read without a content lock: those of a live slot never change, and a slot
 * that is reused meanwhile has another version, which the caller checks before it believes anything (README.md, Reading).
 *
 * While the pages of hops are not in shared buffers, all those of a hop are asked for before the first is waited for.
 */
#include "phnsw.h"

#include "glance.h"
#include "miscadmin.h"
#include "storage/buf_internals.h"
#include "utils/float.h"
#include "utils/spccache.h"

/* Every so many pins go through ReadBuffer, whose usage count keeps hot pages in the cache. */
#define PHNSW_USAGE_PERIOD 64
#define CACHE_LINE 64


Buffer
phnsw_pin(Relation index, PhnswIndex *pi, BlockNumber block)
{
	static uint32 pins = 0;
	Buffer		buffer;

	phnsw_counters.pins++;
	if (block < pi->map_size && pi->map[block] != InvalidBuffer && ++pins % PHNSW_USAGE_PERIOD != 0 &&
		ReadRecentBuffer(PhnswRelationFile(index), MAIN_FORKNUM, block, pi->map[block]))
		return pi->map[block];

	phnsw_counters.misses++;
	pi->cold = true;
	buffer = ReadBuffer(index, block);
	if (block < pi->map_size)
		pi->map[block] = buffer;
	return buffer;
}

/* Where one node of a hop lives.  Sorted by place, so that nodes on one page come together. */
typedef struct Place
{
	BlockNumber block;
	uint16		slot;
	uint16		position;		/* in the caller's arrays */
} Place;

static inline void
prefetch_slot(const PhnswIndex *pi, const Place *place)
{
	Buffer		buffer = place->block < pi->map_size ? pi->map[place->block] : InvalidBuffer;
	const char *start;
	const char *end;

	if (buffer <= InvalidBuffer)
		return;					/* unknown, or a local buffer */
	__builtin_prefetch(GetBufferDescriptor(buffer - 1));
	start = (const char *) BufferGetBlock(buffer) + PHNSW_PAGE_HEADER + (Size) place->slot * pi->slot_bytes;
	end = start + offsetof(phnsw_slot, code) + pi->code_bytes;
	for (; start < end; start += CACHE_LINE)
	{
		__builtin_prefetch(start);
		/* gcc 12 drops prefetches from loops that it takes for without effect. */
		__asm__ volatile("" ::: "memory");
	}
}

/* Does the map lead to the block?  Looks without a lock: a wrong answer costs time only. */
static inline bool
map_knows(const PhnswIndex *pi, BlockNumber block)
{
	Buffer		buffer = pi->map[block];

	if (buffer <= InvalidBuffer)
		return buffer != InvalidBuffer;
	return GetBufferDescriptor(buffer - 1)->tag.blockNum == block;
}

/*
 * Asks for the blocks of a hop that are not in shared buffers, so that the disk reads them side by side.  Blocks that only
 * the map does not know come into the map.  Called while the hop before needed it too: in memory there is nothing to look for.
 */
static pg_noinline void
ask_for_blocks(Relation index, PhnswIndex *pi, const Place *places, uint32 n)
{
	bool		cold = false;

	if (get_tablespace_io_concurrency(index->rd_rel->reltablespace) > 0)
	{
		for (uint32 i = 0; i < n; i++)
		{
			BlockNumber block = places[i].block;
			PrefetchBufferResult result;

			if (block >= pi->map_size || (i > 0 && places[i - 1].block == block) || map_knows(pi, block))
				continue;
			cold = true;
			result = PrefetchBuffer(index, MAIN_FORKNUM, block);
			if (!BufferIsInvalid(result.recent_buffer))
			{
				phnsw_counters.misses++;
				pi->map[block] = result.recent_buffer;
			}
		}
	}
	pi->cold = cold;
}

/* Places of n <= PHNSW_LINKS_MAX ids, sorted; the whole hop prefetched. */
static void
find_places(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n, Place *places)
{
	for (uint32 i = 0; i < n; i++)
	{
		Place		place;
		uint32		slot;
		uint32		j = i;

		place.block = phnsw_node_block(index, pi, ids[i], &slot);
		place.slot = slot;
		place.position = i;
		prefetch_slot(pi, &place);
		for (; j > 0 && places[j - 1].block > place.block; j--)
			places[j] = places[j - 1];
		places[j] = place;
	}
	if (unlikely(pi->cold))
		ask_for_blocks(index, pi, places, n);
}

/*
 * Scores the n nodes of one page.  A page below the limit is initialised; its identity was checked when it was written and
 * by phnsw_check.
 */
static void
score_page(const PhnswIndex *pi, const phnsw_query *query, Page page, const Place *places, uint32 n,
		   float *scores, uint32 *versions, uint8 *states)
{
	const phnsw_slot *slots[PHNSW_LINKS_MAX];
	float		page_scores[PHNSW_LINKS_MAX];

	for (uint32 i = 0; i < n; i++)
		slots[i] = phnsw_page_slot(pi, page, places[i].slot);
	phnsw_query_score(query, slots, n, page_scores);
	for (uint32 i = 0; i < n; i++)
	{
		uint32		position = places[i].position;
		uint8		state = slots[i]->state;

		scores[position] = state == PHNSW_SLOT_FREE ? get_float4_infinity() : page_scores[i];
		versions[position] = slots[i]->version;
		if (states != NULL)
			states[position] = state;
	}
}

void
phnsw_touch(Relation index, PhnswIndex *pi, const phnsw_query *query, const uint32 *ids, uint32 n,
			float *scores, uint32 *versions, uint8 *states)
{
	Place		places[PHNSW_LINKS_MAX];

	Assert(n <= PHNSW_LINKS_MAX);
	find_places(index, pi, ids, n, places);
	phnsw_counters.touches += n;
	for (uint32 i = 0, same; i < n; i += same)
	{
		BlockNumber block = places[i].block;
		PhnswGlance glance;
		Buffer		buffer;

		for (same = 1; i + same < n && places[i + same].block == block;)
			same++;
		if (phnsw_glance_begin(&glance, index, pi, block))
		{
			score_page(pi, query, glance.page, places + i, same, scores, versions, states);
			if (phnsw_glance_end(&glance))
				continue;
		}
		buffer = phnsw_pin(index, pi, block);
		score_page(pi, query, BufferGetPage(buffer), places + i, same, scores, versions, states);
		ReleaseBuffer(buffer);
	}
}

/* Copies the first `bytes` of the n slots of one page. */
static inline void
copy_slots(const PhnswIndex *pi, Page page, const Place *places, uint32 n, Size bytes, char *slots)
{
	for (uint32 i = 0; i < n; i++)
		memcpy(slots + (Size) places[i].position * pi->slot_bytes, phnsw_page_slot(pi, page, places[i].slot), bytes);
}

void
phnsw_touch_heads(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n, char *slots)
{
	Place		places[PHNSW_LINKS_MAX];
	Size		bytes = offsetof(phnsw_slot, code) + pi->code_bytes;

	for (uint32 done = 0, batch; done < n; done += batch)
	{
		char	   *target = slots + (Size) done * pi->slot_bytes;

		batch = Min(n - done, (uint32) PHNSW_LINKS_MAX);
		find_places(index, pi, ids + done, batch, places);
		phnsw_counters.touches += batch;
		for (uint32 i = 0, same; i < batch; i += same)
		{
			BlockNumber block = places[i].block;
			PhnswGlance glance;
			Buffer		buffer;

			for (same = 1; i + same < batch && places[i + same].block == block;)
				same++;
			if (phnsw_glance_begin(&glance, index, pi, block))
			{
				copy_slots(pi, glance.page, places + i, same, bytes, target);
				if (phnsw_glance_end(&glance))
					continue;
			}
			buffer = phnsw_pin(index, pi, block);
			copy_slots(pi, BufferGetPage(buffer), places + i, same, bytes, target);
			ReleaseBuffer(buffer);
		}
	}
}

void
phnsw_touch_copy(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n, char *slots)
{
	Place		places[PHNSW_LINKS_MAX];

	while (n > 0)
	{
		uint32		batch = Min(n, (uint32) PHNSW_LINKS_MAX);

		find_places(index, pi, ids, batch, places);
		phnsw_counters.touches += batch;
		for (uint32 i = 0; i < batch;)
		{
			BlockNumber block = places[i].block;
			Buffer		buffer = phnsw_pin(index, pi, block);
			Page		page = BufferGetPage(buffer);

			/* The links are copied too, so the page must not change meanwhile. */
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			for (; i < batch && places[i].block == block; i++)
				memcpy(slots + (Size) places[i].position * pi->slot_bytes,
					   phnsw_page_slot(pi, page, places[i].slot), pi->slot_bytes);
			UnlockReleaseBuffer(buffer);
		}
		ids += batch;
		slots += (Size) batch * pi->slot_bytes;
		n -= batch;
	}
}

/* Leaves out ids that do not exist, after one look at the meta page's present limit. */
static uint32
keep_known(Relation index, PhnswIndex *pi, uint32 *links, uint32 n)
{
	uint32		kept = 0;
	bool		refreshed = false;

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

bool
phnsw_search_until(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query, uint32 level, float enough)
{
	uint32		links[PHNSW_LINKS_MAX];
	uint32		fresh[PHNSW_LINKS_MAX];
	float		scores[PHNSW_LINKS_MAX];
	uint32		versions[PHNSW_LINKS_MAX];
	uint32		node;
	bool		found = false;
	phnsw_error error;

	while (phnsw_search_pop(search, &node))
	{
		uint32		n = phnsw_links(index, pi, node, level, links);

		CHECK_FOR_INTERRUPTS();
		phnsw_counters.hops++;
		phnsw_ensure(phnsw_search_fresh(search, links, n, fresh, &n, &error), &error);
		if (n == 0)
			continue;
		phnsw_touch(index, pi, query, fresh, n, scores, versions, NULL);
		phnsw_ensure(phnsw_search_offer(search, fresh, scores, versions, n, &error), &error);
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

/*
 * The entry point, scored; false when the index is empty.  An empty index is not looked at again: a bulk insert may be
 * replacing it by another build, which is for the next phnsw_index_open() to find.
 */
static bool
entry_point(Relation index, PhnswIndex *pi, const phnsw_query *query, phnsw_candidate *entry)
{
	for (int attempt = 0; attempt < 2 && pi->meta.entry != PHNSW_NONE; attempt++)
	{
		uint8		state;

		entry->id = pi->meta.entry;
		entry->expanded = 0;
		phnsw_touch(index, pi, query, &entry->id, 1, &entry->score, &entry->version, &state);
		if (state != PHNSW_SLOT_FREE)
			return true;
		/* Vacuum has replaced the entry point meanwhile: look again. */
		phnsw_index_refresh(index, pi);
	}
	return false;
}

uint32
phnsw_descend(Relation index, PhnswIndex *pi, phnsw_search *search, const phnsw_query *query, uint32 level,
			  phnsw_candidate *entry)
{
	phnsw_error error;
	int64		read_before = pgBufferUsage.shared_blks_read;
	uint32		l = phnsw_upper_descend(index, pi, query, level, entry);
	bool		copied = l != PHNSW_NONE;

	if (!copied)
	{
		if (!entry_point(index, pi, query, entry))
			return 0;
		l = pi->meta.entry_level;
	}
	for (; l > level; l--)
	{
		uint32		n;
		const phnsw_candidate *window;

		phnsw_ensure(phnsw_search_begin(search, 1, pi->meta.nodes.limit, false, &error), &error);
		phnsw_ensure(phnsw_search_offer(search, &entry->id, &entry->score, &entry->version, 1, &error), &error);
		phnsw_search_level(index, pi, search, query, l);
		window = phnsw_search_window(search, &n);
		if (n > 0)
			*entry = window[0];
	}
	if (!copied)
		phnsw_upper_descended(pi, pgBufferUsage.shared_blks_read - read_before);
	return 1;
}
