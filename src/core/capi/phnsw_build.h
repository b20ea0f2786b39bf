/*
 * phnsw_build.h
 *    The bulk build.
 *    What holds for every entry: phnsw_core.h.
 */
#ifndef PHNSW_CORE_BUILD_H
#define PHNSW_CORE_BUILD_H

#include "phnsw_status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct phnsw_build phnsw_build;

typedef struct phnsw_build_params
{
	phnsw_metric metric;
	uint32_t     dims;
	uint32_t     m;
	uint32_t     ef_construction; /* steers how many candidates a node sees (leaf neighbours, reservoir size) */
	uint64_t     seed;            /* rotation, levels, partitions; the same rows and seed give the same pages */
	uint64_t     build_id;
	uint32_t     threads;         /* of the team, >= 1 */
	uint32_t     rows_expected;   /* a hint, 0 if unknown */
	size_t       memory_bytes;    /* private memory the build may use; the arena beyond it lives in the mapped file */
	bool         calibrate;
	/*
	 * Not before the graph counts as complete, but while nobody waits for pages, and at the latest when block 0 is
	 * asked for: that page has the calibration, the result has it from then on.
	 */
	bool         calibrate_late;
} phnsw_build_params;

typedef enum phnsw_build_phase
{
	PHNSW_PHASE_LOAD = 1,   /* scan, rotate, encode; done/total in rows */
	PHNSW_PHASE_DUPLICATES, /* nodes for equal codes are joined */
	PHNSW_PHASE_PARTITION,
	PHNSW_PHASE_LEAVES,     /* all pairs inside each part */
	PHNSW_PHASE_PRUNE,
	PHNSW_PHASE_UPPER,      /* upper levels */
	PHNSW_PHASE_REACH,      /* reachability */
	PHNSW_PHASE_ORDER,      /* slots in locality order */
	PHNSW_PHASE_CALIBRATE,
	PHNSW_PHASE_WRITE       /* pages formatted and written */
} phnsw_build_phase;

typedef struct phnsw_progress
{
	phnsw_build_phase phase;
	uint64_t          done;
	uint64_t          total; /* 0: unknown */
	uint64_t          points; /* nodes that the graph will have; 0: not known yet */
	/* What the arena wants: when spill_bytes grows, the backend extends its temporary file to that size and calls
	 * phnsw_build_map_spill(); the conductor waits for it. */
	uint64_t          spill_bytes;
} phnsw_progress;

typedef struct phnsw_build_result
{
	phnsw_meta meta;         /* complete, ready for block 0, but for a late calibration */
	uint32_t   total_blocks; /* of the index, meta page included */
	uint32_t   nodes;
	uint32_t   levels;       /* entry level + 1, 0 when empty */
	uint64_t   tids;
	uint64_t   skipped;      /* zero vectors under cosine */
	double     seconds[PHNSW_PHASE_WRITE + 1]; /* wall time per phase */
} phnsw_build_result;

PHNSW_API phnsw_status phnsw_build_create(const phnsw_build_params *params, phnsw_build **build,
										  phnsw_error *error) PHNSW_NOEXCEPT;

/* Starts the conductor thread (every signal blocked) and its team. */
PHNSW_API phnsw_status phnsw_build_start(phnsw_build *build, phnsw_error *error) PHNSW_NOEXCEPT;

/*
 * A chunk for the caller to fill: room for *rows vectors of dims floats and as many TIDs.  NULL with PHNSW_RUNNING
 * while all chunks are busy (wait with phnsw_build_wait() and ask again); another status when the build has failed.
 */
PHNSW_API phnsw_status phnsw_build_chunk(phnsw_build *build, float **vectors, phnsw_tid **tids, uint32_t *rows,
                                         phnsw_error *error) PHNSW_NOEXCEPT;
/* Hands the chunk over with its first `rows` rows filled. */
PHNSW_API phnsw_status phnsw_build_submit(phnsw_build *build, uint32_t rows, phnsw_error *error) PHNSW_NOEXCEPT;
/* No more rows: the conductor goes on to build the graph. */
PHNSW_API phnsw_status phnsw_build_finish_rows(phnsw_build *build, phnsw_error *error) PHNSW_NOEXCEPT;

/*
 * Waits up to `milliseconds` for something to happen: a chunk becoming free, spill_bytes growing, pages ready, the end
 * of the graph.  PHNSW_OK: the graph is complete and phnsw_build_result() may be called; PHNSW_RUNNING: not yet;
 * anything else: the build failed and only stop, join and destroy are left.
 */
PHNSW_API phnsw_status phnsw_build_wait(phnsw_build *build, uint32_t milliseconds, phnsw_progress *progress,
                                        phnsw_error *error) PHNSW_NOEXCEPT;

/* Maps bytes [0, size) of the file; the file has that size.  The same fd every time. */
PHNSW_API phnsw_status phnsw_build_map_spill(phnsw_build *build, int fd, uint64_t size,
											 phnsw_error *error) PHNSW_NOEXCEPT;

PHNSW_API phnsw_status phnsw_build_result_get(const phnsw_build *build, phnsw_build_result *result,
											  phnsw_error *error) PHNSW_NOEXCEPT;

/*
 * Formats blocks first ... first + n - 1 (block 0 and centre pages included) on the team's threads into `pages`, whole
 * pages but for the PostgreSQL page header, which is left zero.  Asynchronous: begin, then wait until PHNSW_OK; one
 * request at a time, so a caller with two buffers writes one while the other is formatted.
 */
PHNSW_API phnsw_status phnsw_build_format_begin(phnsw_build *build, uint32_t first, uint32_t n, void *pages,
												phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API phnsw_status phnsw_build_format_wait(phnsw_build *build, uint32_t milliseconds,
											   phnsw_error *error) PHNSW_NOEXCEPT;

/* Asks all threads to stop; returns at once. */
PHNSW_API void phnsw_build_stop(phnsw_build *build) PHNSW_NOEXCEPT;
/* Stops and waits until no thread of the build exists.  Idempotent. */
PHNSW_API void phnsw_build_join(phnsw_build *build) PHNSW_NOEXCEPT;
/* Joins, unmaps, frees. */
PHNSW_API void phnsw_build_destroy(phnsw_build *build) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* PHNSW_CORE_BUILD_H */
