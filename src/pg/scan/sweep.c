/*
 * sweep.c
 *    The linear phase of a scan: every node page in block order, the nearest hits kept.
 *
 * Complete where the graph is not: small indexes, rows that no link leads to, rows far beyond what a graph
 * search reaches in reasonable time or memory, queries that have no order at all.  One pass keeps the
 * nearest hits that lie behind the last one returned, as many as fit in half of work_mem; when they are
 * used up the next pass finds the ones behind them.  The bound of a LIVE node never changes (its head and
 * code never do), so the passes neither repeat a node nor leave one out.
 *
 * Nodes that the graph phase has returned are skipped by their ids, which PhnswScan.emitted lists in order.
 */
#include "scan/scan.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

/* Hits that a pass keeps at least and at most, and hits a sweep in any order collects before it returns the first. */
#define PHNSW_SWEEP_HITS_MIN 1024
#define PHNSW_SWEEP_HITS_MAX (64 * 1024 * 1024)
#define PHNSW_SWEEP_ANY_ORDER 64

#define ST_SORT sort_hits
#define ST_ELEMENT_TYPE PhnswHit
#define ST_COMPARE(a, b) (phnsw_hit_before(a, b) ? -1 : phnsw_hit_before(b, a) ? 1 : 0)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_ids
#define ST_ELEMENT_TYPE uint32
#define ST_COMPARE(a, b) (*(a) < *(b) ? -1 : *(a) > *(b) ? 1 : 0)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static const PhnswHit behind_all = {.bound = INFINITY, .id = PHNSW_NONE};

void
phnsw_sweep_begin(PhnswScan *so)
{
	so->phase = PHNSW_SCAN_SWEEP;
	so->n_hits = 0;
	so->found = NULL;
	so->n_found = so->next_found = 0;
	if (so->search != NULL)
	{
		/* Gives the machine back. */
		MemoryContextReset(so->search_context);
		so->search = NULL;
	}

	/* Hits at the bound of the last one returned are still wanted, unless they were returned: hence id 0. */
	so->start.bound = phnsw_iterative_scan == PHNSW_ORDER_RELAXED ? -INFINITY : so->last_bound;
	so->start.id = 0;
	so->next_id = 0;
	so->complete = false;
	so->swept = false;
	so->straggling = false;
	so->floor = so->start.bound;
	if (so->n_emitted > 1)
		sort_ids(so->emitted, so->n_emitted);
}

/* First position in `emitted` with an id not below `id`. */
static uint32
emitted_from(const PhnswScan *so, uint32 id)
{
	uint32		low = 0;
	uint32		high = so->n_emitted;

	while (low < high)
	{
		uint32		middle = low + (high - low) / 2;

		if (so->emitted[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Large indexes pass through a ring of buffers. */
static bool
through_ring(PhnswScan *so)
{
	if (so->pi->meta.nodes.limit / so->pi->slots_per_page < NBuffers / 8)
		return false;
	if (so->strategy == NULL)
		so->strategy = GetAccessStrategy(BAS_BULKREAD);
	return true;
}

/* The page of a node, when no pass brings it. */
static Buffer
read_page(PhnswScan *so, uint32 id)
{
	uint32		place;
	BlockNumber block = phnsw_node_block(so->index, so->pi, id, &place);

	if (through_ring(so))
		return ReadBufferExtended(so->index, MAIN_FORKNUM, block, RBM_NORMAL, so->strategy);
	return phnsw_pin(so->index, so->pi, block);
}

/*
 * Appends the wanted hits of the page that starts with `id`, in `buffer`, to `hits`, unsorted: those not before
 * `start`, but before *last.  Releases the buffer, returns the first id behind the page.
 */
static uint32
sweep_page(PhnswScan *so, uint32 id, Buffer buffer, const PhnswHit *last)
{
	uint32		first = id;
	uint32		end = Min(first + so->pi->slots_per_page, so->pi->meta.nodes.limit);
	uint32		skip = emitted_from(so, id);
	BlockNumber block = BufferGetBlockNumber(buffer);
	Page		page = BufferGetPage(buffer);

	CHECK_FOR_INTERRUPTS();
	phnsw_hits_reserve(so, so->pi->slots_per_page);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(so->index, block, page, PHNSW_PAGE_NODE);
	phnsw_counters.touches += end - id;
	for (; id < end; id++)
	{
		PhnswHit   *hit = &so->hits[so->n_hits];

		if (skip < so->n_emitted && so->emitted[skip] == id)
			skip++;
		else if (phnsw_hit_read(so, phnsw_page_slot(so->pi, page, id - first), id, hit) &&
				 phnsw_hit_before(hit, last) && !phnsw_hit_before(hit, &so->start))
			so->n_hits++;
	}
	UnlockReleaseBuffer(buffer);
	return end;
}

/* One pass: the nearest wanted hits. */
static void
sweep_nearest(PhnswScan *so)
{
	const PhnswHit below_floor = {.bound = so->floor, .id = 0};
	Size		affordable = (Size) work_mem * 1024 / 2 / sizeof(PhnswHit);
	uint32		room = Min(Max(PHNSW_SWEEP_HITS_MIN, affordable), PHNSW_SWEEP_HITS_MAX);
	PhnswHit	last = so->straggling ? below_floor : behind_all;
	PhnswPassPages pages = {
		.space = &so->pi->meta.nodes,.per_page = so->pi->slots_per_page,.limit = so->pi->meta.nodes.limit
	};
	PhnswPass  *pass = through_ring(so) ? phnsw_pass_begin(so->index, so->strategy, phnsw_pass_pages, &pages) : NULL;

	so->complete = true;
	for (uint32 id = 0; id < pages.limit;)
	{
		Buffer		buffer = pass == NULL ? read_page(so, id) : phnsw_pass_next(pass);

		id = sweep_page(so, id, buffer, &last);
		if (so->n_hits < room)
			continue;
		/* The farther half waits for the next pass. */
		sort_hits(so->hits, so->n_hits);
		so->n_hits = room / 2;
		last = so->hits[so->n_hits - 1];
		so->complete = false;
	}
	if (pass != NULL)
		phnsw_pass_end(pass);
	phnsw_hits_heapify(so);
}

/*
 * What strict order has left out comes last, when there is nothing else: nodes before the bound at which the sweep
 * began that the graph phase found late or not at all.  So a scan that is read to its end returns every row.
 */
static bool
begin_stragglers(PhnswScan *so)
{
	if (so->straggling || so->kind != PHNSW_QUERY_VECTOR || so->floor == -INFINITY)
		return false;
	so->straggling = true;
	so->start.bound = -INFINITY;
	so->start.id = 0;
	so->swept = false;
	return true;
}

bool
phnsw_sweep_next(PhnswScan *so)
{
	Assert(so->n_hits == 0);
	while (so->kind == PHNSW_QUERY_VECTOR && so->n_hits == 0)
	{
		if (so->complete && !begin_stragglers(so))
			return false;
		if (so->swept)
		{
			so->start.bound = so->last_bound;
			so->start.id = so->last_id + 1;
		}
		so->swept = true;
		phnsw_counters.sweeps++;
		sweep_nearest(so);
	}
	if (so->kind != PHNSW_QUERY_VECTOR && !so->complete)
	{
		if (so->next_id == 0)
			phnsw_counters.sweeps++;
		while (so->n_hits < PHNSW_SWEEP_ANY_ORDER && so->next_id < so->pi->meta.nodes.limit)
			so->next_id = sweep_page(so, so->next_id, read_page(so, so->next_id), &behind_all);
		so->complete = so->n_hits == 0;
	}
	return so->n_hits > 0;
}
