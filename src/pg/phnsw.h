/*
 * phnsw.h
 *    Private header of the access method: the table of contents of this folder and what most files need.
 *
 * Prototypes are grouped by the file that defines them; what most files need is in headers of its own, included here.
 * The bytes of an index are described in core/capi/phnsw_format.h, the core's entries in core/capi/phnsw_core.h, lock
 * order in README.md.
 */
#ifndef PHNSW_H
#define PHNSW_H

#include "compat.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "executor/execdesc.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "storage/itemptr.h"

#include "capi/phnsw_core.h"
#include "index_cache.h"
#include "page/pages.h"
#include "search/search.h"
#include "stats/counters.h"

/* ---- module.c: settings ---------------------------------------------------------------------- */

typedef enum PhnswOrder
{
	PHNSW_ORDER_STRICT,			/* rows found too late come at the very end, behind all others */
	PHNSW_ORDER_RELAXED			/* rows found late are returned when they are found */
} PhnswOrder;

extern int	phnsw_ef_search;		/* 0: chosen by phnsw_target_recall and the index's calibration */
extern double phnsw_target_recall;	/* 0.5 ... 0.999 */
extern int	phnsw_max_scan_tuples;	/* 0: no limit */
extern int	phnsw_iterative_scan;	/* PhnswOrder */
extern bool phnsw_check_bounds;		/* developer: verify every bound against the heap */
extern bool phnsw_log_build;		/* LOG a line per build */
extern int	phnsw_merge_threshold;	/* developer: rows from which a batch is merged; -1: by cost */

/* ---- bridge.c: core status to ereport, memory contexts that own core handles ----------------- */

/* Raises the error that the core described, unless status is PHNSW_OK (or one of the caller's own outcomes). */
extern void phnsw_ensure(phnsw_status status, const phnsw_error *error);

/*
 * Makes `context` own a core handle: its reset or deletion calls destroy(*slot).  Allocates the slot
 * (set to NULL) in the context; register first, create second.
 */
typedef void (*phnsw_destroyer) (void *handle);
extern void **phnsw_own(MemoryContext context, phnsw_destroyer destroy);

/* ---- options.c ------------------------------------------------------------------------------- */

typedef struct PhnswOptions
{
	int32		vl_len_;
	int			m;
	int			ef_construction;
} PhnswOptions;

extern int	phnsw_option_m(Relation index);
extern int	phnsw_option_ef_construction(Relation index);
extern bytea *phnsw_options(Datum reloptions, bool validate);
extern void phnsw_options_register(void);	/* from _PG_init */

/* ---- distance_range.c: which conditions are ranges of the distance --------------------------- */

/*
 * Is the condition one that no row beyond some distance meets?  *query: the expression
 * that it has for the query; NULL: that of `distance`.
 */
extern bool phnsw_is_range(Node *condition, OpExpr *distance, Node **query);

/* ---- testpoint.c: where a test stops a backend, or lets it die ------------------------------- */

typedef enum PhnswTestPoint
{
	PHNSW_POINT_NONE,
	PHNSW_POINT_RECORD,			/* behind a WAL record, whose pages are still locked */
	PHNSW_POINT_INSERT_FOUND,	/* a row's surroundings have been found, among them nodes that it may join */
	PHNSW_POINT_INSERT_PLANNED, /* the new node's links are chosen, nothing is written */
	PHNSW_POINT_INSERT_WRITTEN, /* the node is there, nothing leads to it */
	PHNSW_POINT_MERGE_CLAIMED,	/* a merge has claimed the free slots of a page */
	PHNSW_POINT_MERGE_LOADED,	/* a merge has its copy of level 0, no thread works yet */
	PHNSW_POINT_MERGE_COMPUTED, /* a merge knows all links, nothing is written */
	PHNSW_POINT_MERGE_WRITTEN,	/* its nodes are there, hardly anything leads to them */
	PHNSW_POINT_VACUUM_SEEN,	/* vacuum has seen a page, and asked which rows of it are dead */
	PHNSW_POINT_VACUUM_REPAIR,	/* dead nodes are marked, lists name them */
	PHNSW_POINT_VACUUM_AUX,		/* lists of level 0 are repaired */
	PHNSW_POINT_VACUUM_ATTACH,	/* all lists are repaired, and the entry point */
	PHNSW_POINT_VACUUM_FREE,	/* before slots become free */
	PHNSW_POINT_VACUUM_FREED,	/* behind that, while their aux records are not */
	PHNSW_POINT_KILL,			/* a scan has met a row that is gone, whose TID it is about to take out */
	PHNSW_POINT_CHECK_READ		/* phnsw_check has read all pages, and no row of the table */
} PhnswTestPoint;

