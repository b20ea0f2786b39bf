/*
 * cost.c
 *    What a scan costs, and how many candidates it needs: both from what the build measured.
 *
 * A phnsw scan has two prices.  The first row costs a whole search with ef candidates: so many nodes evaluated
 * (touches), so many neighbour lists read (hops), as the calibration table of the meta page says.  Going on until the
 * index is exhausted costs one evaluation of every node and a sort, which is what the linear sweep does, and for every
 * row that is handed out what a row of a sequential scan does not: its node's list and bound, a visit to its page, its
 * distance, the executor's queue.  The planner interpolates between the two by LIMIT and by the selectivity of the
 * other conditions, and adds the table's pages and the filter for the rows that will be fetched.
 *
 * Units.  A sequential scan's tuple costs cpu_tuple_cost and takes about 0.1 us; so does the evaluation of a node of
 * 768 dimensions in the buffer cache, and reading a list of neighbours takes about twice that.
 *
 * A condition of the distance that is ordered by is no filter: the scan ends there.  How
 * many rows are nearer is PostgreSQL's guess, a third.
 *
 * Pages of the index are charged as far as they do not fit the share of the cache that is the index's by its size: a
 * graph whose pages come from disk is slow, one that was used before is in memory.
 */
#include "phnsw.h"

#include <math.h>

#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

/* Without a calibration (an index created empty, until its first vacuum). */
#define PHNSW_EF_UNKNOWN 100

/*
 * An index that has grown by this factor since its build (perhaps that of a first small batch)
 * is not what was measured; the next vacuum measures again.
 */
#define PHNSW_GROWN 4

/* Code bytes that are compared in the time of one cpu_operator_cost. */
#define PHNSW_BYTES_PER_OPERATOR 256.0

/*
 * The build calibrates with rows, each searched as if it were not in the graph.  Queries come from elsewhere and miss
 * this much more.  On the 19,000 words of the sample and 500 held-out queries, targets of 0.95 and 0.99 come out as
 * 0.975 and 0.993 (L2), 0.965 and 0.996 (inner product), 0.973 and 0.992 (cosine).
 */
#define PHNSW_QUERY_MISS    1.2
/* Inner products that an older release measured with the rows' own points. */
#define PHNSW_QUERY_MISS_BY_POINTS 4.0

/*
 * What handing out a row takes beyond the node's evaluation and the distance, in cpu_tuple_cost.  Rows streamed from
 * tables in memory take 3 to 4 us (90,000 x 100, 150,000 x 16), 9 to 10 where vectors are out of line (117,000 x 512,
 * 69,000 x 784), a row that a sequential scan rejects 0.1.  The difference is what phnsw_reading_cost() is about.
 */
#define PHNSW_ROW_TUPLES 30.0
#define PHNSW_OUT_OF_LINE_TUPLES 60.0

/*
 * How far to trust the trend beyond the last measurement, in distances
 * between two of them (a factor of about 1.6 each).
 */
#define PHNSW_STEPS_MAX 4.0

/*
 * The smallest ef that misses no more: the share of missed neighbours falls about as a power of ef, so
 * the logarithm of one is linear in the logarithm of the other, between two measurements and for a
 * while beyond the last.  stop: what finds as much as this ef does, by the same rule; none beyond the
 * last measurement, where nobody knows which slack would suffice.
 */
static uint32
phnsw_ef_for_miss(const phnsw_meta *meta, double miss, phnsw_stop *stop)
{
	const phnsw_calibration *c = meta->calibration;
	uint32		n = meta->calibrations;
	uint32		i = 0;
	double		before;
	double		after;
	double		steps;

	while (i + 1 < n && 1.0 - c[i].recall > miss)
		i++;
	*stop = meta->stop[i];
	if (i == 0)
		return c[0].ef;

	before = Max(1.0 - c[i - 1].recall, 1e-6);
	after = Max(1.0 - c[i].recall, before / 100);
	steps = log(before / miss) / Max(log(before / after), 0.1);
	if (steps > 1 || stop->slack == 0 || meta->stop[i - 1].slack == 0)
		*stop = (phnsw_stop) {0, 0};
	else
	{
		stop->wider = meta->stop[i - 1].wider * pow(stop->wider / meta->stop[i - 1].wider, steps);
		stop->slack = meta->stop[i - 1].slack + (stop->slack - meta->stop[i - 1].slack) * steps;
	}
	/* Lines far apart, of a damaged page, lead beyond any integer. */
	return (uint32) Min(ceil(c[i - 1].ef * pow((double) c[i].ef / c[i - 1].ef, Min(steps, PHNSW_STEPS_MAX))),
						PHNSW_EF_MAX);
}

