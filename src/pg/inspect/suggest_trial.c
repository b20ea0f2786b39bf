/*
 * suggest_trial.c
 *    How hard a table's vectors are, measured: an index on a sample of the rows, built in memory and thrown away.
 *
 * The build calibrates (core/build), so it tells which ef finds the wanted share of the neighbours among the
 * sample's rows.  More rows need a larger ef, about in proportion to a power of their number that differs between
 * data sets: from 0.1 (images) over 0.4 (words) to 0.8 (noise of 256 dimensions), docs/monitoring.md says how good
 * the forecast is.  A second build, on an eighth of the sample, gives this power.
 *
 * The sample is TABLESAMPLE SYSTEM, so whole pages, the same ones every time; it is read through
 * SPI with the caller's rights, and row-level security applies.
 */
#include "inspect/suggest.h"

#include "build/build.h"

#include <math.h>

#include "executor/spi.h"
#include "miscadmin.h"
#include "types/type_vector.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Fewer are swept, whatever ef is (scan.c). */
#define TRIAL_ROWS_MIN 2000
/* Of which the second build has one. */
#define TRIAL_PART     8
/* The power is measured when the smaller sample has so many rows. */
#define TRIAL_PART_MIN 1000
#define TRIAL_POWER    0.35
/*
 * Where the smallest ef of the calibration suffices the power seems to be 0;
 * more rows have cost at least this much on all data.
 */
#define TRIAL_POWER_MIN 0.2
#define TRIAL_POWER_MAX 1.0
#define TRIAL_FETCH    500

/* PhnswRowSource's argument: every `step`-th row of the sample. */
typedef struct TrialRows
{
	const PhnswTrial *trial;
	uint32		step;
} TrialRows;

static char *
sample_query(const PhnswTrial *trial)
{
	Oid			relid = RelationGetRelid(trial->table);
	const char *column = quote_identifier(get_attname(relid, trial->column, false));
	/* A few pages more than needed on average. */
	double		percent = Min(100.0, 105.0 * trial->sample / Max(trial->table_rows, 1.0));

	return psprintf("SELECT %s FROM ONLY %s TABLESAMPLE pg_catalog.system (%.6f) REPEATABLE (1) WHERE %s IS NOT NULL",
					column, quote_qualified_identifier(get_namespace_name(RelationGetNamespace(trial->table)),
											   RelationGetRelationName(trial->table)),
					Max(percent, 1e-6), column);
}

/* Hands a fetched vector over. */
static void
feed_row(PhnswBuild *build, PhnswElement element, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	PhnswCoordinates vector;
	ItemPointerData tid;

	/* Any will do: nobody follows it. */
	ItemPointerSet(&tid, 0, 1);
	phnsw_coordinates_open(element, SPI_getbinval(tuple, desc, 1, &isnull), &vector);
	phnsw_check_expected_dim(build->params.dims, vector.dims);
	phnsw_build_add(build, vector.x, &tid);
	phnsw_coordinates_close(&vector);
}

/* PhnswRowSource */
static double
feed_sample(PhnswBuild *build, void *arg)
{
	const TrialRows *rows = arg;
	uint64		seen = 0;
	uint64		fed = 0;
	Portal		portal;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = SPI_cursor_open_with_args(NULL, sample_query(rows->trial), 0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, TRIAL_FETCH);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			/* The estimate of the table's rows may be far off. */
			if (seen++ % rows->step != 0 || fed >= 2 * (uint64) rows->trial->sample / rows->step)
				continue;
			feed_row(build, rows->trial->element, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			fed++;
		}
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	SPI_finish();
	return fed;
}

/* ef for the target among every step-th row of the sample.  false: too few vectors differ. */
static bool
measure(PhnswTrial *trial, uint32 step, double *rows, double *ef)
{
	TrialRows	source = {.trial = trial, .step = step};
	phnsw_build_result result;

	trial->params.rows_expected = Min(trial->sample / step, trial->table_rows);
	if (!phnsw_build_trial(trial->table, &trial->params, feed_sample, &source, &result) ||
		result.nodes < TRIAL_ROWS_MIN / step)
		return false;
	*rows = result.tids;
	*ef = phnsw_target_ef(&result.meta);
	return true;
}

static bool
may_read(const PhnswTrial *trial)
{
	Oid			relid = RelationGetRelid(trial->table);

	return pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck(relid, trial->column, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

bool
phnsw_trial(PhnswTrial *trial)
{
	double		power = TRIAL_POWER;
	double		rows;
	double		ef;
	double		part_rows;
	double		part_ef;

	if (trial->sample == 0 || trial->table_rows < TRIAL_ROWS_MIN ||
		!RELKIND_HAS_TABLE_AM(trial->table->rd_rel->relkind) || !may_read(trial) || !measure(trial, 1, &rows, &ef))
		return false;
	if (trial->index_rows <= rows)
		power = 0;
	else if (rows >= TRIAL_PART * TRIAL_PART_MIN && measure(trial, TRIAL_PART, &part_rows, &part_ef))
	{
		power = log(ef / part_ef) / log(rows / part_rows);
		power = Max(TRIAL_POWER_MIN, Min(power, TRIAL_POWER_MAX));
	}
	trial->rows = rows;
	trial->ef = Min(ef * pow(trial->index_rows / rows, power), PHNSW_EF_MAX);
	return true;
}
