/*
 * recall_measure.c
 *    The truth, what the index finds of it, and how far that can be relied on.
 *
 * The truth comes from one pass over the table that computes the distance of every row to every query with the
 * operator's own function; the answers come from the index, forced, and put in order as the executor would.  A row
 * counts as found when it is no farther than the k-th true neighbour: of rows at equal distance any will do.
 *
 * A row's own node names its nearest neighbours, so a search that came through it would find them too
 * easily: such a query is searched as if its node were not in the graph.
 *
 * The interval is Wilson's, for as many independent trials as explain the spread of the queries' recalls: neighbours of
 * one query are found or missed together, so there are fewer than k for each query, and at least one.
 */
#include "inspect/recall.h"
#include "scan/scan.h"

#include <math.h>

#include "access/relscan.h"
#include "miscadmin.h"

/* The row in r->slot is the query: never so for a query that was given, which has no TID. */
static inline bool
is_itself(const PhnswRecall *r, const PhnswRecallQuery *query)
{
	return ItemPointerIsValid(&query->self) && ItemPointerEquals((ItemPointer) &query->self, &r->slot->tts_tid);
}

/* PhnswRowVisitor */
static void
compare_row(PhnswRecall *r, Datum vector, void *arg)
{
	for (uint32 i = 0; i < r->n; i++)
	{
		PhnswRecallQuery *query = &r->queries[i];
		double		distance = phnsw_recall_distance(r, vector, query->vector);

		if (!isnan(distance) && nearest_wants(&query->truth, r->k, distance) &&
			!is_itself(r, query))
			nearest_add(&query->truth, r->k, distance);
	}
}

/* Rows of a scan before it is certain that the index does not find the query itself. */
#define SELF_ROWS_MAX 20

static void
begin_query(PhnswRecall *r, IndexScanDesc scan, PhnswRecallQuery *query)
{
	ScanKeyData orderby;

	ScanKeyEntryInitialize(&orderby, 0, 1, 1, r->index->rd_opcintype[0], r->collation, r->distance_oid, query->vector);
	index_rescan(scan, NULL, 0, &orderby, 1);
}

/*
 * The node of a query that is a row of the table; PHNSW_NONE where it has
 * more rows, which are neighbours, or is not found.
 */
static uint32
own_node(PhnswRecall *r, IndexScanDesc scan, PhnswRecallQuery *query)
{
	const PhnswScan *so = scan->opaque;

	if (!ItemPointerIsValid(&query->self))
		return PHNSW_NONE;
	begin_query(r, scan, query);
	for (int i = 0; i < SELF_ROWS_MAX && index_getnext_slot(scan, ForwardScanDirection, r->slot); i++)
	{
		if (is_itself(r, query))
			return so->current.chained ? PHNSW_NONE : so->current.id;
	}
	return PHNSW_NONE;
}

/*
 * Rows that the index returns among the k nearest, and that are no farther than the k-th true neighbour.  The
 * scan's bounds tell when no nearer row can come, as they tell the executor.
 */
static uint32
count_found(PhnswRecall *r, IndexScanDesc scan, PhnswRecallQuery *query, Nearest *answer)
{
	PhnswScan  *so = scan->opaque;
	uint32		found = 0;

	so->left_out = PHNSW_NONE;
	so->left_out = own_node(r, scan, query);
	begin_query(r, scan, query);
	answer->n = 0;
	while (index_getnext_slot(scan, ForwardScanDirection, r->slot))
	{
		Datum		vector;

		CHECK_FOR_INTERRUPTS();
		if (!is_itself(r, query) && phnsw_recall_vector(r, &vector))
			nearest_add(answer, r->k, phnsw_recall_distance(r, vector, query->vector));
		if (answer->n == r->k && answer->distances[0] <= DatumGetFloat8(scan->xs_orderbyvals[0]))
			break;
	}
	for (uint32 i = 0; i < answer->n; i++)
		found += answer->distances[i] <= query->truth.distances[0];
	return Min(found, query->truth.n);
}

/* 97.5 % of a normal distribution lie below. */
#define NORMAL_QUANTILE 1.959964

static void
make_estimate(const double *recalls, uint32 n, uint32 k, PhnswRecallEstimate *estimate)
{
	double		mean = 0;
	double		variance = 0;
	double		trials = n;
	double		z2 = NORMAL_QUANTILE * NORMAL_QUANTILE;
	double		half;

	for (uint32 i = 0; i < n; i++)
		mean += recalls[i];
	mean /= n;
	for (uint32 i = 0; i < n; i++)
		variance += (recalls[i] - mean) * (recalls[i] - mean) / n;
	if (variance > 0)
		trials = Min(mean * (1 - mean) / variance * n, (double) n * k);
	half = NORMAL_QUANTILE * sqrt(mean * (1 - mean) / trials + z2 / (4 * trials * trials));
	estimate->queries = n;
	estimate->recall = mean;
	estimate->low = Max(0.0, (mean + z2 / (2 * trials) - half) / (1 + z2 / trials));
	estimate->high = Min(1.0, Max(mean, (mean + z2 / (2 * trials) + half) / (1 + z2 / trials)));
}

void
phnsw_recall_measure(PhnswRecall *r, PhnswRecallEstimate *estimate)
{
	Nearest		answer = {.distances = palloc(r->k * sizeof(double))};
	double	   *recalls = palloc(Max(r->n, 1) * sizeof(double));
	uint32		n = 0;
	IndexScanDesc scan;

	phnsw_recall_rows(r, compare_row, NULL);
	scan = PhnswIndexBeginScan(r->heap, r->index, r->snapshot, 1);
	((PhnswScan *) scan->opaque)->place_lost = false; /* it asks for bounds */
	for (uint32 i = 0; i < r->n; i++)
	{
		/* A query that has no neighbours says nothing. */
		if (r->queries[i].truth.n > 0)
			recalls[n++] = (double) count_found(r, scan, &r->queries[i], &answer) / r->queries[i].truth.n;
	}
	index_endscan(scan);
	if (n > 0)
		make_estimate(recalls, n, r->k, estimate);
}
