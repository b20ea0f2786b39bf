/*
 * build_feed.c
 *    The backend's half of a build while the core works: rows in, interrupts, progress, the spill file.
 *
 * Every wait is a poll of at most 50 ms, so a cancel is seen at once; the core's threads
 * see only chunks of floats and the mapped file (spill.c).
 */
#include "build/build.h"

#include "access/tableam.h"
#include "build/spill.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "toast/detoast.h"
#include "types/type_halfvec.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

/* Bulk insert and trial have no progress view of their own, and the parameters may be those of COPY. */
void
phnsw_build_report(PhnswBuild *build, phnsw_build_phase phase, uint64 done, uint64 total)
{
	static const int parameters[] = {PROGRESS_CREATEIDX_SUBPHASE, PROGRESS_CREATEIDX_TUPLES_TOTAL,
									 PROGRESS_CREATEIDX_TUPLES_DONE};
	int64		values[lengthof(parameters)];

	if (build->replace || build->trial != NULL)
		return;
	values[0] = 1 + phase;
	values[1] = total;
	values[2] = done;
	pgstat_progress_update_multi_param(lengthof(parameters), parameters, values);
}

bool
phnsw_build_goes_on(PhnswBuild *build, phnsw_status status, const phnsw_error *error)
{
	if (status == PHNSW_OUT_OF_MEMORY && build->replace)
		build->refused = true;
	else
		phnsw_ensure(status, error);
	return !build->refused;
}

static void
phnsw_build_spill(PhnswBuild *build, uint64 bytes)
{
	phnsw_error error = {0};

	if (!build->replace)
		phnsw_spill_extend(&build->spill, &build->spill_bytes, bytes);
	else if (!phnsw_spill_try(&build->spill, &build->spill_bytes, bytes))
	{
		build->refused = true;
		return;
	}
	phnsw_build_goes_on(build,
						phnsw_build_map_spill(*build->core, FileGetRawDesc(build->spill), build->spill_bytes, &error),
						&error);
}

phnsw_status
phnsw_build_poll(PhnswBuild *build, uint32 milliseconds)
{
	phnsw_progress progress;
	phnsw_error error = {0};
	phnsw_status status = phnsw_build_wait(*build->core, milliseconds, &progress, &error);

	if (status != PHNSW_RUNNING && !phnsw_build_goes_on(build, status, &error))
		return status;
	build->points = progress.points;
	phnsw_build_report(build, progress.phase, progress.done, progress.total);
	if (progress.spill_bytes > build->spill_bytes)
		phnsw_build_spill(build, progress.spill_bytes);
	CHECK_FOR_INTERRUPTS();
	return build->refused ? PHNSW_OUT_OF_MEMORY : status;
}

static bool
phnsw_build_begin(PhnswBuild *build)
{
	phnsw_error error = {0};

	return phnsw_build_goes_on(build, phnsw_build_create(&build->params, build->core, &error), &error) &&
		phnsw_build_goes_on(build, phnsw_build_start(*build->core, &error), &error);
}

static bool
phnsw_build_submit_filled(PhnswBuild *build)
{
	phnsw_error error = {0};
	uint32		filled = build->filled;

	build->filled = 0;
	return phnsw_build_goes_on(build, phnsw_build_submit(*build->core, filled, &error), &error);
}

/* Hands over the full chunk and waits for a free one.  false: refused. */
static bool
phnsw_build_next_chunk(PhnswBuild *build)
{
	phnsw_error error = {0};
	phnsw_status status;

	if (*build->core == NULL && !phnsw_build_begin(build))
		return false;
	if (build->filled > 0 && !phnsw_build_submit_filled(build))
		return false;
	phnsw_build_poll(build, 0);
	while (!build->refused)
	{
		status = phnsw_build_chunk(*build->core, &build->vectors, &build->tids, &build->chunk_rows, &error);
		if (status != PHNSW_RUNNING)
			return phnsw_build_goes_on(build, status, &error);
		phnsw_build_poll(build, PHNSW_POLL_MS);
	}
	return false;
}

/* The place of the next row in the chunk; NULL: the build is refused. */
static inline float *
phnsw_build_place(PhnswBuild *build)
{
	if (build->filled == build->chunk_rows && !phnsw_build_next_chunk(build))
		return NULL;
	return build->vectors + (Size) build->filled * build->params.dims;
}

static inline void
phnsw_build_placed(PhnswBuild *build, ItemPointer tid)
{
	memcpy(&build->tids[build->filled], tid, sizeof(phnsw_tid));
	build->filled++;
}

bool
phnsw_build_add(PhnswBuild *build, const float *vector, ItemPointer tid)
{
	float	   *place = phnsw_build_place(build);

	if (place == NULL)
		return false;
	memcpy(place, vector, build->params.dims * sizeof(float));
	phnsw_build_placed(build, tid);
	return true;
}

/* Halves are widened where they are wanted. */
static void
add_halves(PhnswBuild *build, Datum value, ItemPointer tid, float *place)
{
	/* Detoasting does not look behind the header, which both types share. */
	const HalfVector *halves = (const HalfVector *) phnsw_detoast(value, 0);

	phnsw_check_expected_dim(build->params.dims, phnsw_value_dims(PHNSW_ELEMENT_HALF, halves));
	phnsw_half_widen(halves->x, place, halves->dim);
	phnsw_build_placed(build, tid);
}

/* IndexBuildCallback: one row of the table. */
static void
phnsw_build_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	PhnswBuild *build = arg;
	const Vector *vector;
	float	   *place;

	if (isnull[0])
		return;
	place = phnsw_build_place(build);	/* only a bulk insert is refused */
	if (build->element == PHNSW_ELEMENT_HALF)
	{
		add_halves(build, values[0], tid, place);
		return;
	}
	if (phnsw_detoast_run((struct varlena *) DatumGetPointer(values[0]), build->params.dims, place))
	{
		phnsw_build_placed(build, tid);
		return;
	}
	vector = phnsw_detoast(values[0], 0);
	phnsw_check_expected_dim(build->params.dims, phnsw_value_dims(PHNSW_ELEMENT_FLOAT, vector));
	phnsw_build_add(build, vector->x, tid);
}

double
phnsw_build_scan(PhnswBuild *build, void *arg)
{
	/* No synchronised scan: it would start anywhere, and the order of rows decides about ids. */
	return table_index_build_scan(build->heap, build->index, (IndexInfo *) arg, false, true, phnsw_build_row, build,
								  NULL);
}

double
phnsw_build_feed(PhnswBuild *build)
{
	phnsw_error error = {0};
	double		rows = build->source(build, build->source_arg);

	if (*build->core != NULL && !build->refused && phnsw_build_submit_filled(build))
		phnsw_build_goes_on(build, phnsw_build_finish_rows(*build->core, &error), &error);
	return rows;
}

void
phnsw_build_graph(PhnswBuild *build)
{
	uint32		wait = 0;

	while (phnsw_build_poll(build, wait) == PHNSW_RUNNING)
		wait = phnsw_build_wal_ahead(build);
}
