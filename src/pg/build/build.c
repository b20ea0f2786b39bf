/*
 * build.c
 *    CREATE INDEX and REINDEX: the steps of a bulk build, and indexes without rows.
 *
 * The core builds the graph on threads of its own while this backend's thread stays with PostgreSQL: it scans the
 * table, hands over chunks of vectors, polls for interrupts and at the end writes the pages that the threads format.
 *
 *    scan the table; with the first row, start the core       build_feed.c
 *    no more rows: wait for the graph
 *    write pages while the team formats the next ones and      build_write.c
 *    calibrates, at last the meta page
 *    join, destroy
 *
 * No thread outlives phnsw_ambuild(), however it ends: PG_ENSURE_ERROR_CLEANUP destroys the core's build, which joins,
 * on ERROR and on FATAL.  The memory context owns it as well, for an error before that.
 *
 * The same rows in the same order give the same pages, whatever the number of threads: the seed is a constant and
 * the scan does not synchronise with others.  Only build_id differs.
 */
#include "build/build.h"

#include <sched.h>
#include <unistd.h>

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/*
 * A bulk insert has one thread for so many rows: below, the team's barriers cost more than
 * they save as soon as other backends want the cores (2,000 rows of 128 dimensions on 2 cores
 * at a load of 10: 0.5 s with one thread, 1.4 s with two).
 */
#define PHNSW_BULK_ROWS_PER_THREAD 2000

#define PHNSW_BUILD_SEED UINT64CONST(0x9E3779B97F4A7C15)

/* Cores that this process may run on. */
static int
phnsw_cores(void)
{
#ifdef CPU_COUNT
	cpu_set_t	set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return Max(1, CPU_COUNT(&set));
#endif
	return Max(1, (int) sysconf(_SC_NPROCESSORS_ONLN));
}

/*
 * As many threads as a parallel build of a b-tree would have processes: this one and
 * max_parallel_maintenance_workers, or the table's own parallel_workers.  They run no SQL, so it does
 * not matter whether the indexed expression is parallel safe.
 */
uint32
phnsw_build_threads(Relation heap)
{
	int			workers = RelationGetParallelWorkers(heap, max_parallel_maintenance_workers);

	/* -1 where the table has options, but not this one. */
	if (workers < 0)
		workers = max_parallel_maintenance_workers;
	workers = Min(workers, max_parallel_maintenance_workers);
	return Min(1 + workers, phnsw_cores());
}

static uint32
phnsw_index_dims(Relation index)
{
	Form_pg_attribute column = TupleDescAttr(RelationGetDescr(index), 0);
	const char *type = phnsw_element_sql_type(phnsw_index_element(index));
	int32		dims = column->atttypmod;

	/* A domain has those of its base type. */
	getBaseTypeAndTypmod(column->atttypid, &dims);
	if (dims < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column does not have dimensions"),
				 errdetail("All vectors of a phnsw index have the same number of dimensions."),
				 errhint("Declare the column as %s(n), or index an expression: ((column::%s(n))).", type, type)));
	return dims;
}

