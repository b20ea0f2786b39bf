/*
 * emit.c
 *    From nodes to heap TIDs: the heap of hits, and the chains of TIDs of equal vectors.
 *
 * A node is believed only under its page's share lock and only while it is LIVE with the version that the search saw
 * (search/README.md).  A TID that is added to a node after that belongs to a row that the scan's snapshot cannot see.
 *
 * A chain is read in batches, each under the share lock of the node's page, which keeps the chain as it is.
 * Between two batches vacuum may take records out, and an insert may put them in again at the head, with
 * TIDs too new for this scan.  So the scan remembers which records it has read; it goes on where it stopped
 * or, when that record has left the chain, from the head, and skips the ones it knows.  Memory: a batch of
 * TIDs and 8 bytes or so per record, which holds ten TIDs or more.
 */
#include "scan/scan.h"

#include <math.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "search/glance.h"

/* Hits that the nearest are looked for among. */
#define PHNSW_ASK_HITS 256

#define PHNSW_CHAIN_BATCH_MIN 16
#define PHNSW_CHAIN_BATCH_MAX 4096

typedef struct VisitedRecord
{
	uint32		id;
	char		status;
} VisitedRecord;

#define SH_PREFIX phnsw_visited
#define SH_ELEMENT_TYPE VisitedRecord
#define SH_KEY_TYPE uint32
#define SH_KEY id
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---- heap ------------------------------------------------------------------------------------ */

void
phnsw_hits_reserve(PhnswScan *so, uint32 n)
{
	uint32		wanted = so->n_hits + n;
	uint32		size;

	if (wanted <= so->hits_max)
		return;
	size = Max(wanted, Max(so->hits_max * 2, 64));
	if (so->hits == NULL)
		so->hits = MemoryContextAllocHuge(so->context, size * sizeof(PhnswHit));
	else
		so->hits = repalloc_huge(so->hits, size * sizeof(PhnswHit));
	so->hits_max = size;
}

void
phnsw_hits_push(PhnswScan *so, const PhnswHit *hit)
{
	uint32		at = so->n_hits++;

	Assert(so->n_hits <= so->hits_max);
	while (at > 0)
	{
		uint32		parent = (at - 1) / 2;

		if (!phnsw_hit_before(hit, &so->hits[parent]))
			break;
		so->hits[at] = so->hits[parent];
		at = parent;
	}
	so->hits[at] = *hit;
}

/* Puts a hit where its subtree's root is missing. */
static void
sift_down(PhnswScan *so, uint32 at, PhnswHit hit)
{
	for (;;)
	{
		uint32		child = 2 * at + 1;

		if (child >= so->n_hits)
			break;
		if (child + 1 < so->n_hits && phnsw_hit_before(&so->hits[child + 1], &so->hits[child]))
			child++;
		if (!phnsw_hit_before(&so->hits[child], &hit))
			break;
		so->hits[at] = so->hits[child];
		at = child;
	}
	so->hits[at] = hit;
}

void
phnsw_hits_pop(PhnswScan *so, PhnswHit *hit)
{
	Assert(so->n_hits > 0);
	*hit = so->hits[0];
	so->n_hits--;
	if (so->n_hits > 0)
		sift_down(so, 0, so->hits[so->n_hits]);
}

