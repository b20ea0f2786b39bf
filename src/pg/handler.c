/*
 * handler.c
 *    What the access method can do, and where: the IndexAmRoutine.
 */
#include "phnsw.h"

#include "commands/progress.h"
#include "commands/vacuum.h"
#include "fmgr.h"

PG_FUNCTION_INFO_V1(phnsw_handler);

/* Names of CREATE INDEX's phases in pg_stat_progress_create_index; subphase = 1 + phnsw_build_phase. */
static char *
phnsw_ambuildphasename(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case 1 + PHNSW_PHASE_LOAD:
			return "loading and encoding rows";
		case 1 + PHNSW_PHASE_DUPLICATES:
			return "joining equal vectors";
		case 1 + PHNSW_PHASE_PARTITION:
			return "partitioning";
		case 1 + PHNSW_PHASE_LEAVES:
			return "comparing within partitions";
		case 1 + PHNSW_PHASE_PRUNE:
			return "selecting neighbours";
		case 1 + PHNSW_PHASE_UPPER:
			return "building upper levels";
		case 1 + PHNSW_PHASE_REACH:
			return "checking reachability";
		case 1 + PHNSW_PHASE_ORDER:
			return "ordering nodes";
		case 1 + PHNSW_PHASE_CALIBRATE:
			return "calibrating";
		case 1 + PHNSW_PHASE_WRITE:
			return "writing pages";
		default:
			return NULL;
	}
}

/* Every operator class has an ordering operator; PostgreSQL answers for the other properties. */
static bool
phnsw_amproperty(Oid index, int column, IndexAMProperty property, const char *name, bool *result, bool *isnull)
{
	if (property != AMPROP_DISTANCE_ORDERABLE || column == 0)
		return false;
	*result = true;
	return true;
}

Datum
phnsw_handler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = makeNode(IndexAmRoutine);

	/*
	 * One ordering operator, a support function that names the metric, and one
	 * that names the type's coordinates (validate.c).
	 */
	am->amstrategies = 1;
	am->amsupport = PHNSW_PROC_ELEMENT;
	am->amoptsprocnum = 0;
	am->amcanorder = false;
	am->amcanorderbyop = true;
	am->amcanbackward = false;	/* PostgreSQL refuses FETCH BACKWARD, or keeps rows for SCROLL */
	am->amcanunique = false;
	am->amcanmulticol = false;
	am->amoptionalkey = true;	/* ORDER BY alone is a scan */
	am->amsearcharray = false;
	am->amsearchnulls = false;
	am->amstorage = false;
	am->amclusterable = false;
	am->ampredlocks = false;
	am->amcanparallel = false;
	am->amcaninclude = false;
	am->amusemaintenanceworkmem = true;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL;
	am->amkeytype = InvalidOid;

	am->ambuild = phnsw_ambuild;
	am->ambuildempty = phnsw_ambuildempty;
	am->aminsert = phnsw_aminsert;
	am->ambulkdelete = phnsw_ambulkdelete;
	am->amvacuumcleanup = phnsw_amvacuumcleanup;
	am->amcanreturn = NULL;
	am->amcostestimate = phnsw_amcostestimate;
	am->amoptions = phnsw_options;
	am->amproperty = phnsw_amproperty;
	am->ambuildphasename = phnsw_ambuildphasename;
	am->amvalidate = phnsw_amvalidate;
	am->amadjustmembers = NULL;
	am->ambeginscan = phnsw_ambeginscan;
	am->amrescan = phnsw_amrescan;
	am->amgettuple = phnsw_amgettuple;
	am->amgetbitmap = NULL;
	am->amendscan = phnsw_amendscan;
	/* A merge join, the only one to go back, keeps what a scan has given instead (Materialize). */
	am->ammarkpos = NULL;
	am->amrestrpos = NULL;
	am->amestimateparallelscan = NULL;
	am->aminitparallelscan = NULL;
	am->amparallelrescan = NULL;

	PG_RETURN_POINTER(am);
}