static void
phnsw_build_describe(Relation heap, Relation index, phnsw_build_params *params)
{
	memset(params, 0, sizeof(*params));
	params->metric = phnsw_index_metric(index);
	params->dims = phnsw_index_dims(index);
	params->m = phnsw_option_m(index);
	params->ef_construction = phnsw_option_ef_construction(index);
	params->seed = PHNSW_BUILD_SEED;
	if (!pg_strong_random(&params->build_id, sizeof(params->build_id)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random build identifier")));
	params->memory_bytes = (size_t) maintenance_work_mem * 1024;
	params->calibrate = true;
	if (heap != NULL)
	{
		params->threads = phnsw_build_threads(heap);
		params->rows_expected = Max(heap->rd_rel->reltuples, 0);
	}
}

/* The meta page of an index without rows: any vector fits its codec, since the centre is the origin. */
static void
phnsw_empty_meta(const phnsw_build_params *params, phnsw_meta *meta)
{
	phnsw_error error = {0};

	memset(meta, 0, sizeof(*meta));
	meta->magic = PHNSW_MAGIC;
	meta->format_version = PHNSW_FORMAT_VERSION;
	meta->build_id = params->build_id;
	phnsw_ensure(phnsw_codec_choose(params->metric, params->dims, params->m, params->seed, &meta->codec, &error),
				 &error);
	meta->level_seed = params->seed;
	meta->ef_construction = params->ef_construction;
	meta->slot_bytes = phnsw_slot_bytes(meta->codec.code_dims, meta->codec.bits, params->m);
	meta->slots_per_page = PHNSW_PAGE_CONTENT / meta->slot_bytes;
	meta->aux_bytes = phnsw_aux_bytes(params->m);
	meta->aux_per_page = PHNSW_PAGE_CONTENT / meta->aux_bytes;
	meta->entry = PHNSW_NONE;
	meta->aux_free = PHNSW_NONE;
}

static void
phnsw_build_log(Relation index, const phnsw_build_params *params, const phnsw_build_result *result)
{
	const double *s = result->seconds;

	ereport(phnsw_log_build ? LOG : DEBUG1,
			(errmsg("phnsw build of index \"%s\": %u nodes of %u dimensions in %u blocks, %u threads; seconds: load %.2f, "
					"duplicates %.2f, partition %.2f, leaves %.2f, prune %.2f, upper levels %.2f, reachability %.2f, "
					"order %.2f, calibration %.2f, write %.2f",
					RelationGetRelationName(index), result->nodes, params->dims, result->total_blocks, params->threads,
					s[PHNSW_PHASE_LOAD], s[PHNSW_PHASE_DUPLICATES], s[PHNSW_PHASE_PARTITION], s[PHNSW_PHASE_LEAVES],
					s[PHNSW_PHASE_PRUNE], s[PHNSW_PHASE_UPPER], s[PHNSW_PHASE_REACH], s[PHNSW_PHASE_ORDER],
					s[PHNSW_PHASE_CALIBRATE], s[PHNSW_PHASE_WRITE]),
			 errhidestmt(true)));
}

/* Joins the threads and frees everything at once: an error inside a transaction block keeps the context for long. */
static void
phnsw_build_end(PhnswBuild *build)
{
	phnsw_build *core = *build->core;

	*build->core = NULL;
	phnsw_build_destroy(core);
}

static void
phnsw_build_abort(int code, Datum build)
{
	phnsw_build_end((PhnswBuild *) DatumGetPointer(build));
}

static void
phnsw_build_steps(PhnswBuild *build, IndexBuildResult *counts)
{
	phnsw_build_result result;
	phnsw_error error = {0};
	instr_time	start;
	instr_time	write;

	counts->heap_tuples = phnsw_build_feed(build);
	if (build->refused)
		return;
	if (*build->core == NULL)
	{
		if (build->replace || build->trial != NULL)
			return;
		phnsw_empty_meta(&build->params, &result.meta);
		phnsw_build_write_empty(build->index, MAIN_FORKNUM, &result.meta);
		return;
	}
	phnsw_build_graph(build);
	if (build->refused)
		return;
	phnsw_ensure(phnsw_build_result_get(*build->core, &result, &error), &error);
	counts->index_tuples = result.tids;
	if (build->trial != NULL)
	{
		*build->trial = result;
		return;
	}

	INSTR_TIME_SET_CURRENT(start);
	if (build->replace)
		phnsw_build_write_over(build, &result);
	else
		phnsw_build_write(build, &result);
	if (build->refused)
		return;
	INSTR_TIME_SET_CURRENT(write);
	INSTR_TIME_SUBTRACT(write, start);
	/* With the calibration's time. */
	phnsw_ensure(phnsw_build_result_get(*build->core, &result, &error), &error);
	result.seconds[PHNSW_PHASE_WRITE] = INSTR_TIME_GET_DOUBLE(write);

	phnsw_build_log(build->index, &build->params, &result);
}

/* A build under the protection that the file's header promises. */
static void
phnsw_build_run(PhnswBuild *build, IndexBuildResult *counts)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw build", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);

	build->spill = -1;
	build->core = (phnsw_build **) phnsw_own(context, (phnsw_destroyer) phnsw_build_destroy);

	PG_ENSURE_ERROR_CLEANUP(phnsw_build_abort, PointerGetDatum(build));
	{
		phnsw_build_steps(build, counts);
	}
	PG_END_ENSURE_ERROR_CLEANUP(phnsw_build_abort, PointerGetDatum(build));

	phnsw_build_end(build);
	if (build->spill >= 0)
		FileClose(build->spill);
	if (build->index != NULL)
		phnsw_index_forget(RelationGetRelid(build->index));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

IndexBuildResult *
phnsw_ambuild(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *counts = palloc0(sizeof(IndexBuildResult));
	PhnswBuild	build = {.heap = heap, .index = index, .source = phnsw_build_scan, .source_arg = info,
		.element = phnsw_index_element(index)};

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data", RelationGetRelationName(index));
	phnsw_batch_forget(index);
	phnsw_build_describe(heap, index, &build.params);
	build.params.calibrate_late = true;
	phnsw_build_run(&build, counts);
	return counts;
}

bool
phnsw_bulk_replace(Relation heap, Relation index, uint64 rows, PhnswRowSource source, void *arg, uint64 *written)
{
	IndexBuildResult counts;
	PhnswBuild	build = {.heap = heap, .index = index, .source = source, .source_arg = arg, .replace = true,
		.rows = rows, .written = written};

	phnsw_build_describe(heap, index, &build.params);
	build.params.rows_expected = Min(rows, PG_UINT32_MAX);
	build.params.threads = Max(1, Min(build.params.threads, rows / PHNSW_BULK_ROWS_PER_THREAD));
	/* The other half holds the rows (batch.c). */
	build.params.memory_bytes /= 2;
	phnsw_build_run(&build, &counts);
	return !build.refused;
}

bool
phnsw_build_trial(Relation heap, const phnsw_build_params *wanted, PhnswRowSource source, void *arg,
				  phnsw_build_result *result)
{
	IndexBuildResult counts = {0};
	PhnswBuild	build = {.heap = heap, .params = *wanted, .source = source, .source_arg = arg, .trial = result};

	build.params.seed = PHNSW_BUILD_SEED;
	build.params.threads = phnsw_build_threads(heap);
	build.params.memory_bytes = (size_t) maintenance_work_mem * 1024;
	build.params.calibrate = true;
	phnsw_build_run(&build, &counts);
	return counts.index_tuples > 0;
}

void
phnsw_ambuildempty(Relation index)
{
	phnsw_build_params params;
	phnsw_meta	meta;

	phnsw_build_describe(NULL, index, &params);
	phnsw_empty_meta(&params, &meta);
	phnsw_build_write_empty(index, INIT_FORKNUM, &meta);
}