extern PhnswTestPoint phnsw_test_point_armed;
extern void phnsw_test_point_reached(void);
extern void phnsw_test_point_init(void);	/* from _PG_init */

static inline void
phnsw_test_point(PhnswTestPoint point)
{
	if (unlikely(phnsw_test_point_armed == point))
		phnsw_test_point_reached();
}

/* ---- row_place.c: the ctid of rows out of the executor's queue ------------------------------- */

extern void phnsw_row_place_init(void); /* from _PG_init */
/* For a scan that begins: will its rows' TIDs be put back? */
extern bool phnsw_row_place_kept(void);
/* Is the node a scan of one of our indexes, about to be executed? */
extern bool phnsw_is_scan(const PlanState *node);

/* ---- unread.c: distances that ORDER BY asks for and nobody reads ----------------------------- */

/* A plan is about to be executed: its scan's projection leaves such a column NULL. */
extern void phnsw_leave_out_unread(QueryDesc *query);

/* ---- explain.c: EXPLAIN (ANALYZE, PHNSW) ----------------------------------------------------- */

extern void phnsw_explain_init(void);	/* from _PG_init */

/* ---- batch.c: rows that are collected until they are worth a bulk build or a merge ----------- */

/*
 * true: the row is in the index, or will be before anybody can see it; false: insert it now.  validation: the row
 * comes from the second pass of a concurrent build, and need not be of this transaction.
 */
extern bool phnsw_batch_add(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid, Relation heap,
							bool validation);
/* Before a row of this transaction goes into the index, whatever way: is the last one that waits still there? */
extern void phnsw_batch_settle(Relation index, Relation heap, ItemPointer heap_tid);
/* One row now, under the lock that makes an empty index a filled one. */
extern void phnsw_insert_now(Relation index, const float *vector, ItemPointer heap_tid);
/* The index is built anew in the same file: the build sees the rows in the table. */
extern void phnsw_batch_forget(Relation index);
/* Before this backend reads the index. */
extern void phnsw_batch_flush(Relation index);
extern void phnsw_batch_init(void);	/* from _PG_init: callbacks and hooks */

/* ---- callbacks of the access method, each in the file of its name ---------------------------- */

/* build.c */
extern IndexBuildResult *phnsw_ambuild(Relation heap, Relation index, IndexInfo *info);
extern void phnsw_ambuildempty(Relation index);
/* insert.c */
extern bool phnsw_aminsert(Relation index, Datum *values, bool *isnull, ItemPointer heap_tid, Relation heap,
						   IndexUniqueCheck check_unique, bool index_unchanged, IndexInfo *info);
/* One row, already detoasted.  REQUIRES: if the index is empty, what phnsw_insert_now() does. */
extern void phnsw_insert_vector(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid);
/* scan.c */
extern IndexScanDesc phnsw_ambeginscan(Relation index, int nkeys, int norderbys);
extern void phnsw_amrescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys);
extern bool phnsw_amgettuple(IndexScanDesc scan, ScanDirection direction);
extern void phnsw_amendscan(IndexScanDesc scan);
/* vacuum.c */
extern IndexBulkDeleteResult *phnsw_ambulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
												 IndexBulkDeleteCallback callback, void *callback_state);
extern IndexBulkDeleteResult *phnsw_amvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats);
/* cost.c */
extern void phnsw_amcostestimate(PlannerInfo *root, IndexPath *path, double loop_count, Cost *startup_cost,
								 Cost *total_cost, Selectivity *selectivity, double *correlation, double *pages);
/* validate.c */
extern bool phnsw_amvalidate(Oid opclass);

/*
 * The least that is chosen: with less, a query for ten rows uses up its
 * window and goes on searching, which takes longer.
 */
#define PHNSW_EF_TEN_ROWS 20

/* hnsw_settings.c: hnsw.ef_search, for an index of an access method that is phnsw by another name; 0: not set. */
extern int	phnsw_hnsw_ef(Oid access_method);

/*
 * ef for a scan of an index of this access method: phnsw.ef_search or hnsw.ef_search, or
 * from the calibration by phnsw.target_recall; and what finds as many of the first ten rows
 * for less, {0, 0}: nothing, as ever with a setting of ef.
 */
extern uint32 phnsw_choose_search(const phnsw_meta *meta, Oid access_method, phnsw_stop *stop);
/* Candidates that such a search begins with. */
extern uint32 phnsw_stop_ef(uint32 ef, const phnsw_stop *stop);
/* What recall would take by the calibration, whatever phnsw.ef_search is. */
extern uint32 phnsw_target_ef(const phnsw_meta *meta);

#endif							/* PHNSW_H */
