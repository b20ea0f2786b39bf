/*
 * suggest.c
 *    phnsw_suggest(): what an index on a column would cost, before it is built.
 *
 * The size follows from the format (capi/phnsw_format.h), to the page; equal vectors would make it smaller.  Memory
 * adds up the large arrays of the bulk build (core/build), per row.  Time is an estimate from measurements:
 * docs/monitoring.md says which, and on what machine.  The options follow from how hard the vectors are, which a build
 * on a sample of them measures (suggest_trial.c); without a sample they are the defaults.
 */
#include "inspect/suggest.h"

#include "build/build.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/pg_statistic.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(phnsw_suggest);

/* Microseconds of one core per row, and per coordinate and row, with the default options. */
#define BUILD_ROW_US        12.0
#define BUILD_COORDINATE_US 0.008
/* Time grows with ef_construction, beyond the default, to this power. */
#define BUILD_DENSITY_POWER 1.4
/* What one more thread adds. */
#define BUILD_THREAD_GAIN   0.85

/* Bytes per row of the build's arrays other than code and reservoir: head, TID, hash, order, partition's members. */
#define BUILD_ROW_BYTES     92
#define BUILD_FIXED_BYTES   (24 * 1024 * 1024)

#define SAMPLE_MAX 1000000

/*
 * Options by the ef that the defaults need.  Up to 100 nothing else pays: the same queries compare as many vectors with
 * more links, at twice the build time.  Above, lists of 24 or 32 links need 0.6 or 0.5 times the ef for the same
 * recall, 15 % fewer distances and half the hops; above 400 the default graph does not reach high targets at all.
 */
#define EF_OF_DEFAULTS 100
#define EF_OF_24_LINKS 400

typedef struct BuildPlan
{
	uint32		dims;
	double		rows;
	uint32		sample_rows;	/* 0: none were read */
	double		ef;				/* with a sample: what phnsw.target_recall will need */
	uint32		m;
	uint32		ef_construction;
	phnsw_codec_params codec;
	uint32		slot_bytes;
	double		bytes;
	double		memory;
	uint32		threads;
	double		seconds;
} BuildPlan;

/* ---- what there is --------------------------------------------------------------------------- */

static AttrNumber
find_column(Relation table, const char *name, uint32 *dims)
{
	AttrNumber	number = get_attnum(RelationGetRelid(table), name);
	Form_pg_attribute column;
	int32		typmod;

	if (number <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", name, RelationGetRelationName(table))));
	column = TupleDescAttr(RelationGetDescr(table), number - 1);
	if (!OidIsValid(GetDefaultOpClass(column->atttypid, get_index_am_oid("phnsw", false))))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" has type %s, which phnsw does not index", name,
						format_type_be(column->atttypid))));
	typmod = column->atttypmod;
	getBaseTypeAndTypmod(column->atttypid, &typmod);
	if (typmod < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" does not have dimensions", name),
				 errhint("Declare the column as %s(n).",
						 phnsw_element_sql_type(phnsw_type_element(column->atttypid)))));
	*dims = typmod;
	return number;
}

/* As far as ANALYZE knows. */
static double
null_share(Relation table, AttrNumber number)
{
	HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(RelationGetRelid(table)), Int16GetDatum(number),
										BoolGetDatum(false));
	double		share = 0;

	if (HeapTupleIsValid(tuple))
	{
		share = ((Form_pg_statistic) GETSTRUCT(tuple))->stanullfrac;
		ReleaseSysCache(tuple);
	}
	return share;
}

static double
indexed_rows(Relation table, AttrNumber number)
{
	BlockNumber pages;
	double		tuples;
	double		visible;

	estimate_rel_size(table, NULL, &pages, &tuples, &visible);
	return rint(tuples * (1 - null_share(table, number)));
}

/* ---- what it costs --------------------------------------------------------------------------- */

static double
pages_for(double entries, double per_page)
{
	return ceil(entries / per_page);
}

/* One node in m has a list on level 1, one of those in m on level 2, ... */
static double
upper_lists(double nodes, uint32 m)
{
	double		lists = 0;

	for (nodes /= m; nodes >= 1; nodes /= m)
		lists += nodes;
	return ceil(lists);
}

static void
plan_size(BuildPlan *plan)
{
	double		nodes = pages_for(plan->rows, PHNSW_PAGE_CONTENT / plan->slot_bytes);
	double		aux = pages_for(upper_lists(plan->rows, plan->m), PHNSW_PAGE_CONTENT / phnsw_aux_bytes(plan->m));
	double		centre = pages_for(plan->codec.space_dims, PHNSW_CENTRE_FLOATS);

	plan->bytes = (1 + (plan->rows > 0 ? centre : 0) + nodes + aux) * BLCKSZ;
}

static void
plan_build(BuildPlan *plan, Relation table)
{
	double		code = TYPEALIGN(64, plan->codec.code_dims);
	double		reservoir = TYPEALIGN(64, 16 + 8 * Min(Max(Max(plan->ef_construction - 2, 2 * plan->m), 30), 254));
	/* More candidates are compared, each with more of the others. */
	double		density = (double) plan->ef_construction / PHNSW_EFC_DEFAULT;

	if (density > 1)
		density = pow(density, BUILD_DENSITY_POWER);

	plan->memory = BUILD_FIXED_BYTES + plan->rows * (code + reservoir + BUILD_ROW_BYTES);
	plan->threads = phnsw_build_threads(table);
	plan->seconds = plan->rows * (BUILD_ROW_US + BUILD_COORDINATE_US * plan->dims) * density * 1e-6 /
		(1 + BUILD_THREAD_GAIN * (plan->threads - 1));
}

