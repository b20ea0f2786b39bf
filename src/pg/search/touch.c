/*
 * touch.c
 *    The hop: from node ids to scores over shared buffers.
 *
 * A page touch is what a search costs, so this file is about making it cheap: descriptors and code lines of a
 * whole hop are prefetched through the backend's block-to-buffer map before the first is used, and slots are
 * read at a glance where the map leads to them (glance.h) and pinned where not.  The steps of a hop are loops
 * over all its nodes: find and prefetch, is the buffer valid, score, copy, is it still the same.  Codes are
 * read without a content lock: those of a live slot never change, and a slot that is reused meanwhile has
 * another version, which the caller checks before it believes anything (README.md).
 *
 * While the pages of hops are not in shared buffers, all those of a hop are
 * asked for before the first is waited for (cold.c).
 */
#include "phnsw.h"

#include "miscadmin.h"
#include "search/glance.h"
#include "storage/buf_internals.h"
#include "utils/float.h"

/*
 * Neither a glance nor ReadRecentBuffer() counts as use of a buffer, but PostgreSQL must keep
 * popular pages.  So a glance at a buffer that the clock sweep has brought down to less than this
 * usage count reads it the ordinary way, once in so many times.  While nothing is evicted no count
 * goes down, and no descriptor is written to: other cores keep theirs.
 */
#define PHNSW_USAGE_WANTED 3
#define PHNSW_USAGE_PERIOD 32
/* Pins do not look at the count: every so many go through ReadBuffer(). */
#define PHNSW_PIN_PERIOD 64

/* Pins a block, and counts as use of its buffer. */
static Buffer
read_block(Relation index, PhnswIndex *pi, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(index, block);

	if (block < pi->map_size)
		pi->map[block] = buffer;
	phnsw_asked_forget(pi->asked, PHNSW_ASKED_BLOCKS, block);
	return buffer;
}

Buffer
phnsw_pin(Relation index, PhnswIndex *pi, BlockNumber block)
{
	static uint32 pins = 0;

	phnsw_counters.pins++;
	if (block < pi->map_size && pi->map[block] != InvalidBuffer)
	{
		if (++pins % PHNSW_PIN_PERIOD == 0)
			return read_block(index, pi, block);
		if (ReadRecentBuffer(PhnswRelationFile(index), MAIN_FORKNUM, block, pi->map[block]))
		{
			phnsw_count_hits(index, 1);
			return pi->map[block];
		}
	}
	phnsw_counters.misses++;
	pi->cold = true;
	return read_block(index, pi, block);
}

static inline void
prefetch_slot(const PhnswIndex *pi, Buffer buffer, uint32 place, Size bytes)
{
	const char *start = (const char *) BufferGetBlock(buffer) + PHNSW_PAGE_HEADER + (Size) place * pi->slot_bytes;

	__builtin_prefetch(GetBufferDescriptor(buffer - 1));
	phnsw_prefetch(start, bytes);
}

/* Finds n <= PHNSW_LINKS_MAX nodes, and prefetches what is read of them, so many bytes of each slot. */
static inline void
find_hop(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n, Size bytes, PhnswLook *hop)
{
	hop->n = n;
	for (uint32 i = 0; i < n; i++)
	{
		uint32		place;
		BlockNumber block = phnsw_node_block(index, pi, ids[i], &place);
		Buffer		buffer = phnsw_glance_where(pi, block);

		hop->blocks[i] = block;
		hop->places[i] = place;
		hop->buffers[i] = buffer;
		if (buffer != InvalidBuffer)
			prefetch_slot(pi, buffer, place, bytes);
	}
	if (unlikely(pi->cold))
	{
		pi->cold = phnsw_ask_for_blocks(index, pi, hop->blocks, n);
		for (uint32 i = 0; i < n; i++)
			hop->buffers[i] = phnsw_glance_where(pi, hop->blocks[i]);
	}
}

/* What a slot says, to where the caller wants it. */
static inline void
note_slot(const phnsw_slot *slot, float score, float *score_out, uint32 *version_out, uint8 *state_out)
{
	uint8		state = slot->state;

	*score_out = state == PHNSW_SLOT_FREE ? get_float4_infinity() : score;
	*version_out = slot->version;
	if (state_out != NULL)
		*state_out = state;
}

/* The node at one position of a hop, with a pin. */
static pg_noinline void
touch_pinned(Relation index, PhnswIndex *pi, const phnsw_query *query, const PhnswLook *hop, uint32 at,
			 float *scores, uint32 *versions, uint8 *states)
{
	Buffer		buffer = phnsw_pin(index, pi, hop->blocks[at]);
	const phnsw_slot *slot = phnsw_page_slot(pi, BufferGetPage(buffer), hop->places[at]);
	float		score;

	phnsw_query_score(query, &slot, 1, &score);
	note_slot(slot, score, &scores[at], &versions[at], states == NULL ? NULL : &states[at]);
	ReleaseBuffer(buffer);
}

