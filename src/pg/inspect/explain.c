/*
 * explain.c
 *    EXPLAIN (ANALYZE, PHNSW): what each index scan of the plan did, beside its node.  PostgreSQL 18 and newer;
 *    older servers have no such options, and phnsw_last_scan() only.
 *
 * The numbers are the scan's account (stats.c), summed over the node's loops.  The plan is printed while its scans are
 * still open, so the last loop is ended here; it would be ended by amendscan a moment later.  A scan in a parallel
 * worker has its account in the worker: only what the leader did is printed.
 *
 * EXPLAIN knows the option once the library is loaded.
 */
#include "phnsw.h"

#ifdef PHNSW_HAVE_EXPLAIN_OPTION

#include "commands/defrem.h"
#include "commands/explain.h"
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#include "scan/scan.h"

/* The state that EXPLAIN keeps for us: NULL, or this address when the option is on. */
static char option_is_on;
static int	extension_id;
static explain_per_node_hook_type next_per_node = NULL;
static explain_validate_options_hook_type next_validate_options = NULL;

static void
set_option(ExplainState *es, DefElem *option, ParseState *pstate)
{
	SetExplainExtensionState(es, extension_id, defGetBoolean(option) ? &option_is_on : NULL);
}

static bool
wanted(ExplainState *es)
{
	return GetExplainExtensionState(es, extension_id) != NULL;
}

/* When all options are known: ANALYZE may stand behind ours. */
static void
validate_options(ExplainState *es, List *options, ParseState *pstate)
{
	if (next_validate_options)
		next_validate_options(es, options, pstate);
	if (wanted(es) && !es->analyze)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("EXPLAIN option %s requires ANALYZE", "PHNSW")));
}

/* The scan of a plan node; NULL when the node is none of ours or was not executed. */
static PhnswScan *
scan_of(const PlanState *planstate)
{
	const IndexScanState *node = (const IndexScanState *) planstate;

	if (!phnsw_is_scan(planstate) || node->iss_ScanDesc == NULL)
		return NULL;
	return node->iss_ScanDesc->opaque;
}

static void
print_text(ExplainState *es, const PhnswAccount *account)
{
	const PhnswCounters *sum = &account->sum;

	ExplainIndentText(es);
	appendStringInfo(es->str, "phnsw: ef=%u hops=" UINT64_FORMAT " distances=" UINT64_FORMAT " pages=" UINT64_FORMAT
					 " misses=" UINT64_FORMAT " rechecks=" UINT64_FORMAT,
					 account->ef, sum->hops, sum->touches, sum->pins, sum->misses, sum->emitted);
	if (sum->late > 0)
		appendStringInfo(es->str, " late=" UINT64_FORMAT, sum->late);
	if (sum->sweeps > 0)
		appendStringInfo(es->str, " sweeps=" UINT64_FORMAT, sum->sweeps);
	if (sum->killed > 0)
		appendStringInfo(es->str, " killed=" UINT64_FORMAT, sum->killed);
	appendStringInfoChar(es->str, '\n');
}

static void
print_properties(ExplainState *es, const PhnswAccount *account)
{
	const PhnswCounters *sum = &account->sum;

	ExplainOpenGroup("phnsw", "phnsw", true, es);
	ExplainPropertyUInteger("Ef", NULL, account->ef, es);
	ExplainPropertyUInteger("Hops", NULL, sum->hops, es);
	ExplainPropertyUInteger("Distances", NULL, sum->touches, es);
	ExplainPropertyUInteger("Pages", NULL, sum->pins, es);
	ExplainPropertyUInteger("Page Misses", NULL, sum->misses, es);
	ExplainPropertyUInteger("Rechecks", NULL, sum->emitted, es);
	ExplainPropertyUInteger("Late Rows", NULL, sum->late, es);
	ExplainPropertyUInteger("Sweeps", NULL, sum->sweeps, es);
	ExplainPropertyUInteger("Killed Rows", NULL, sum->killed, es);
	ExplainCloseGroup("phnsw", "phnsw", true, es);
}

static void
print_node(PlanState *planstate, List *ancestors, const char *relationship, const char *plan_name, ExplainState *es)
{
	PhnswScan  *so;

	if (next_per_node)
		next_per_node(planstate, ancestors, relationship, plan_name, es);
	if (!wanted(es) || (so = scan_of(planstate)) == NULL)
		return;
	phnsw_stats_end(&so->account);
	if (so->account.sum.scans == 0)
		return;					/* opened, and never asked for a row */
	if (es->format == EXPLAIN_FORMAT_TEXT)
		print_text(es, &so->account);
	else
		print_properties(es, &so->account);
}

void
phnsw_explain_init(void)
{
	extension_id = GetExplainExtensionId("phnsw");
	RegisterExtensionExplainOption("phnsw", set_option);
	next_validate_options = explain_validate_options_hook;
	explain_validate_options_hook = validate_options;
	next_per_node = explain_per_node_hook;
	explain_per_node_hook = print_node;
}

#else							/* !PHNSW_HAVE_EXPLAIN_OPTION */

void
phnsw_explain_init(void)
{
}

#endif							/* PHNSW_HAVE_EXPLAIN_OPTION */
