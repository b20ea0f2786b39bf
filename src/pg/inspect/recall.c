/*
 * recall.c
 *    phnsw_recall(): which share of the true nearest neighbours an index finds.
 *
 * The queries are rows of the table itself, drawn evenly and each without itself among its neighbours, or vectors that the
 * caller gives.  The truth comes from one pass over the table that computes the distance of every row to every query with
 * the operator's own function; the answers come from the index, forced, and put in order as the executor would.  A row counts
 * as found when it is no farther than the k-th true neighbour: of rows at equal distance any will do.
 *
 * A row's own node names its nearest neighbours, so a search that came through it would find them too easily: such a query is
 * searched as if its node were not in the graph.
 *
 * Everything happens under the snapshot of the calling statement, so that both sides see the same rows.
 *
 * The interval is Wilson's, for as many independent trials as explain the spread of the queries' recalls: neighbours of one
 * query are found or missed together, so there are fewer than k for each query, and at least one.
 *
 * Cost: two passes over the table (one for given queries), queries x rows distances, and the scans of the index.
 */
#include "inspect/check.h"
#include "scan/scan.h"
#include "search/nearest.h"
#include "types/type_halfvec.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(phnsw_recall);

#define RECALL_K_MAX       1000
#define RECALL_QUERIES_MAX 10000
/* The same rows are drawn every time, so that results with different settings can be compared. */
#define RECALL_SEED        UINT64CONST(0x70686E7377)
/* 97.5 % of a normal distribution lie below. */
#define NORMAL_QUANTILE    1.959964

typedef struct RecallQuery
{
	Datum		vector;
	ItemPointerData self;		/* the row it is; invalid: none */
	Nearest		truth;
} RecallQuery;

typedef struct Recall
{
	Relation	heap;
	Relation	index;
	Snapshot	snapshot;
	uint32		k;

	FmgrInfo	distance;		/* function of the ordering operator */
	Oid			distance_oid;
	Oid			collation;

	/* from a row of the table to the indexed value */
	IndexInfo  *info;
	EState	   *estate;
	ExprState  *predicate;
	TupleTableSlot *slot;

	uint32		n;
	uint32		room;
	RecallQuery	   *queries;
} Recall;

/* ---- rows --------------------------------------------------------------------------------------------------------------------- */

/* The indexed value of the row in r->slot, detoasted; false when the index does not hold it. */
static bool
row_vector(Recall *r, Datum *vector)
{
	ExprContext *econtext = GetPerTupleExprContext(r->estate);
	MemoryContext caller;
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	ResetExprContext(econtext);
	econtext->ecxt_scantuple = r->slot;
	if (!ExecQual(r->predicate, econtext))
		return false;
	FormIndexDatum(r->info, r->slot, r->estate, values, isnull);
	if (isnull[0])
		return false;
	caller = MemoryContextSwitchTo(GetPerTupleMemoryContext(r->estate));
	*vector = PointerGetDatum(PG_DETOAST_DATUM(values[0]));
	MemoryContextSwitchTo(caller);
	return true;
}

static inline double
distance_between(Recall *r, Datum a, Datum b)
{
	return DatumGetFloat8(FunctionCall2Coll(&r->distance, r->collation, a, b));
}

typedef void (*RowVisitor) (Recall *r, Datum vector, void *arg);

