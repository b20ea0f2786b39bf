/*
 * module.c
 *    Loading of the library: magic block, settings, reloptions.
 *
 * The library may be loaded by the postmaster (shared_preload_libraries): nothing here starts a thread or allocates
 * anything that a fork could not inherit.
 */
#include "phnsw.h"

#include <float.h>

#include "fmgr.h"
#include "utils/guc.h"

PHNSW_MODULE_MAGIC(PHNSW_VERSION);

int			phnsw_ef_search = 0;
double		phnsw_target_recall = 0.95;
int			phnsw_max_scan_tuples = 0;
int			phnsw_iterative_scan = PHNSW_ORDER_STRICT;
bool		phnsw_check_bounds = false;
bool		phnsw_log_build = false;
int			phnsw_merge_threshold = -1;

static char *phnsw_simd;

static const struct config_enum_entry phnsw_orders[] = {
	{"strict_order", PHNSW_ORDER_STRICT, false},
	{"relaxed_order", PHNSW_ORDER_RELAXED, false},
	{NULL, 0, false}
};

void		_PG_init(void);

/* A check hook must not change anything, and the core can only try: so the kernels in use are put back. */
static bool
phnsw_simd_check(char **value, void **extra, GucSource source)
{
	char		before[16];
	bool		known;

	strlcpy(before, phnsw_simd_name(), sizeof(before));
	known = phnsw_simd_force(*value);
	phnsw_simd_force(before);
	if (!known)
	{
		GUC_check_errdetail("This machine has no such instruction set, or phnsw has no kernels for it.");
		GUC_check_errhint("Available values: auto, scalar, avx2, avxvnni, avx512.");
	}
	return known;
}

static void
phnsw_simd_assign(const char *value, void *extra)
{
	phnsw_simd_force(value);
}

static void
phnsw_define_search_settings(void)
{
	DefineCustomIntVariable("phnsw.ef_search",
							"Number of candidates that an index scan keeps before it returns its first row.",
							"0 chooses it by phnsw.target_recall and what the build measured.",
							&phnsw_ef_search, 0, 0, PHNSW_EF_MAX, PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomRealVariable("phnsw.target_recall",
							 "Share of the true nearest neighbours that an index scan aims to return.",
							 "Used when phnsw.ef_search is 0.",
							 &phnsw_target_recall, 0.95, 0.5, 0.999, PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("phnsw.max_scan_tuples",
							"Number of rows after which an index scan ends, however many are still wanted.",
							"0 lets it go on until the index is exhausted.",
							&phnsw_max_scan_tuples, 0, 0, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomEnumVariable("phnsw.iterative_scan",
							 "What an index scan does with rows that it finds after farther ones were returned.",
							 "strict_order keeps them for the very end, relaxed_order returns them as they are found.",
							 &phnsw_iterative_scan, PHNSW_ORDER_STRICT, phnsw_orders, PGC_USERSET, 0, NULL, NULL, NULL);
}

static void
phnsw_define_developer_settings(void)
{
	DefineCustomBoolVariable("phnsw.check_bounds",
							 "Verifies every distance bound of an index scan against the row in the table.",
							 "For tests: it reads every row twice.",
							 &phnsw_check_bounds, false, PGC_USERSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);

	DefineCustomBoolVariable("phnsw.log_build",
							 "Logs one line for every index build, with the time that each phase took.",
							 NULL,
							 &phnsw_log_build, false, PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("phnsw.merge_threshold",
							"Number of rows that a transaction inserts into a filled index from which on they are "
							"merged together.",
							"For tests: -1 decides by what either way is expected to cost.",
							&phnsw_merge_threshold, -1, -1, INT_MAX, PGC_USERSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);

	DefineCustomStringVariable("phnsw.simd",
							   "Instruction set of the distance kernels: auto, scalar, avx2, avxvnni or avx512.",
							   "For tests: auto chooses the best that the machine has.",
							   &phnsw_simd, "auto", PGC_USERSET, GUC_NOT_IN_SAMPLE,
							   phnsw_simd_check, phnsw_simd_assign, NULL);
}

void
_PG_init(void)
{
	phnsw_define_search_settings();
	phnsw_define_developer_settings();
	phnsw_test_point_init();
	MarkGUCPrefixReserved("phnsw");
	phnsw_options_register();
	phnsw_batch_init();
	phnsw_row_place_init();
	phnsw_stats_init();
	phnsw_explain_init();
}
