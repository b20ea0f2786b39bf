/*
 * scan.c
 *    ORDER BY scans: the access method's callbacks and the graph phase.
 *
 * A scan hands the executor rows with a lower bound of their distance (xs_recheckorderby), in the order of these
 * bounds; the executor computes the distances and returns the rows in exact order.  Bounds must not be above the
 * distance (it raises an error) and must not go down: a hit that is found after a farther one was returned is "late".
 * In strict order it is returned if its distance fits behind that one all the same (exact.c), and at the very end of
 * the scan if not; in relaxed order at once (phnsw.iterative_scan).  Therefore the scan looks ahead: it returns a hit
 * only while enough others, all farther, are known, and goes on with the search before these run out.
 *
 * The graph phase ends in a sweep over all pages (sweep.c) when the graph has no more to
 * give, when its memory exceeds work_mem, or when it has returned so many rows that the sweep
 * is cheaper; a small index is swept at once, and exactly.
 *
 * Locks: one page at a time, none across calls or while the core works (../README.md).  Memory: scan.h.
 */
#include "scan/scan.h"

#include <math.h>

#include "executor/instrument.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "types/type_vector.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* An index of so many nodes, or so many for each of ef, is swept. */
#define PHNSW_SWEEP_NODES      2000
#define PHNSW_SWEEP_NODES_EF   10
/* The share of all nodes behind which a sweep is cheaper than the graph. */
#define PHNSW_GRAPH_SHARE      16
/*
 * Hits to have at hand, whatever ef is, and per hit that was returned: near the end of a long scan bounds lie closer.
 */
#define PHNSW_AHEAD_MIN        32
#define PHNSW_AHEAD_SHARE      2
/* Rows of a query for ten, with those that it rechecks: for them the share is enough (README.md). */
#define PHNSW_FIRST_ROWS       16
/*
 * Of the disk are asked, when so many of the nearest candidates are expanded, the rows of so many (search_for_rows()).
 */
#define PHNSW_ASK_SETTLED      6
#define PHNSW_ASK_CANDIDATES   12
/* Rows, none of which came from disk, until they are taken to be in memory. */
#define PHNSW_WARM_ROWS        16

IndexScanDesc
phnsw_ambeginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw scan", ALLOCSET_SMALL_SIZES);
	PhnswScan  *so = MemoryContextAllocZero(context, sizeof(PhnswScan));

	so->context = context;
	so->search_context = AllocSetContextCreate(context, "phnsw search", ALLOCSET_SMALL_SIZES);
	so->index = index;
	so->left_out = PHNSW_NONE;
	so->place_lost = !phnsw_row_place_kept();
	so->phase = PHNSW_SCAN_START;
	phnsw_stats_attach(&so->account, context);
	scan->opaque = so;
	scan->xs_orderbyvals = palloc0(sizeof(Datum) * Max(norderbys, 1));
	scan->xs_orderbynulls = palloc0(sizeof(bool) * Max(norderbys, 1));
	return scan;
}

void
phnsw_amrescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	PhnswScan  *so = scan->opaque;

	if (keys != NULL && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	if (orderbys != NULL && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, scan->numberOfOrderBys * sizeof(ScanKeyData));
	phnsw_stats_end(&so->account);
	so->phase = PHNSW_SCAN_START;
}

void
phnsw_amendscan(IndexScanDesc scan)
{
	PhnswScan  *so = scan->opaque;

	MemoryContextDelete(so->context);
	scan->opaque = NULL;
}

/* ---- start ----------------------------------------------------------------------------------- */

/* The query of the scan's ORDER BY, prepared for scoring. */
static void
set_query(PhnswScan *so, const ScanKeyData *orderby)
{
	PhnswCoordinates query;
	uint32		dims = so->pi->meta.codec.dims;

	if (orderby->sk_flags & SK_ISNULL)
	{
		so->kind = PHNSW_QUERY_NULL;
		return;
	}
	phnsw_coordinates_open(so->pi->element, orderby->sk_argument, &query);
	if (query.dims != dims)
		phnsw_dims_differ(phnsw_element_sql_type(so->pi->element), dims, query.dims);
	if (so->pi->meta.codec.metric == PHNSW_COSINE && isnan(phnsw_cosine_distance(query.x, query.x, dims)))
		so->kind = PHNSW_QUERY_NAN;
	else
	{
		so->kind = PHNSW_QUERY_VECTOR;
		phnsw_query_set(so->query, query.x, PHNSW_FOR_SEARCH);
	}
	phnsw_coordinates_close(&query);
}