/* Every indexed row that the snapshot sees, in the table's order. */
static void
visit_rows(Recall *r, RowVisitor visitor, void *arg)
{
	TableScanDesc scan = table_beginscan_strat(r->heap, r->snapshot, 0, NULL, true, false);
	Datum		vector;

	while (table_scan_getnextslot(scan, ForwardScanDirection, r->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (row_vector(r, &vector))
			visitor(r, vector, arg);
	}
	table_endscan(scan);
	ExecClearTuple(r->slot);
}

/* ---- queries ------------------------------------------------------------------------------------------------------------------ */

static void
add_query(Recall *r, Datum vector, const ItemPointerData *self)
{
	RecallQuery	   *query = &r->queries[r->n++];

	query->vector = datumCopy(vector, false, -1);
	if (self != NULL)
		query->self = *self;
	query->truth.distances = palloc(r->k * sizeof(double));
}

typedef struct Draw
{
	pg_prng_state random;
	uint64		rows;
} Draw;

/* RowVisitor.  Reservoir sampling: of the rows so far, each is among the queries with the same probability. */
static void
draw_row(Recall *r, Datum vector, void *arg)
{
	Draw	   *draw = arg;
	uint64		place;

	if (isnan(distance_between(r, vector, vector)))
		return;					/* a zero vector under cosine: not in the index */
	place = draw->rows++;
	if (r->n < r->room)
	{
		add_query(r, vector, &r->slot->tts_tid);
		return;
	}
	place = pg_prng_uint64_range(&draw->random, 0, place);
	if (place < r->room)
	{
		RecallQuery	   *query = &r->queries[place];

		pfree(DatumGetPointer(query->vector));
		query->vector = datumCopy(vector, false, -1);
		query->self = r->slot->tts_tid;
	}
}

static void
draw_queries(Recall *r, uint32 sample)
{
	Draw		draw = {.rows = 0};

	r->room = sample;
	r->queries = palloc0(sample * sizeof(RecallQuery));
	pg_prng_seed(&draw.random, RECALL_SEED);
	visit_rows(r, draw_row, &draw);
}

/* The function takes vectors: those for an index on halfvec are rounded, as a cast would. */
static Datum
halfvec_of(Datum value)
{
	const Vector *vector = DatumGetVector(value);

	return PointerGetDatum(phnsw_halfvec_from(vector->x, vector->dim));
}

static void
take_queries(Recall *r, ArrayType *array)
{
	Oid			type = ARR_ELEMTYPE(array);
	bool		halves = phnsw_index_element(r->index) == PHNSW_ELEMENT_HALF;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (type != r->index->rd_opcintype[0] && !halves)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("queries are of type %s, the index is on type %s", format_type_be(type),
						format_type_be(r->index->rd_opcintype[0]))));
	deconstruct_array(array, type, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n > RECALL_QUERIES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("too many queries: %d, at most %d are allowed", n, RECALL_QUERIES_MAX)));
	r->queries = palloc0(Max(n, 1) * sizeof(RecallQuery));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("query %d is null", i + 1)));
		add_query(r, halves ? halfvec_of(elements[i]) : PointerGetDatum(PG_DETOAST_DATUM(elements[i])), NULL);
	}
}

/* ---- truth and answers -------------------------------------------------------------------------------------------------------- */

/* The row in r->slot is the query: never so for a query that was given, which has no TID. */
static inline bool
is_itself(const Recall *r, const RecallQuery *query)
{
	return ItemPointerIsValid(&query->self) && ItemPointerEquals((ItemPointer) &query->self, &r->slot->tts_tid);
}

/* RowVisitor */
static void
compare_row(Recall *r, Datum vector, void *arg)
{
	for (uint32 i = 0; i < r->n; i++)
	{
		RecallQuery	   *query = &r->queries[i];
		double		distance = distance_between(r, vector, query->vector);

		if (!isnan(distance) && nearest_wants(&query->truth, r->k, distance) &&
			!is_itself(r, query))
			nearest_add(&query->truth, r->k, distance);
	}
}

/* Rows of a scan before it is certain that the index does not find the query itself. */
#define SELF_ROWS_MAX 20

static void
begin_query(Recall *r, IndexScanDesc scan, RecallQuery *query)
{
	ScanKeyData orderby;

	ScanKeyEntryInitialize(&orderby, 0, 1, 1, r->index->rd_opcintype[0], r->collation, r->distance_oid, query->vector);
	index_rescan(scan, NULL, 0, &orderby, 1);
}

/*
 * The node of a query that is a row of the table; PHNSW_NONE where it has more rows, which are neighbours, or is not found.
 */
static uint32
own_node(Recall *r, IndexScanDesc scan, RecallQuery *query)
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
 * Rows that the index returns among the k nearest, and that are no farther than the k-th true neighbour.  The scan's bounds
 * tell when no nearer row can come, as they tell the executor.
 */
static uint32
count_found(Recall *r, IndexScanDesc scan, RecallQuery *query, Nearest *answer)
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
		if (!is_itself(r, query) && row_vector(r, &vector))
			nearest_add(answer, r->k, distance_between(r, vector, query->vector));
		if (answer->n == r->k && answer->distances[0] <= DatumGetFloat8(scan->xs_orderbyvals[0]))
			break;
	}
	for (uint32 i = 0; i < answer->n; i++)
		found += answer->distances[i] <= query->truth.distances[0];
	return Min(found, query->truth.n);
}