/* Scores slots at a glance; seen[]: where they stand in the caller's arrays.  limit and beyond: touch(). */
static pg_attribute_always_inline void
score_seen(const phnsw_query *query, const phnsw_slot *const *slots, const uint16 *seen, uint32 n, float limit,
		   bool *beyond, float *scores, uint32 *versions, uint8 *states)
{
	float		slot_scores[PHNSW_LINKS_MAX];
	uint32		within[PHNSW_LINKS_MAX];	/* positions in slots[] */

	if (beyond == NULL)
	{
		phnsw_query_score(query, slots, n, slot_scores);
		for (uint32 i = 0; i < n; i++)
		{
			uint32		at = seen[i];

			note_slot(slots[i], slot_scores[i], &scores[at], &versions[at], states == NULL ? NULL : &states[at]);
		}
	}
	else
	{
		uint32		n_within = phnsw_query_score_within(query, slots, n, limit, slot_scores, within);

		for (uint32 i = 0; i < n; i++)
			beyond[seen[i]] = true;
		for (uint32 i = 0; i < n_within; i++)
		{
			uint32		at = seen[within[i]];

			note_slot(slots[within[i]], slot_scores[within[i]], &scores[at], &versions[at], NULL);
			beyond[at] = false;
		}
	}
}

/*
 * What scores less than `limit`; with beyond NULL, all.  beyond[i]: the i-th node
 * is farther and has no score; false to begin with.
 *
 * Pages are not checked: a page below the limit is initialised; its identity was checked when it was written and by
 * phnsw_check.
 */
static pg_attribute_always_inline void
touch(Relation index, PhnswIndex *pi, const phnsw_query *query, const uint32 *ids, uint32 n, float limit, bool *beyond,
	  float *scores, uint32 *versions, uint8 *states)
{
	static uint32 glances = 0;
	PhnswLook	hop;
	uint32		in_use = n;		/* position that is to count as use of its buffer */
	const phnsw_slot *slots[PHNSW_LINKS_MAX];
	uint16		seen[PHNSW_LINKS_MAX];	/* positions in the caller's arrays: at a glance */
	uint16		unseen[PHNSW_LINKS_MAX];	/* to be pinned */
	uint32		n_seen = 0;
	uint32		n_unseen = 0;
	uint32		n_pins;
	BufferTag	tag;

	Assert(n <= PHNSW_LINKS_MAX);
	find_hop(index, pi, ids, n,
			 beyond == NULL ? phnsw_head_bytes(pi) : offsetof(phnsw_slot, code) + phnsw_query_part(query), &hop);
	phnsw_counters.touches += n;

	for (uint32 i = 0; i < n; i++)
	{
		Buffer		buffer = hop.buffers[i];
		uint32		state = 0;

		if (buffer != InvalidBuffer)
			state = pg_atomic_read_u32(&GetBufferDescriptor(buffer - 1)->state);
		if (likely((state & BM_VALID) != 0))
		{
			slots[n_seen] = phnsw_page_slot(pi, BufferGetPage(buffer), hop.places[i]);
			seen[n_seen++] = i;
			if (unlikely(BUF_STATE_GET_USAGECOUNT(state) < PHNSW_USAGE_WANTED))
				in_use = i;
		}
		else
			unseen[n_unseen++] = i;
	}
	n_pins = n_unseen;

	pg_read_barrier();
	score_seen(query, slots, seen, n_seen, limit, beyond, scores, versions, states);
	pg_read_barrier();

	PhnswInitBufferTag(&tag, &PhnswRelationFile(index), 0);
	for (uint32 i = 0; i < n_seen; i++)
	{
		uint32		at = seen[i];

		tag.blockNum = hop.blocks[at];
		if (unlikely(!phnsw_buffer_holds(GetBufferDescriptor(hop.buffers[at] - 1), &tag)))
			unseen[n_unseen++] = at;
	}
	phnsw_glance_count(index, n_seen - (n_unseen - n_pins));
	for (uint32 i = 0; i < n_unseen; i++)
	{
		touch_pinned(index, pi, query, &hop, unseen[i], scores, versions, states);
		if (beyond != NULL)
			beyond[unseen[i]] = false;
	}
	if (unlikely(in_use < n) && (glances += n) >= PHNSW_USAGE_PERIOD)
	{
		glances = 0;
		ReleaseBuffer(read_block(index, pi, hop.blocks[in_use]));
	}
}