/* What the target takes by the calibration: ef, and what finds as much for less, as far as that is known. */
static uint32
phnsw_target_search(const phnsw_meta *meta, phnsw_stop *stop)
{
	bool		by_points = meta->codec.metric == PHNSW_IP && meta->calibrated_by == PHNSW_BY_POINTS;
	double		miss = (1.0 - phnsw_target_recall) / (by_points ? PHNSW_QUERY_MISS_BY_POINTS : PHNSW_QUERY_MISS);
	uint32		ef;

	*stop = (phnsw_stop) {0, 0};
	if (meta->calibrations == 0)
		return PHNSW_EF_UNKNOWN;
	ef = phnsw_ef_for_miss(meta, miss, stop);
	/* To a query all is about as far: such a slack would stop nothing. */
	if (by_points)
		*stop = (phnsw_stop) {0, 0};
	if (meta->nodes.limit / PHNSW_GROWN > Max(meta->built_nodes, meta->calibrated_nodes))
	{
		ef = Max(ef, PHNSW_EF_UNKNOWN);
		*stop = (phnsw_stop) {0, 0};
	}
	return Max(1, Min(ef, PHNSW_EF_MAX));
}

uint32
phnsw_target_ef(const phnsw_meta *meta)
{
	phnsw_stop	stop;

	return phnsw_target_search(meta, &stop);
}

uint32
phnsw_choose_search(const phnsw_meta *meta, Oid access_method, phnsw_stop *stop)
{
	uint32		ef = phnsw_ef_search > 0 ? phnsw_ef_search : phnsw_hnsw_ef(access_method);

	*stop = (phnsw_stop) {0, 0};
	if (ef > 0)
		return ef;
	return Max(PHNSW_EF_TEN_ROWS, phnsw_target_search(meta, stop));
}

uint32
phnsw_stop_ef(uint32 ef, const phnsw_stop *stop)
{
	return stop->slack > 0 ? Min(ceil(ef * stop->wider), PHNSW_EF_MAX) : ef;
}

/* Nodes evaluated and lists read by a search with ef candidates: calibration, in proportion to ef beyond its points. */
static void
phnsw_search_work(const phnsw_meta *meta, uint32 ef, double nodes, double *touches, double *hops)
{
	const phnsw_calibration *c = meta->calibration;
	uint32		n = meta->calibrations;

	if (n == 0)
	{
		/* About half of the 2M links of a node lead to one already seen. */
		*hops = ef + log2(Max(nodes, 2));
		*touches = *hops * meta->codec.m;
	}
	else
	{
		uint32		i = 0;
		double		scale;

		while (i + 1 < n && c[i].ef < ef)
			i++;
		scale = (double) ef / Max(c[i].ef, 1);
		*hops = c[i].hops * scale;
		*touches = c[i].touches * scale;
	}
	*touches = Min(*touches, nodes);
	*hops = Min(*hops, nodes);
}

/* Price of reading `pages` of the index's pages, as far as its share of the cache does not hold them. */
static Cost
phnsw_page_cost(PlannerInfo *root, const IndexOptInfo *info, double pages)
{
	double		all = Max(info->pages, 1);
	double		tables = Max(root->total_table_pages, 1.0);
	double		cache = effective_cache_size * all / (all + tables);
	double		missing = Max(0, 1.0 - Max(cache, 1.0) / all);
	double		random_page_cost_here;
	double		seq_page_cost_here;

	get_tablespace_page_costs(info->reltablespace, &random_page_cost_here, &seq_page_cost_here);
	pages = Min(pages, all);
	/* As for a bitmap heap scan: the more of the pages are read, the more they follow each other. */
	return pages * missing *
		(random_page_cost_here - (random_page_cost_here - seq_page_cost_here) * sqrt(pages / all));
}

static void
phnsw_read_meta(const IndexOptInfo *info, phnsw_meta *meta)
{
	Relation	index;

	memset(meta, 0, sizeof(*meta));
	meta->codec.m = PHNSW_M_DEFAULT;
	meta->slots_per_page = 8;
	if (info->hypothetical)
		return;

	/* The planner holds a lock already. */
	index = index_open(info->indexoid, NoLock);
	*meta = phnsw_index_open(index)->meta;
	index_close(index, NoLock);
}

/*
 * What the plan's conditions leave of the rows.  within: of this share the scan reads at most, for it ends at a
 * distance; passing: of those that it reads, this share meets the others.
 */