typedef struct Estimate
{
	uint32		queries;
	double		recall;
	double		low;
	double		high;
} Estimate;

static void
make_estimate(const double *recalls, uint32 n, uint32 k, Estimate *estimate)
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

static void
measure(Recall *r, Estimate *estimate)
{
	Nearest		answer = {.distances = palloc(r->k * sizeof(double))};
	double	   *recalls = palloc(Max(r->n, 1) * sizeof(double));
	uint32		n = 0;
	IndexScanDesc scan;

	visit_rows(r, compare_row, NULL);
	scan = PhnswIndexBeginScan(r->heap, r->index, r->snapshot, 1);
	((PhnswScan *) scan->opaque)->in_order = false; /* it asks for bounds */
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

/* ---- the function ------------------------------------------------------------------------------------------------------------- */

static int
argument(FunctionCallInfo fcinfo, int number, const char *name, int low, int high)
{
	int			value;

	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	value = PG_GETARG_INT32(number);
	if (value < low || value > high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d", name, low, high)));
	return value;
}

/* Recall tells about rows: it is for those who may read all of them. */
static void
require_select(Relation heap)
{
	Oid			relid = RelationGetRelid(heap);
	AclResult	result = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(heap->rd_rel->relkind), RelationGetRelationName(heap));
	if (check_enable_rls(relid, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table \"%s\"", RelationGetRelationName(heap)),
				 errdetail("Row-level security hides rows that the recall is computed from.")));
}

static void
prepare(Recall *r)
{
	Oid			type = r->index->rd_opcintype[0];
	Oid			operator = get_opfamily_member(r->index->rd_opfamily[0], type, type, 1);

	r->distance_oid = get_opcode(operator);
	fmgr_info(r->distance_oid, &r->distance);
	r->collation = r->index->rd_indcollation[0];
	r->info = BuildIndexInfo(r->index);
	r->estate = CreateExecutorState();
	r->predicate = ExecPrepareQual(r->info->ii_Predicate, r->estate);
	r->slot = table_slot_create(r->heap, NULL);
	r->snapshot = GetActiveSnapshot();
}

static void
set_ef(int ef)
{
	char		value[16];

	snprintf(value, sizeof(value), "%d", ef);
	(void) set_config_option("phnsw.ef_search", value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

Datum
phnsw_recall(PG_FUNCTION_ARGS)
{
	Recall		r = {.k = argument(fcinfo, 1, "k", 1, RECALL_K_MAX)};
	int			sample = argument(fcinfo, 2, "sample", 1, RECALL_QUERIES_MAX);
	int			ef = argument(fcinfo, 3, "ef", 0, PHNSW_EF_MAX);
	phnsw_stop	stop;
	Estimate	estimate = {0};
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {0};
	Oid			user;
	int			security;
	int			guc_level;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "phnsw_recall does not return the row that it was written for");
	r.index = phnsw_open_to_read(PG_GETARG_OID(0), AccessShareLock, &r.heap);
	require_select(r.heap);
	phnsw_batch_flush(r.index);

	/* The index's expressions are its owner's code. */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(r.heap->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
	if (ef > 0)
		set_ef(ef);

	prepare(&r);
	if (PG_ARGISNULL(4))
		draw_queries(&r, sample);
	else
		take_queries(&r, PG_GETARG_ARRAYTYPE_P(4));
	measure(&r, &estimate);
	ef = phnsw_choose_search(&phnsw_index_open(r.index)->meta, &stop);

	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(user, security);
	ExecDropSingleTupleTableSlot(r.slot);
	FreeExecutorState(r.estate);
	relation_close(r.index, AccessShareLock);
	table_close(r.heap, AccessShareLock);

	values[0] = Int32GetDatum(r.k);
	values[1] = Int32GetDatum(phnsw_stop_ef(ef, &stop));
	values[2] = Float8GetDatum(estimate.recall);
	values[3] = Float8GetDatum(estimate.low);
	values[4] = Float8GetDatum(estimate.high);
	values[5] = Int32GetDatum(estimate.queries);
	nulls[2] = nulls[3] = nulls[4] = estimate.queries == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