/* For phnsw_recall(): nothing leads to the node that is left out, unless the graph begins there. */
static void
leave_out(PhnswScan *so, phnsw_candidate *entry)
{
	uint32		id = so->left_out;
	uint32		fresh[1];
	uint32		n;
	phnsw_error error;

	if (entry->id == id)
	{
		entry->id = so->pi->meta.entry;
		phnsw_touch(so->index, so->pi, so->query, &entry->id, 1, &entry->score, &entry->version, NULL);
	}
	phnsw_ensure(phnsw_search_offer(so->search, &entry->id, &entry->score, &entry->version, 1, &error), &error);
	if (entry->id != id)
		phnsw_ensure(phnsw_search_fresh(so->search, &id, 1, fresh, &n, &error), &error);
}

/* Searches on; what is then found are the candidates in front of the first that was too far away to be expanded. */
static void
search_window(PhnswScan *so)
{
	phnsw_search_level(so->index, so->pi, so->search, so->query, 0);
	so->found = phnsw_search_window(so->search, &so->n_found);
	so->n_found = phnsw_search_settled(so->search);
	so->next_found = 0;
}

/*
 * The first part of a search, while rows come from disk: as soon as a few of the nearest candidates are
 * expanded the nearest are asked for, most of which will remain so, and the disk reads their rows while
 * the search goes on.  It takes the same hops as in one piece.
 */
static void
search_for_rows(PhnswScan *so)
{
	const phnsw_candidate *found;
	uint32		n;

	/* A hop at a time: each has a score that is low enough. */
	while (phnsw_search_settled(so->search) < PHNSW_ASK_SETTLED &&
		   phnsw_search_until(so->index, so->pi, so->search, so->query, 0, get_float4_infinity()))
		continue;
	found = phnsw_search_window(so->search, &n);
	phnsw_ask_for_candidates(so, found, Min(n, PHNSW_ASK_CANDIDATES));
}

/* Searches the graph for the first time; false when it has no entry. */
static bool
enter_graph(PhnswScan *so)
{
	phnsw_candidate entry;
	phnsw_error error;

	if (so->search == NULL)
		so->search = phnsw_search_borrow(so->pi, so->search_context);
	phnsw_search_trim(so->search, (Size) work_mem * 1024 / 2);
	if (phnsw_descend(so->index, so->pi, so->search, so->query, 0, &entry) == 0)
		return false;
	phnsw_ensure(phnsw_search_begin(so->search, phnsw_stop_ef(so->ef, &so->stop), so->pi->meta.nodes.limit, true,
									&error), &error);
	if (so->left_out == PHNSW_NONE)
		phnsw_ensure(phnsw_search_offer(so->search, &entry.id, &entry.score, &entry.version, 1, &error), &error);
	else
		leave_out(so, &entry);
	if (so->stop.slack > 0)
		phnsw_search_stop_beyond(so->search, PHNSW_STOP_RANK, so->stop.slack, phnsw_query_offset(so->query));
	if (unlikely(phnsw_rows_cold(so)))
		search_for_rows(so);
	search_window(so);
	so->phase = PHNSW_SCAN_GRAPH;
	return true;
}

/*
 * A scan that went on for long has left arrays of up to work_mem.  The next one of a rescan would count them as
 * its own, and sweep the index as soon as it wants a second window.
 */
static void
forget_long_scan(PhnswScan *so)
{
	Size		most = (Size) work_mem * 1024 / 8;

	if (so->hits_max * sizeof(PhnswHit) > most)
	{
		pfree(so->hits);
		so->hits = NULL;
		so->hits_max = 0;
	}
	if (so->emitted_max * sizeof(uint32) > most)
	{
		pfree(so->emitted);
		so->emitted = NULL;
		so->emitted_max = 0;
	}
	so->n_hits = 0;
	so->n_emitted = 0;
}