static void
phnsw_condition_shares(PlannerInfo *root, const IndexPath *path, Selectivity *within, Selectivity *passing)
{
	OpExpr	   *distance = linitial_node(OpExpr, path->indexorderbys);
	Index		table = path->indexinfo->rel->relid;
	List	   *ranges = NIL;
	List	   *others = NIL;
	ListCell   *cell;

	foreach(cell, path->indexinfo->indrestrictinfo)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, cell);
		Node	   *query;

		if (phnsw_iterative_scan != PHNSW_ORDER_RELAXED && phnsw_is_range((Node *) info->clause, distance, &query))
			ranges = lappend(ranges, info);
		else
			others = lappend(others, info);
	}
	*within = clauselist_selectivity(root, ranges, table, JOIN_INNER, NULL);
	*passing = clauselist_selectivity(root, others, table, JOIN_INNER, NULL);
}

/* Are the vectors out of line?  ANALYZE has measured what a row has in the place of one. */
static bool
phnsw_out_of_line(PlannerInfo *root, const IndexOptInfo *info, uint32 dims)
{
	int			column = info->indexkeys[0];
	int			width = column > 0 ? get_attavgwidth(planner_rt_fetch(info->rel->relid, root)->relid, column) : 0;

	return width > 0 && width < dims;	/* a coordinate has two bytes or more */
}

/*
 * What it costs to read vectors out of line, for a scan of all rows.  A sort reads them as well, those of
 * the rows that it sorts, and nobody charges it for that; so the scan pays only for what it reads more,
 * if it does: of LIMIT / passing rows, instead of passing * all.
 */
static Cost
phnsw_reading_cost(const PlannerInfo *root, double rows, Selectivity passing)
{
	double		sorted = Max(rows * passing, 1);
	double		limit = root->limit_tuples > 0 ? Min(root->limit_tuples, sorted) : sorted;

	return rows * Max(0, 1 - sorted * passing / limit) * PHNSW_OUT_OF_LINE_TUPLES * cpu_tuple_cost;
}

void
phnsw_amcostestimate(PlannerInfo *root, IndexPath *path, double loop_count, Cost *startup_cost,
					 Cost *total_cost, Selectivity *selectivity, double *correlation, double *pages)
{
	IndexOptInfo *info = path->indexinfo;
	double		nodes = Max(info->tuples, 1.0);
	double		wanted = nodes;
	double		touches;
	double		hops;
	Cost		touch_cost;
	QualCost	distance;
	Selectivity within;
	Selectivity passing;
	phnsw_meta	meta;
	phnsw_stop	stop;

	*correlation = 0;
	*pages = info->pages;

	/*
	 * Without an order there is nothing to search for.  Such paths are made, for
	 * count(*) and for an index of a part of the rows.
	 */
	if (path->indexorderbys == NIL)
	{
		PhnswDisablePath(&path->path);
		*startup_cost = get_float8_infinity();
		*total_cost = get_float8_infinity();
		*selectivity = 0;
		return;
	}

	phnsw_read_meta(info, &meta);
	/* Stopping by distance saves a share of this that is less than what is unknown of the rest. */
	phnsw_search_work(&meta, phnsw_choose_search(&meta, info->relam, &stop), nodes, &touches, &hops);
	phnsw_condition_shares(root, path, &within, &passing);
	wanted *= within;
	if (phnsw_max_scan_tuples > 0)
		wanted = Min(wanted, phnsw_max_scan_tuples);

	touch_cost = cpu_index_tuple_cost +
		cpu_operator_cost * phnsw_code_bytes(meta.codec.code_dims, meta.codec.bits) / PHNSW_BYTES_PER_OPERATOR;
	*startup_cost = touches * touch_cost + hops * cpu_tuple_cost +
		phnsw_page_cost(root, info, touches / 2);	/* neighbours share pages */
	cost_qual_eval(&distance, path->indexorderbys, root);
	*startup_cost += distance.startup;
	*total_cost = *startup_cost + (wanted / nodes) *
		(nodes * touch_cost + nodes * log2(Max(nodes, 2)) * cpu_operator_cost +
		 phnsw_page_cost(root, info, info->pages)) +
		wanted * (PHNSW_ROW_TUPLES * cpu_tuple_cost + distance.per_tuple);
	if (phnsw_out_of_line(root, info, meta.codec.dims))
		*total_cost += (wanted / nodes) * phnsw_reading_cost(root, nodes, passing);
	*selectivity = Min(1.0, wanted / nodes);
}
