/*
 * recall.c
 *    phnsw_recall(): which share of the true nearest neighbours an index finds.
 *
 * The queries are rows of the table itself, drawn evenly and each without itself among its
 * neighbours, or vectors that the caller gives.  Everything happens under the snapshot of the
 * calling statement, so that both sides see the same rows.
 *
 * Cost: two passes over the table (one for given queries), queries x rows distances, and the scans of the index.
 */
#include "inspect/check.h"
#include "inspect/recall.h"
#include "types/type_halfvec.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/relation.h"
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

/* ---- rows ------------------------------------------------------------------------------------ */

bool
phnsw_recall_vector(PhnswRecall *r, Datum *vector)
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

void
phnsw_recall_rows(PhnswRecall *r, PhnswRowVisitor visitor, void *arg)
{
	TableScanDesc scan = table_beginscan_strat(r->heap, r->snapshot, 0, NULL, true, false);
	Datum		vector;

	while (table_scan_getnextslot(scan, ForwardScanDirection, r->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (phnsw_recall_vector(r, &vector))
			visitor(r, vector, arg);
	}
	table_endscan(scan);
	ExecClearTuple(r->slot);
}

/* ---- queries --------------------------------------------------------------------------------- */

static void
add_query(PhnswRecall *r, Datum vector, const ItemPointerData *self)
{
	PhnswRecallQuery *query = &r->queries[r->n++];

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

/* PhnswRowVisitor.  Reservoir sampling: of the rows so far, each is among the queries with the same probability. */
static void
draw_row(PhnswRecall *r, Datum vector, void *arg)
{
	Draw	   *draw = arg;
	uint64		place;

	if (isnan(phnsw_recall_distance(r, vector, vector)))
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
		PhnswRecallQuery *query = &r->queries[place];

		pfree(DatumGetPointer(query->vector));
		query->vector = datumCopy(vector, false, -1);
		query->self = r->slot->tts_tid;
	}
}

static void
draw_queries(PhnswRecall *r, uint32 sample)
{
	Draw		draw = {.rows = 0};

	r->room = sample;
	r->queries = palloc0(sample * sizeof(PhnswRecallQuery));
	pg_prng_seed(&draw.random, RECALL_SEED);
	phnsw_recall_rows(r, draw_row, &draw);
}

/* The function takes vectors: those for an index on halfvec are rounded, as a cast would. */
static Datum
halfvec_of(Datum value)
{
	const Vector *vector = DatumGetVector(value);

	return PointerGetDatum(phnsw_halfvec_from(vector->x, vector->dim));
}

static void
take_queries(PhnswRecall *r, ArrayType *array)
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
	r->queries = palloc0(Max(n, 1) * sizeof(PhnswRecallQuery));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("query %d is null", i + 1)));
		add_query(r, halves ? halfvec_of(elements[i]) : PointerGetDatum(PG_DETOAST_DATUM(elements[i])), NULL);
	}
}

/* ---- the function ---------------------------------------------------------------------------- */

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
prepare(PhnswRecall *r)
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
	PhnswRecall r = {.k = argument(fcinfo, 1, "k", 1, RECALL_K_MAX)};
	int			sample = argument(fcinfo, 2, "sample", 1, RECALL_QUERIES_MAX);
	int			ef = argument(fcinfo, 3, "ef", 0, PHNSW_EF_MAX);
	phnsw_stop	stop;
	PhnswRecallEstimate estimate = {0};
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
	phnsw_recall_measure(&r, &estimate);
	ef = phnsw_choose_search(&phnsw_index_open(r.index)->meta, r.index->rd_rel->relam, &stop);

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