static void
start_scan(IndexScanDesc scan, PhnswScan *so)
{
	PhnswIndex *pi;
	uint32		small;

	if (scan->numberOfOrderBys == 0)
		elog(ERROR, "cannot scan phnsw index without order");
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		elog(ERROR, "non-MVCC snapshots are not supported with phnsw");
	pgstat_count_index_scan(scan->indexRelation);
	PhnswCountSearch(scan);

	/* Every row that the snapshot can see has an id below the limit that this finds. */
	phnsw_batch_flush(so->index);
	pi = phnsw_index_open(so->index);
	if (so->pi != pi)
	{
		/* The first time, or the index has been described anew since the last rescan. */
		MemoryContextReset(so->search_context);
		so->search = NULL;
		so->pi = pi;
		so->query = phnsw_query_borrow(pi, so->context);
	}
	so->heap = scan->heapRelation;
	so->returned = 0;
	so->ask_at = 0;
	memset(so->asked, 0xFF, sizeof(so->asked));	/* InvalidBlockNumber */
	so->n_ahead = 0;
	forget_long_scan(so);
	so->last_bound = -INFINITY;
	so->late_in_vain = so->late_passed = 0;
	so->last_id = 0;
	phnsw_emit_end(so);
	phnsw_range_begin(so);
	/* A second distance decides between equal ones; nothing is known of it. */
	for (int i = 1; i < scan->numberOfOrderBys; i++)
		scan->xs_orderbyvals[i] = Float8GetDatum(-get_float8_infinity());
	so->in_order = so->place_lost || phnsw_null_decides(scan);
	if (so->in_order)
		phnsw_in_order_begin(scan, so);
	scan->xs_recheck = false;
	set_query(so, &scan->orderByData[0]);

	so->ef = phnsw_choose_search(&pi->meta, so->index->rd_rel->relam, &so->stop);
	so->narrowed = false;
	phnsw_stats_begin(&so->account, RelationGetRelid(so->index), phnsw_stop_ef(so->ef, &so->stop));
	small = Max(PHNSW_SWEEP_NODES, so->ef * PHNSW_SWEEP_NODES_EF);
	if (so->kind != PHNSW_QUERY_VECTOR || pi->meta.nodes.limit <= small || !enter_graph(so))
		phnsw_sweep_begin(so);
}

/* ---- graph phase ----------------------------------------------------------------------------- */

static void
remember_emitted(PhnswScan *so, uint32 id)
{
	if (so->n_emitted == so->emitted_max)
	{
		uint32		size = Max(so->emitted_max * 2, 256);

		if (so->emitted == NULL)
			so->emitted = MemoryContextAllocHuge(so->context, size * sizeof(uint32));
		else
			so->emitted = repalloc_huge(so->emitted, size * sizeof(uint32));
		so->emitted_max = size;
	}
	so->emitted[so->n_emitted++] = id;
}

/*
 * What was calibrated is a search for ten rows.  Who wants more gets a search with ef candidates, those that have been
 * taken being of the first ef: with slack 0 a search is over when so many as its rank are expanded.
 */
static void
next_window(PhnswScan *so)
{
	uint32		rank = so->ef;
	phnsw_error error;

	so->narrowed |= so->stop.slack > 0;
	if (so->stop.slack > 0 && so->n_found < so->ef)
	{
		phnsw_search_drop(so->search, so->n_found);
		rank -= so->n_found;
	}
	else
	{
		phnsw_ensure(phnsw_search_take(so->search, so->n_found, &error), &error);
		phnsw_search_score_rest(so->index, so->pi, so->search, so->query);
	}
	so->stop = (phnsw_stop) {0, 0};
	if (so->narrowed)
		phnsw_search_stop_beyond(so->search, rank, 0, phnsw_query_offset(so->query));
	search_window(so);
}

/* Goes on with the search behind its present window; false when a sweep is better or the graph has ended. */
static bool
resume_search(PhnswScan *so)
{
	Size		memory = phnsw_search_memory(so->search) + so->hits_max * sizeof(PhnswHit) +
		so->emitted_max * sizeof(uint32);

	if (memory > (Size) work_mem * 1024 || so->n_emitted > so->pi->meta.nodes.limit / PHNSW_GRAPH_SHARE)
		return false;
	next_window(so);
	return so->n_found > 0;
}

/*
 * Makes enough hits available that the first may be returned, or begins the sweep.  Candidates become hits in the order
 * of their scores, a few at a time, since most scans end early: a score says approximately what the bound will be, so a
 * smaller lookahead will do between scores and bounds than between the search and its window.  A window that is used up
 * is a reason to go on with the search only for the latter: what bounds want is a wish.
 */
