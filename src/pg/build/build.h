/*
 * build.h
 *    What the files of CREATE INDEX share: build.c (steps), build_feed.c (rows in),
 *    build_write.c (pages out), build_wal.c (WAL segments made ahead).
 */
#ifndef PHNSW_BUILD_H
#define PHNSW_BUILD_H

#include "phnsw.h"

#include "storage/fd.h"

#define PHNSW_POLL_MS 50		/* longest wait between two looks at interrupts */

typedef struct PhnswBuild PhnswBuild;

/* Where rows come from: calls phnsw_build_add() for each; returns how many rows there were, indexed or not. */
typedef double (*PhnswRowSource) (PhnswBuild *build, void *arg);

/*
 * One build.  Only the backend's own thread sees this; the core's threads live behind *core.
 */
struct PhnswBuild
{
	/* immutable */
	Relation	heap;			/* NULL when the rows do not come from a scan of the table */
	Relation	index;
	phnsw_build_params params;
	PhnswElement element;		/* of the rows of a scan of the table */
	PhnswRowSource source;
	void	   *source_arg;
	bool		replace;		/* an empty index in use, not a new file */
	uint64		rows;			/* `replace` only: of the source */
	uint64	   *written;		/* `replace` only: set to that as soon as they are the index */
	phnsw_build_result *trial;	/* wanted instead of an index; NULL: an index is */

	bool		refused;		/* `replace` only: no memory, thread or temporary file; it remains to end the core */

	/* The core's build, NULL until the first row; owned by the context that the build runs in. */
	phnsw_build **core;

	/* the chunk being filled */
	float	   *vectors;
	phnsw_tid  *tids;
	uint32		chunk_rows;
	uint32		filled;

	/* build_wal.c */
	uint64		points;			/* nodes to come; 0: not known yet */
	uint64		wal_segment;	/* the last that was seen to exist; 0: none was looked for */

	/* the arena's part that is beyond maintenance_work_mem */
	File		spill;			/* -1: none */
	uint64		spill_bytes;
};

/* build.c */

/* Threads of a build, the backend's own not counted. */
extern uint32 phnsw_build_threads(Relation heap);

/*
 * Builds the rows of `source` into an empty index that is in use.  REQUIRES: a lock that keeps other writers out.
 * *written is set to their number when they are in the index, whatever error may follow.
 *
 * false: there was no memory, thread or temporary file for it, and the index is as empty as before.
 */
extern bool phnsw_bulk_replace(Relation heap, Relation index, uint64 rows, PhnswRowSource source, void *arg,
							   uint64 *written);

/*
 * Builds the rows of `source` in memory, with these metric, dims, m and ef_construction, for what
 * the graph is like; writes nothing.  false: there was no row.
 */
extern bool phnsw_build_trial(Relation heap, const phnsw_build_params *wanted, PhnswRowSource source, void *arg,
							  phnsw_build_result *result);

/* build_feed.c */

/*
 * What a status of the core means for the build: an error, or go on.  false: it is a bulk insert that has been
 * refused memory; its rows will go one by one, and the caller returns.
 */
extern bool phnsw_build_goes_on(PhnswBuild *build, phnsw_status status, const phnsw_error *error);
/* One row for the core, which starts with the first.  false: refused, and so will the others be. */
extern bool phnsw_build_add(PhnswBuild *build, const float *vector, ItemPointer tid);
/* The rows of a table scan; arg: IndexInfo. */
extern double phnsw_build_scan(PhnswBuild *build, void *arg);
/* Feeds all rows of the source.  Returns its rows; *build->core is NULL when none came. */
extern double phnsw_build_feed(PhnswBuild *build);
/* Waits until the graph is complete, or refused. */
extern void phnsw_build_graph(PhnswBuild *build);
/*
 * Interrupts, progress, spill file: to be called at least every 50 ms or so.  PHNSW_OK:
 * the graph is complete; PHNSW_OUT_OF_MEMORY: refused.
 */
extern phnsw_status phnsw_build_poll(PhnswBuild *build, uint32 milliseconds);
extern void phnsw_build_report(PhnswBuild *build, phnsw_build_phase phase, uint64 done, uint64 total);

/* build_wal.c */

/*
 * While the core computes: makes one of the WAL segments that the pages will
 * fill.  Returns how long to wait until the next call.
 */
extern uint32 phnsw_build_wal_ahead(PhnswBuild *build);
/* While pages are logged, now and then: what is complete may be written and synced. */
extern void phnsw_build_wal_nudge(void);

/* build_write.c */

/* Writes all pages of a complete graph. */
extern void phnsw_build_write(PhnswBuild *build, const phnsw_build_result *result);
/*
 * The same into an empty index that others may be reading: the meta page comes
 * last, and not at all if the build is refused.
 */
extern void phnsw_build_write_over(PhnswBuild *build, const phnsw_build_result *result);
/* Writes the meta page of an index without rows into an empty fork. */
extern void phnsw_build_write_empty(Relation index, ForkNumber fork, const phnsw_meta *meta);

#endif							/* PHNSW_BUILD_H */