/* ---- the function ---------------------------------------------------------------------------- */

static uint32
option(FunctionCallInfo fcinfo, int number, const char *name, int otherwise, int low, int high)
{
	int			value = PG_ARGISNULL(number) ? otherwise : PG_GETARG_INT32(number);

	if (value < low || value > high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d", name, low, high)));
	return value;
}

static phnsw_metric
metric_argument(FunctionCallInfo fcinfo, int number)
{
	static const struct
	{
		const char *name;
		phnsw_metric metric;
	}			metrics[] = {{"l2", PHNSW_L2}, {"ip", PHNSW_IP}, {"cosine", PHNSW_COSINE}};
	const char *name = PG_ARGISNULL(number) ? "l2" : text_to_cstring(PG_GETARG_TEXT_PP(number));

	for (int i = 0; i < lengthof(metrics); i++)
	{
		if (strcmp(name, metrics[i].name) == 0)
			return metrics[i].metric;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("metric \"%s\" is not known", name),
			 errhint("Metrics are \"l2\", \"ip\" and \"cosine\".")));
}

/* Tries the plan's options on a sample; chooses others when they were left to us and the data is hard. */
static void
plan_search(BuildPlan *plan, PhnswTrial *trial, bool choose)
{
	trial->params.m = plan->m;
	trial->params.ef_construction = plan->ef_construction;
	if (plan->rows == 0 || !phnsw_trial(trial))
		return;
	if (choose && trial->ef > EF_OF_DEFAULTS)
	{
		plan->m = trial->params.m = trial->ef > EF_OF_24_LINKS ? 32 : 24;
		plan->ef_construction = trial->params.ef_construction = 4 * plan->m;
		if (!phnsw_trial(trial))
			return;
	}
	plan->sample_rows = trial->rows;
	plan->ef = trial->ef;
}

static void
make_plan(FunctionCallInfo fcinfo, BuildPlan *plan)
{
	Relation	table = table_open(PG_GETARG_OID(0), AccessShareLock);
	AttrNumber	number = find_column(table, NameStr(*PG_GETARG_NAME(1)), &plan->dims);
	PhnswTrial	trial = {.table = table, .column = number, .table_rows = indexed_rows(table, number),
		.element = phnsw_type_element(TupleDescAttr(RelationGetDescr(table), number - 1)->atttypid)};
	phnsw_error error = {0};

	plan->rows = PG_ARGISNULL(2) ? trial.table_rows : (double) PG_GETARG_INT64(2);
	if (plan->rows < 0 || plan->rows >= PHNSW_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rows must be between 0 and %u", PHNSW_NONE - 1)));
	plan->m = option(fcinfo, 3, "m", PHNSW_M_DEFAULT, PHNSW_M_MIN, PHNSW_M_MAX);
	plan->ef_construction = option(fcinfo, 4, "ef_construction", Max(PHNSW_EFC_DEFAULT, 2 * (int) plan->m), 2 * plan->m,
								   PHNSW_EFC_MAX);
	trial.params.metric = metric_argument(fcinfo, 5);
	trial.params.dims = plan->dims;
	trial.sample = option(fcinfo, 6, "sample", 0, 0, SAMPLE_MAX);
	trial.index_rows = plan->rows;
	plan_search(plan, &trial, PG_ARGISNULL(3) && PG_ARGISNULL(4));
	phnsw_ensure(phnsw_codec_choose(trial.params.metric, plan->dims, plan->m, 0, &plan->codec, &error), &error);
	plan->slot_bytes = phnsw_slot_bytes(plan->codec.code_dims, plan->codec.bits, plan->m);
	plan_size(plan);
	plan_build(plan, table);
	table_close(table, AccessShareLock);
}

Datum
phnsw_suggest(PG_FUNCTION_ARGS)
{
	BuildPlan		plan = {0};
	TupleDesc	desc;
	Datum		values[14];
	bool		nulls[14] = {0};
	int			n = 0;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "phnsw_suggest does not return the row that it was written for");
	make_plan(fcinfo, &plan);

	values[n++] = Int64GetDatum((int64) plan.rows);
	values[n++] = Int32GetDatum(plan.m);
	values[n++] = Int32GetDatum(plan.ef_construction);
	values[n++] = Int32GetDatum(plan.dims);
	values[n++] = Int32GetDatum(plan.codec.bits);
	values[n++] = Int64GetDatum((int64) plan.bytes);
	nulls[n] = plan.rows == 0;
	values[n++] = Float8GetDatum(plan.rows > 0 ? plan.bytes / plan.rows : 0);
	values[n++] = Int64GetDatum((int64) plan.memory);
	values[n++] = CStringGetTextDatum(psprintf("%.0fMB", ceil(plan.memory / (1024 * 1024))));
	values[n++] = BoolGetDatum(plan.memory <= maintenance_work_mem * 1024.0);
	values[n++] = Int32GetDatum(plan.threads);
	values[n++] = Float8GetDatum(plan.seconds);
	nulls[n] = plan.sample_rows == 0;
	values[n++] = Int32GetDatum(Max(PHNSW_EF_TEN_ROWS, (int32) ceil(plan.ef)));
	values[n++] = Int32GetDatum(plan.sample_rows);
	Assert(n == lengthof(values));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