void
phnsw_hits_heapify(PhnswScan *so)
{
	for (uint32 i = so->n_hits / 2; i-- > 0;)
		sift_down(so, i, so->hits[i]);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

bool
phnsw_hit_read(const PhnswScan *so, const phnsw_slot *slot, uint32 id, PhnswHit *hit)
{
	if (slot->state != PHNSW_SLOT_LIVE || (slot->tid.offset == 0 && slot->tids == PHNSW_NONE))
		return false;
	hit->bound = 0;
	if (so->kind == PHNSW_QUERY_VECTOR)
	{
		hit->bound = phnsw_query_bound(so->query, slot);
		if (isnan(hit->bound))
			hit->bound = -INFINITY;
	}
	hit->id = id;
	hit->version = slot->version;
	hit->tid = slot->tid;
	hit->chained = slot->tids != PHNSW_NONE;
	return true;
}

/* What phnsw_page_check() reads of a node's page; the search has read the node itself. */
static inline void
prefetch_page(const PhnswScan *so, uint32 id)
{
	uint32		place;
	Buffer		buffer = phnsw_glance_where(so->pi, phnsw_node_block(so->index, so->pi, id, &place));

	if (buffer == InvalidBuffer)
		return;
	__builtin_prefetch(GetBufferDescriptor(buffer - 1));
	__builtin_prefetch(BufferGetBlock(buffer));
	__builtin_prefetch((const char *) BufferGetBlock(buffer) + BLCKSZ - PHNSW_PAGE_SPECIAL);
}

void
phnsw_look_at(PhnswScan *so, const phnsw_candidate *candidates, uint32 n)
{
	phnsw_candidate sorted[PHNSW_LOOK_MAX];
	uint32		i = 0;

	/* By id: neighbours of a query often share a page. */
	Assert(n <= PHNSW_LOOK_MAX);
	for (i = 0; i < n; i++)
	{
		uint32		j = i;

		prefetch_page(so, candidates[i].id);
		for (; j > 0 && sorted[j - 1].id > candidates[i].id; j--)
			sorted[j] = sorted[j - 1];
		sorted[j] = candidates[i];
	}

	phnsw_hits_reserve(so, n);
	for (i = 0; i < n;)
	{
		uint32		place;
		BlockNumber block = phnsw_node_block(so->index, so->pi, sorted[i].id, &place);
		uint32		first = sorted[i].id - place;
		Buffer		buffer = phnsw_pin(so->index, so->pi, block);
		Page		page = BufferGetPage(buffer);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		phnsw_page_check(so->index, block, page, PHNSW_PAGE_NODE);
		for (; i < n && sorted[i].id - first < so->pi->slots_per_page; i++)
		{
			const phnsw_slot *slot = phnsw_page_slot(so->pi, page, sorted[i].id - first);
			PhnswHit	hit;

			if (slot->version == sorted[i].version && phnsw_hit_read(so, slot, sorted[i].id, &hit))
				phnsw_hits_push(so, &hit);
		}
		UnlockReleaseBuffer(buffer);
	}
}

/* ---- rows ------------------------------------------------------------------------------------ */

uint32
phnsw_hits_nearest(const PhnswScan *so, const PhnswHit **nearest, uint32 max)
{
	uint32		hits = Min(so->n_hits, PHNSW_ASK_HITS);
	uint32		n = 0;

	for (uint32 i = 0; i < hits; i++)
	{
		const PhnswHit *hit = &so->hits[i];
		uint32		j = n;

		if (hit->tid.offset == 0 || (n == max && !phnsw_hit_before(hit, nearest[n - 1])))
			continue;
		if (n < max)
			n++;
		else
			j--;
		for (; j > 0 && phnsw_hit_before(hit, nearest[j - 1]); j--)
			nearest[j] = nearest[j - 1];
		nearest[j] = hit;
	}
	return n;
}

void
phnsw_emit_begin(PhnswScan *so, const PhnswHit *hit)
{
	so->current = *hit;
	so->n_tids = 0;
	so->next_tid = 0;
	so->chain_ended = !hit->chained;
	so->chain_next = PHNSW_NONE;
	so->chain_batch = PHNSW_CHAIN_BATCH_MIN;
	if (hit->chained)
	{
		if (so->visited != NULL)
			phnsw_visited_destroy(so->visited);
		so->visited = phnsw_visited_create(so->context, PHNSW_CHAIN_BATCH_MIN, NULL);
	}
}

typedef enum RecordResult
{
	RECORD_READ,
	RECORD_KNOWN,				/* read before */
	RECORD_GONE					/* not in this chain any more */
} RecordResult;

/*
 * Copies the TIDs of one record; *next: the record behind it.  REQUIRES: the node's page is locked, room for a record.
 */
static RecordResult
read_record(PhnswScan *so, uint32 record, uint32 *next)
{
	uint32		place;
	BlockNumber block = phnsw_aux_block(so->index, so->pi, record, &place);
	Buffer		buffer = phnsw_pin(so->index, so->pi, block);
	Page		page = BufferGetPage(buffer);
	phnsw_aux  *aux;
	RecordResult result = RECORD_GONE;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(so->index, block, page, PHNSW_PAGE_AUX);
	aux = phnsw_page_aux(so->pi, page, place);
	if (aux->kind == PHNSW_AUX_TIDS && aux->node == so->current.id && aux->version == so->current.version)
	{
		bool		known;

		if (aux->count > phnsw_aux_tids_max(so->pi->m))
			phnsw_corrupt(so->index, block, place, "an aux record has more TIDs than fit");
		phnsw_visited_insert(so->visited, record, &known);
		if (!known)
		{
			memcpy(so->tids + so->n_tids, phnsw_aux_tids(aux), aux->count * sizeof(phnsw_tid));
			for (uint32 i = 0; i < aux->count; i++)
				so->records[so->n_tids + i] = record;
			so->n_tids += aux->count;
		}
		*next = aux->next;
		result = known ? RECORD_KNOWN : RECORD_READ;
	}
	UnlockReleaseBuffer(buffer);
	return result;
}

/*
 * Walks the chain until a batch is full.  REQUIRES: the node's page is locked.  Returns a
 * record beyond the limit that the backend knows, or PHNSW_NONE.
 */
static uint32
walk_chain(PhnswScan *so, const phnsw_slot *slot)
{
	bool		from_head = so->chain_next == PHNSW_NONE;
	uint32		record = from_head ? slot->tids : so->chain_next;
	uint32		read = 0;
	uint32		skipped = 0;

	while (record != PHNSW_NONE)
	{
		RecordResult result;

		so->chain_next = record;
		if (record >= so->pi->meta.aux.limit)
			return record;
		if (read == so->chain_batch)
			return PHNSW_NONE;
		result = read_record(so, record, &record);
		if (result == RECORD_READ)
			read++;
		else if (result == RECORD_KNOWN && ++skipped > so->visited->members)
			phnsw_corrupt(so->index, 0, record, "a chain of TIDs is a circle");
		else if (result == RECORD_GONE)
		{
			if (from_head)
				break;			/* a chain that really ends so: what is left of it is here */
			from_head = true;
			record = slot->tids;
		}
	}
	so->chain_ended = true;
	return PHNSW_NONE;
}

/* The next batch of the current node's chain. */
static void
read_chain(PhnswScan *so)
{
	uint32		wanted = so->chain_batch * phnsw_aux_tids_max(so->pi->m);
	uint32		unknown = PHNSW_NONE;
	uint32		place;
	BlockNumber block;
	Buffer		buffer;
	const phnsw_slot *slot;

	CHECK_FOR_INTERRUPTS();
	if (so->tids_max < wanted)
	{
		if (so->records != NULL)
			pfree(so->records);
		so->records = NULL;
		so->tids_max = 0;
		/* One piece of memory: the words first, for their alignment. */
		so->records = MemoryContextAlloc(so->context, wanted * (sizeof(uint32) + sizeof(phnsw_tid)));
		so->tids = (phnsw_tid *) (so->records + wanted);
		so->tids_max = wanted;
	}
	so->n_tids = 0;
	so->next_tid = 0;

	block = phnsw_node_block(so->index, so->pi, so->current.id, &place);
	buffer = phnsw_pin(so->index, so->pi, block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	slot = phnsw_page_slot(so->pi, BufferGetPage(buffer), place);
	if (slot->state == PHNSW_SLOT_LIVE && slot->version == so->current.version)
		unknown = walk_chain(so, slot);
	else
		so->chain_ended = true; /* all its rows are dead to everyone */
	UnlockReleaseBuffer(buffer);

	so->chain_batch = Min(so->chain_batch * 2, PHNSW_CHAIN_BATCH_MAX);
	if (unknown != PHNSW_NONE)
	{
		/* The index has grown: look again, but not under the node's lock (../README.md, Lock order). */
		phnsw_index_refresh(so->index, so->pi);
		if (unknown >= so->pi->meta.aux.limit)
			phnsw_corrupt(so->index, block, place, "a chain of TIDs leads beyond the end of the index");
	}
}

bool
phnsw_emit_all(PhnswScan *so, const PhnswHit *hit, uint32 max)
{
	phnsw_emit_begin(so, hit);
	if (hit->chained)
		read_chain(so);
	return so->chain_ended && so->n_tids + (hit->tid.offset != 0) <= max;
}

void
phnsw_emit_end(PhnswScan *so)
{
	so->n_tids = so->next_tid = 0;
	so->current.tid.offset = 0;
	so->chain_ended = true;
}

/* The TIDs wait in `tids`, the slot's own in `current` until it is taken. */
bool
phnsw_emit_next(PhnswScan *so, ItemPointer tid)
{
	for (;;)
	{
		phnsw_tid	next = so->current.tid;

		so->last_record = PHNSW_NONE;
		if (next.offset != 0)
			so->current.tid.offset = 0;
		else if (so->next_tid < so->n_tids)
		{
			so->last_record = so->records[so->next_tid];
			next = so->tids[so->next_tid++];
		}
		else if (so->chain_ended)
			return false;
		else
		{
			read_chain(so);
			continue;
		}
		if (next.offset != 0)
		{
			/* The number of no block means "a new one" to ReadBuffer(): reading the row would make the table longer. */
			if (unlikely((next.block_hi & next.block_lo) == 0xFFFF))
			{
				uint32		place;
				BlockNumber block = phnsw_node_block(so->index, so->pi, so->current.id, &place);

				phnsw_corrupt(so->index, block, place, "a heap TID names no block");
			}
			memcpy(tid, &next, sizeof(phnsw_tid));
			so->last_tid = *tid;
			return true;
		}
	}
}