static void
look_ahead(PhnswScan *so)
{
	uint32		ahead = so->n_emitted / PHNSW_AHEAD_SHARE;
	uint32		window_ahead = Max((so->ef + 1) / 2, ahead);
	bool		first_rows = so->ef >= PHNSW_EF_TEN_ROWS && so->n_emitted < PHNSW_FIRST_ROWS;
	uint32		search_ahead = first_rows ? Max(ahead, 1) : window_ahead;
	uint32		hits_ahead = Min(window_ahead, Max(PHNSW_AHEAD_MIN, ahead));

	for (;;)
	{
		uint32		unread = so->n_found - so->next_found;

		if (so->n_hits + unread >= search_ahead && (so->n_hits >= hits_ahead || unread == 0))
			return;
		CHECK_FOR_INTERRUPTS();
		if (unread > 0)
		{
			uint32		n = Min(unread, PHNSW_LOOK_MAX);

			if (so->n_hits < hits_ahead)
				n = Min(n, hits_ahead - so->n_hits);
			phnsw_look_at(so, so->found + so->next_found, n);
			so->next_found += n;
		}
		else if (!resume_search(so))
		{
			phnsw_sweep_begin(so);
			return;
		}
	}
}

/* The hit whose rows come next; false when there are no more. */
static bool
next_hit(IndexScanDesc scan, PhnswScan *so, PhnswHit *hit)
{
	for (;;)
	{
		if (so->phase == PHNSW_SCAN_GRAPH)
			look_ahead(so);
		if (so->n_hits == 0 && so->phase == PHNSW_SCAN_SWEEP && !phnsw_sweep_next(so))
			so->phase = PHNSW_SCAN_END;
		if (so->phase == PHNSW_SCAN_END)
			return false;
		if (unlikely(so->pi->cold_rows > 0))
			phnsw_ask_for_rows(so);
		else if (so->phase == PHNSW_SCAN_GRAPH && so->n_ahead-- == 0)
			so->n_ahead = phnsw_look_ahead_rows(so) - 1;
		phnsw_hits_pop(so, hit);
		if (so->phase == PHNSW_SCAN_SWEEP)
		{
			so->last_bound = hit->bound;
			so->last_id = hit->id;
			return true;
		}

		if (hit->bound >= so->last_bound)
			so->last_bound = hit->bound;
		else if (phnsw_iterative_scan == PHNSW_ORDER_RELAXED || !phnsw_late_fits(scan, so, hit))
		{
			phnsw_counters.late++;
			if (phnsw_iterative_scan != PHNSW_ORDER_RELAXED)
			{
				CHECK_FOR_INTERRUPTS();
				continue;
			}
		}
		remember_emitted(so, hit->id);
		return true;
	}
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The next row, and a bound of its distance. */
static bool
next_row(IndexScanDesc scan, PhnswScan *so)
{
	if (phnsw_max_scan_tuples > 0 && so->returned >= phnsw_max_scan_tuples)
		return false;

	while (!phnsw_emit_next(so, &scan->xs_heaptid))
	{
		PhnswHit	hit;

		if (!next_hit(scan, so, &hit))
			return false;
		phnsw_emit_begin(so, &hit);
	}
	if (so->returned++ == 0)
		phnsw_stats_first_row(&so->account);
	phnsw_counters.emitted++;

	scan->xs_orderbynulls[0] = so->kind == PHNSW_QUERY_NULL;
	scan->xs_orderbyvals[0] = Float8GetDatum(so->kind == PHNSW_QUERY_NAN ? get_float8_nan() : so->current.bound);
	scan->xs_recheckorderby = true;
	if (phnsw_check_bounds && so->kind == PHNSW_QUERY_VECTOR)
		phnsw_check_bound(scan, so);
	return true;
}

bool
phnsw_amgettuple(IndexScanDesc scan, ScanDirection direction)
{
	PhnswScan  *so = scan->opaque;

	if (direction != ForwardScanDirection)
		elog(ERROR, "phnsw index scans only go forward");
	if (so->phase == PHNSW_SCAN_START)
		start_scan(scan, so);
	else if (unlikely(pgBufferUsage.shared_blks_read != so->blocks_read))
		so->pi->cold_rows = PHNSW_WARM_ROWS;
	else if (unlikely(so->pi->cold_rows > 0))
		so->pi->cold_rows--;
	phnsw_stats_charge(&so->account);
	if (scan->kill_prior_tuple && so->returned > 0 && !so->in_order)
		phnsw_kill_last(scan, so);
	if (!(unlikely(so->in_order) ? phnsw_in_order_next(scan, so, next_row) : next_row(scan, so)))
		return false;
	phnsw_pin_row(so, scan);
	so->blocks_read = pgBufferUsage.shared_blks_read;
	return true;
}