void
phnsw_touch(Relation index, PhnswIndex *pi, const phnsw_query *query, const uint32 *ids, uint32 n,
			float *scores, uint32 *versions, uint8 *states)
{
	touch(index, pi, query, ids, n, 0, NULL, scores, versions, states);
}

uint32
phnsw_touch_within(Relation index, PhnswIndex *pi, const phnsw_query *query, float limit, uint32 *ids, uint32 n,
				   float *scores, uint32 *versions)
{
	bool		beyond[PHNSW_LINKS_MAX] = {false};
	uint32		farther[PHNSW_LINKS_MAX];
	uint32		n_within = 0;
	uint32		n_farther = 0;

	touch(index, pi, query, ids, n, limit, beyond, scores, versions, NULL);
	for (uint32 i = 0; i < n; i++)
	{
		/* Written in any case, which costs less than a branch on what nobody can predict. */
		farther[n_farther] = ids[i];
		ids[n_within] = ids[i];
		scores[n_within] = scores[i];
		versions[n_within] = versions[i];
		n_farther += beyond[i];
		n_within += !beyond[i];
	}
	memcpy(ids + n_within, farther, n_farther * sizeof(uint32));
	return n_within;
}

bool
phnsw_look_begin(Relation index, PhnswIndex *pi, PhnswLook *look, const uint32 *ids, uint32 n, const phnsw_slot **slots)
{
	Assert(n <= PHNSW_LINKS_MAX);
	find_hop(index, pi, ids, n, phnsw_head_bytes(pi), look);
	phnsw_counters.touches += n;
	for (uint32 i = 0; i < n; i++)
	{
		Buffer		buffer = look->buffers[i];

		if (buffer == InvalidBuffer || !phnsw_buffer_valid(GetBufferDescriptor(buffer - 1)))
			return false;
		slots[i] = phnsw_page_slot(pi, BufferGetPage(buffer), look->places[i]);
	}
	pg_read_barrier();
	return true;
}

bool
phnsw_look_end(Relation index, const PhnswLook *look)
{
	BufferTag	tag;

	pg_read_barrier();
	PhnswInitBufferTag(&tag, &PhnswRelationFile(index), 0);
	for (uint32 i = 0; i < look->n; i++)
	{
		tag.blockNum = look->blocks[i];
		if (!phnsw_buffer_holds(GetBufferDescriptor(look->buffers[i] - 1), &tag))
			return false;
	}
	phnsw_glance_count(index, look->n);
	return true;
}

void
phnsw_touch_heads(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n, char *slots, Size stride)
{
	PhnswLook	hop;
	Size		bytes = phnsw_head_bytes(pi);

	for (uint32 done = 0; done < n; done += hop.n)
	{
		find_hop(index, pi, ids + done, Min(n - done, (uint32) PHNSW_LINKS_MAX), bytes, &hop);
		phnsw_counters.touches += hop.n;
		for (uint32 i = 0; i < hop.n; i++)
		{
			char	   *target = slots + (done + i) * stride;
			PhnswGlance glance;
			Buffer		buffer;

			if (phnsw_glance_begin(&glance, index, pi, hop.blocks[i]))
			{
				memcpy(target, phnsw_page_slot(pi, glance.page, hop.places[i]), bytes);
				if (phnsw_glance_end(&glance))
					continue;
			}
			buffer = phnsw_pin(index, pi, hop.blocks[i]);
			memcpy(target, phnsw_page_slot(pi, BufferGetPage(buffer), hop.places[i]), bytes);
			ReleaseBuffer(buffer);
		}
	}
}

void
phnsw_touch_copy(Relation index, PhnswIndex *pi, const uint32 *ids, uint32 n, char *slots)
{
	PhnswLook	hop;

	while (n > 0)
	{
		uint32		batch = Min(n, (uint32) PHNSW_LINKS_MAX);

		find_hop(index, pi, ids, batch, phnsw_head_bytes(pi), &hop);
		phnsw_counters.touches += batch;
		for (uint32 i = 0; i < batch;)
		{
			BlockNumber block = hop.blocks[i];
			Buffer		buffer = phnsw_pin(index, pi, block);
			Page		page = BufferGetPage(buffer);

			/* The links are copied too, so the page must not change meanwhile. */
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			for (; i < batch && hop.blocks[i] == block; i++)
				memcpy(slots + (Size) i * pi->slot_bytes, phnsw_page_slot(pi, page, hop.places[i]), pi->slot_bytes);
			UnlockReleaseBuffer(buffer);
		}
		ids += batch;
		slots += (Size) batch * pi->slot_bytes;
		n -= batch;
	}
}
