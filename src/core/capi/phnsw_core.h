/*
 * phnsw_core.h
 *    The one door between the C access method (src/pg) and the C++ core (src/core).
 *
 * Valid C11 and C++20.  Conventions:
 *
 *  - Every entry is noexcept.  Fallible ones return phnsw_status and describe the failure in *error (caller-owned).
 *  - Handles are opaque; destroy functions accept NULL and cannot fail.
 *  - No callbacks into C, no I/O, no PostgreSQL.  Threads exist only between phnsw_build_start() and phnsw_build_join(),
 *    and between phnsw_merge_start() and phnsw_merge_destroy().
 *  - One handle is used by one thread at a time; a phnsw_codec is immutable and may be shared.
 *  - "Leaf kernels" are pure: no state, no allocation, no failure; they may be called on bytes of pinned pages, which
 *    another process may be changing: they read inside the given slot only and return some float, never a trap.
 */
#ifndef PHNSW_CORE_H
#define PHNSW_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "phnsw_format.h"

#ifdef __cplusplus
#define PHNSW_NOEXCEPT noexcept
extern "C" {
#else
#define PHNSW_NOEXCEPT
#endif

#if defined(__GNUC__)
#define PHNSW_API __attribute__((visibility("default")))
#else
#define PHNSW_API
#endif

/* ---- status ---------------------------------------------------------------------------------------------------- */

typedef enum phnsw_status
{
	PHNSW_OK = 0,
	PHNSW_RUNNING,       /* phnsw_build_wait(): not done yet */
	PHNSW_NOT_INDEXED,   /* phnsw_codec_encode(): a zero vector under cosine has no place in the index */
	PHNSW_OUT_OF_MEMORY, /* SQLSTATE 53200 */
	PHNSW_CORRUPT,       /* XX002 */
	PHNSW_LIMIT,         /* 54000 */
	PHNSW_BAD_ARGUMENT,  /* 22023 */
	PHNSW_CANCELLED,     /* the caller asked for it */
	PHNSW_INTERNAL       /* XX000 */
} phnsw_status;

typedef struct phnsw_error
{
	phnsw_status status;
	char         message[256];
} phnsw_error;

/* ---- instruction sets ------------------------------------------------------------------------------------------ */

/* Name of the kernels in use: "scalar", "avx2", "avxvnni", "avx512". */
PHNSW_API const char *phnsw_simd_name(void) PHNSW_NOEXCEPT;

/* Forces kernels by name; "auto" chooses the best.  false: unknown, or not supported by this machine. */
PHNSW_API bool phnsw_simd_force(const char *name) PHNSW_NOEXCEPT;

/* ---- exact distances of the SQL operators ------------------------------------------------------------------------ */

/* Leaf kernels.  n float32 coordinates each; differences and products are summed in float64. */
PHNSW_API double phnsw_l2_squared(const float *a, const float *b, uint32_t n) PHNSW_NOEXCEPT;
PHNSW_API double phnsw_inner_product(const float *a, const float *b, uint32_t n) PHNSW_NOEXCEPT;
/* 1 - <a,b> / (|a| |b|), the quotient clamped to [-1, 1]; NaN when a norm is zero. */
PHNSW_API double phnsw_cosine_distance(const float *a, const float *b, uint32_t n) PHNSW_NOEXCEPT;
PHNSW_API double phnsw_l1(const float *a, const float *b, uint32_t n) PHNSW_NOEXCEPT;

/* ---- codec: how one index encodes vectors ------------------------------------------------------------------------ */

typedef struct phnsw_codec phnsw_codec;

/*
 * Chooses bits and code_dims for an index, so that a slot with 2m links fits one page: 8 bits a coordinate; where that
 * does not fit, 4; where even that does not, the last rotated coordinates are left to the residual.
 * PHNSW_BAD_ARGUMENT: dims outside 1 ... PHNSW_DIMS_MAX, m outside its range, unknown metric.
 */
PHNSW_API phnsw_status phnsw_codec_choose(phnsw_metric metric, uint32_t dims, uint32_t m, uint64_t rotation_seed,
                                          phnsw_codec_params *params, phnsw_error *error) PHNSW_NOEXCEPT;

/* centre: space_dims floats in the space before rotation, copied; NULL for the origin.  Validates params (PHNSW_CORRUPT). */
PHNSW_API phnsw_status phnsw_codec_create(const phnsw_codec_params *params, const float *centre, phnsw_codec **codec,
                                          phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API void phnsw_codec_destroy(phnsw_codec *codec) PHNSW_NOEXCEPT;

/*
 * Encodes a vector of dims finite floats into the head and code bytes of `slot` (phnsw_slot_bytes() long; other fields
 * are left alone).  PHNSW_NOT_INDEXED for a zero vector under cosine.  Allocates scratch memory.
 */
PHNSW_API phnsw_status phnsw_codec_encode(const phnsw_codec *codec, const float *vector, phnsw_slot *slot,
                                          phnsw_error *error) PHNSW_NOEXCEPT;

/* Leaf kernel: squared distance of two coded points, in the space the graph is built in (for every metric). */
PHNSW_API float phnsw_codec_distance(const phnsw_codec *codec, const phnsw_slot *a, const phnsw_slot *b) PHNSW_NOEXCEPT;

/* Leaf kernel: the same from one point to n others, whose codes need not be valid. */
PHNSW_API void phnsw_codec_distances(const phnsw_codec *codec, const phnsw_slot *from, const phnsw_slot *const *slots,
                                     uint32_t n, float *distances) PHNSW_NOEXCEPT;

/* Leaf kernel: one of n points is nearer than that. */
PHNSW_API bool phnsw_codec_any_nearer(const phnsw_codec *codec, const phnsw_slot *from, const phnsw_slot *const *slots,
                                      uint32_t n, float than) PHNSW_NOEXCEPT;

/* Leaf kernel: the codes are the same, byte for byte and scale for scale, so that the nodes may be one. */
PHNSW_API bool phnsw_codec_equal(const phnsw_codec *codec, const phnsw_slot *a, const phnsw_slot *b) PHNSW_NOEXCEPT;

/*
 * Checks the head against the code of one slot: finite values, scale and residual not negative, sum and norm2 as the
 * code gives them (norm2 within rounding), 8-bit coordinates in -127 ... 127.  false: *what names the first fault.
 */
PHNSW_API bool phnsw_codec_validate(const phnsw_codec *codec, const phnsw_slot *slot, const char **what) PHNSW_NOEXCEPT;

/* ---- query: one vector, prepared for scoring codes ----------------------------------------------------------------- */

typedef struct phnsw_query phnsw_query;

/* The codec must outlive the query.  A query is made once and set again for every rescan, without allocating. */
PHNSW_API phnsw_status phnsw_query_create(const phnsw_codec *codec, phnsw_query **query, phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API void phnsw_query_destroy(phnsw_query *query) PHNSW_NOEXCEPT;

typedef enum phnsw_query_purpose
{
	PHNSW_FOR_SEARCH, /* score approximates the order of the operator (up to query-dependent constants) */
	PHNSW_FOR_INSERT  /* score is phnsw_codec_distance() to the coded vector */
} phnsw_query_purpose;

/* vector: dims finite floats. */
PHNSW_API void phnsw_query_set(phnsw_query *query, const float *vector, phnsw_query_purpose purpose) PHNSW_NOEXCEPT;

/*
 * As phnsw_query_set() for search with a vector that has about this code: a row of the index becomes a query.  *told becomes false
 * where the code says little of the vector's direction (inner product: of one that is short beside the longest).  Allocates scratch memory.
 */
PHNSW_API phnsw_status phnsw_query_set_decoded(phnsw_query *query, const phnsw_slot *slot, bool *told,
                                               phnsw_error *error) PHNSW_NOEXCEPT;

/* Leaf kernel: scores[i] of slots[i], smaller is nearer; NaN never, +inf for bytes that make no sense. */
PHNSW_API void phnsw_query_score(const phnsw_query *query, const phnsw_slot *const *slots, uint32_t n, float *scores) PHNSW_NOEXCEPT;

/*
 * score + this is proportional to a squared distance in the metric that the graph is built in, whichever the operator's is: for
 * comparing distances with each other by their ratio.  Approximate; finite.
 */
PHNSW_API float phnsw_query_offset(const phnsw_query *query) PHNSW_NOEXCEPT;

/*
 * Leaf kernel: a lower bound of the operator's value between the query and *every* vector that has this code and at
 * most this residual.  Never above what phnsw_l2_squared() (its root), -phnsw_inner_product() or
 * phnsw_cosine_distance() return for it; derivation in codec/README.md.  -inf when nothing better is known.
 * REQUIRES: purpose PHNSW_FOR_SEARCH.
 */
PHNSW_API double phnsw_query_bound(const phnsw_query *query, const phnsw_slot *slot) PHNSW_NOEXCEPT;

/* ---- selection of neighbours ---------------------------------------------------------------------------------------- */

/*
 * HNSW's heuristic (Malkov and Yashunin, algorithm 4, with keepPrunedConnections).  candidates[i]: slots (head and code
 * are read) at distance distances[i] from the node; any order, no duplicates.  Writes at most m indexes into chosen,
 * nearest first, and returns how many.  n <= PHNSW_SELECT_MAX.  Deterministic: ties go to the smaller id.
 */
#define PHNSW_SELECT_MAX 1024
PHNSW_API uint32_t phnsw_select(const phnsw_codec *codec, const phnsw_slot *const *candidates, const float *distances,
                                const uint32_t *ids, uint32_t n, uint32_t m, uint16_t *chosen) PHNSW_NOEXCEPT;

/* ---- search: a resumable best-first search of one level -------------------------------------------------------------- */

/*
 * The machine knows ids, scores and versions; the caller owns the pages.
 *
 *    phnsw_search_begin(s, ef);                          forget everything
 *    phnsw_search_offer(s, entry ids, scores, versions, n);
 *    while (phnsw_search_pop(s, &node))                  nearest candidate not yet expanded
 *    {
 *        links = copy of node's list;
 *        n = phnsw_search_fresh(s, links, n, fresh);     the ones not seen before, now marked seen
 *        score them;
 *        phnsw_search_offer(s, fresh, scores, versions, n);
 *    }
 *    the window, sorted by score, is the result
 *
 * Ids offered before the first phnsw_search_fresh() are entry points: they are marked seen, repeated ones dropped.  Later
 * offers name ids that phnsw_search_fresh() returned, each at most once.  A NaN score counts as +inf.
 * The window holds the ef best candidates that have not been taken; what falls out of it is kept in a reserve.
 * phnsw_search_take() removes a candidate from the window and lets the reserve fill the place, so that a scan goes on
 * for as long as the graph goes on: take, pop until false, take ...
 */
typedef struct phnsw_search phnsw_search;

typedef struct phnsw_candidate
{
	float    score;
	uint32_t id;
	uint32_t version;
	uint32_t expanded; /* 0 or 1 */
} phnsw_candidate;

PHNSW_API phnsw_status phnsw_search_create(phnsw_search **search, phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API void phnsw_search_destroy(phnsw_search *search) PHNSW_NOEXCEPT;

/*
 * ef: 1 ... PHNSW_EF_MAX.  id_limit: ids at or above it are never returned by phnsw_search_fresh().
 * keep_reserve: remember what falls out of the window (a scan does, a descent or an insert does not).
 */
#define PHNSW_EF_MAX 100000
PHNSW_API phnsw_status phnsw_search_begin(phnsw_search *search, uint32_t ef, uint32_t id_limit, bool keep_reserve,
                                          phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * After begin: the search also ends when the nearest candidate not yet expanded is more than 1 + slack times as far away as the
 * rank-th of the window (rank 0: it does not; slack >= 0).  offset: what makes a score a squared distance, phnsw_query_offset(); 0 for
 * scores of PHNSW_FOR_INSERT.
 */
PHNSW_API void phnsw_search_stop_beyond(phnsw_search *search, uint32_t rank, float slack, float offset) PHNSW_NOEXCEPT;
/* Levels above 0 are searched with this ef, and end by distance: rank 1, this slack (graph/README.md). */
#define PHNSW_DESCENT_EF    16
#define PHNSW_DESCENT_SLACK 0.05f
/* The rank by which searches of level 0 are stopped, where they are (phnsw_stop). */
#define PHNSW_STOP_RANK     10
/* false: every candidate in the window has been expanded, or what has not is too far away. */
PHNSW_API bool phnsw_search_pop(phnsw_search *search, uint32_t *node) PHNSW_NOEXCEPT;
/* Stores the candidates that will be popped next if nothing nearer is offered, n at most; returns how many. */
PHNSW_API uint32_t phnsw_search_upcoming(const phnsw_search *search, uint32_t *nodes, uint32_t n) PHNSW_NOEXCEPT;
/* Stores the unseen of n <= PHNSW_LINKS_MAX links in fresh and marks them seen; returns how many.  May allocate. */
PHNSW_API phnsw_status phnsw_search_fresh(phnsw_search *search, const uint32_t *links, uint32_t n, uint32_t *fresh,
                                          uint32_t *n_fresh, phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API phnsw_status phnsw_search_offer(phnsw_search *search, const uint32_t *ids, const float *scores,
                                          const uint32_t *versions, uint32_t n, phnsw_error *error) PHNSW_NOEXCEPT;
/* The window, sorted by (score, id); valid until the next call that is not const. */
PHNSW_API const phnsw_candidate *phnsw_search_window(const phnsw_search *search, uint32_t *n) PHNSW_NOEXCEPT;
/* So many of the window, from its beginning, have been expanded: all, unless the search was stopped by distance. */
PHNSW_API uint32_t phnsw_search_settled(const phnsw_search *search) PHNSW_NOEXCEPT;
/*
 * The nearest *n at most that have fallen out of the window, sorted like it; *n becomes how many there are.  The reserve keeps
 * them; valid as long as the window.
 */
PHNSW_API phnsw_status phnsw_search_passed(phnsw_search *search, uint32_t *n, const phnsw_candidate **passed,
                                           phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * Removes the first n candidates of the window (they were used) and refills it from the reserve.  To be called when
 * phnsw_search_pop() has returned false: the links of a candidate that is taken unexpanded are never followed.
 * The first take after offers heapifies the reserve, so a scan that may end early takes late, several at a time.
 */
PHNSW_API phnsw_status phnsw_search_take(phnsw_search *search, uint32_t n, phnsw_error *error) PHNSW_NOEXCEPT;
/* The same for n < ef candidates, n <= the window's, without the reserve: the window is narrower by n until the next take. */
PHNSW_API void phnsw_search_drop(phnsw_search *search, uint32_t n) PHNSW_NOEXCEPT;
/* Bytes held; what a scan compares with work_mem. */
PHNSW_API size_t phnsw_search_memory(const phnsw_search *search) PHNSW_NOEXCEPT;

/*
 * Calibration of the rule that stops a search by distance: what searches of the same queries found in all, and cost, with each
 * slack and without any.  rank is PHNSW_STOP_RANK.
 */
#define PHNSW_STOP_SLACKS 12
typedef struct phnsw_tally
{
	uint64_t found;   /* of the true neighbours */
	uint64_t touches;
	uint64_t hops;
} phnsw_tally;

typedef struct phnsw_tallies
{
	phnsw_tally whole;
	phnsw_tally stopped[PHNSW_STOP_SLACKS];
} phnsw_tallies;

/* The slack of stopped[i]: ascending. */
PHNSW_API float phnsw_stop_slack(uint32_t i) PHNSW_NOEXCEPT;
/* stops[i] for each of n <= PHNSW_CALIBRATION_MAX lines, ef ascending; wanted: true neighbours of all queries. */
PHNSW_API void phnsw_find_stops(const phnsw_calibration *lines, const phnsw_tallies *tallies, uint32_t n, uint64_t wanted,
                                phnsw_stop *stops) PHNSW_NOEXCEPT;

/* ---- validation ------------------------------------------------------------------------------------------------------ */

/*
 * Bytes from disk, checked field by field; any bytes may be given.  Pure and cheap: a few hundred nanoseconds each.
 * false: *what names the first fault (a static text; left alone on success).
 */

/*
 * The meta page, all but the centre's coordinates.  Pages that hold ids below a limit lie inside the file of
 * blocks_in_file blocks; what the extents reserve beyond may not exist yet.  An index of another version of phnsw is
 * told by *what being "format version".
 */
PHNSW_API bool phnsw_meta_validate(const phnsw_meta *meta, uint64_t blocks_in_file, const char **what) PHNSW_NOEXCEPT;

/* REQUIRES: meta is valid; slot has meta->slot_bytes bytes.  The code itself is phnsw_codec_validate()'s. */
PHNSW_API bool phnsw_slot_validate(const phnsw_meta *meta, uint32_t id, const phnsw_slot *slot, const char **what) PHNSW_NOEXCEPT;

/* REQUIRES: meta is valid; aux has meta->aux_bytes bytes. */
PHNSW_API bool phnsw_aux_validate(const phnsw_meta *meta, const phnsw_aux *aux, const char **what) PHNSW_NOEXCEPT;

/*
 * Which live nodes a walk over level 0 from `entry` finds.  links: n rows of `stride` ids, the first counts[i] <= stride
 * in use; live[i] != 0: node i is to be reached (others are waypoints).  Links at or above n are ignored.
 * *first_unreached: the smallest live id that was not found, PHNSW_NONE when all were.
 */
PHNSW_API phnsw_status phnsw_reach_count(const uint32_t *links, const uint16_t *counts, const uint8_t *live, uint32_t n,
                                         uint32_t stride, uint32_t entry, uint64_t *reached_live,
                                         uint32_t *first_unreached, phnsw_error *error) PHNSW_NOEXCEPT;

/* ---- bulk build ------------------------------------------------------------------------------------------------------- */

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
	/* Not before the graph counts as complete, but while nobody waits for pages, and at the latest when block 0 is asked for:
	 * that page has the calibration, the result has it from then on. */
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

PHNSW_API phnsw_status phnsw_build_create(const phnsw_build_params *params, phnsw_build **build, phnsw_error *error) PHNSW_NOEXCEPT;

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
PHNSW_API phnsw_status phnsw_build_map_spill(phnsw_build *build, int fd, uint64_t size, phnsw_error *error) PHNSW_NOEXCEPT;

PHNSW_API phnsw_status phnsw_build_result_get(const phnsw_build *build, phnsw_build_result *result, phnsw_error *error) PHNSW_NOEXCEPT;

/*
 * Formats blocks first ... first + n - 1 (block 0 and centre pages included) on the team's threads into `pages`, whole
 * pages but for the PostgreSQL page header, which is left zero.  Asynchronous: begin, then wait until PHNSW_OK; one
 * request at a time, so a caller with two buffers writes one while the other is formatted.
 */
PHNSW_API phnsw_status phnsw_build_format_begin(phnsw_build *build, uint32_t first, uint32_t n, void *pages, phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API phnsw_status phnsw_build_format_wait(phnsw_build *build, uint32_t milliseconds, phnsw_error *error) PHNSW_NOEXCEPT;

/* Asks all threads to stop; returns at once. */
PHNSW_API void phnsw_build_stop(phnsw_build *build) PHNSW_NOEXCEPT;
/* Stops and waits until no thread of the build exists.  Idempotent. */
PHNSW_API void phnsw_build_join(phnsw_build *build) PHNSW_NOEXCEPT;
/* Joins, unmaps, frees. */
PHNSW_API void phnsw_build_destroy(phnsw_build *build) PHNSW_NOEXCEPT;

/* ---- merge: many rows into an index that has nodes -------------------------------------------------------------------- */

/*
 *    phnsw_merge_create(codec, params, &merge);
 *    phnsw_merge_load() every page of nodes, phnsw_merge_add() every row
 *    phnsw_merge_start(); while (phnsw_merge_wait() == PHNSW_RUNNING) ...    nobody else may use the handle meanwhile
 *    phnsw_merge_look_again() at every page of nodes; phnsw_merge_assign() an id to every place
 *    phnsw_merge_fill() the slots of the places, then the changes of the nodes' lists
 *
 * A place is a new node; near places are near each other.  The result depends on nodes, rows and seed, not on threads.
 */
typedef struct phnsw_merge phnsw_merge;
/* Nodes in memory that outlive a merge, for the next one into the same index. */
typedef struct phnsw_merge_nodes phnsw_merge_nodes;

/* The file for what nodes take beyond memory_bytes; phnsw_merge_create() maps it, then it may be closed. */
typedef struct phnsw_merge_spill
{
	uint64_t file_bytes;      /* phnsw_merge_file_bytes(), none of them a hole; 0: all in memory */
	uint64_t memory_bytes;
	int      fd;
} phnsw_merge_spill;

typedef struct phnsw_merge_params
{
	phnsw_merge_nodes *nodes; /* NULL: the merge's own.  Must outlive the merge */
	phnsw_merge_spill spill;  /* without `nodes` */
	uint32_t limit;           /* of node ids */
	uint32_t entry;           /* the index's entry point */
	uint32_t rows_max;
	uint32_t ef_construction;
	uint32_t threads;         /* of the team, >= 1 */
	uint64_t seed;
} phnsw_merge_params;

/* What becomes of a row. */
typedef struct phnsw_merge_row
{
	uint32_t place;   /* its new node, which several rows may share; PHNSW_NONE: it joins a node */
	uint32_t id;      /* which one */
	uint32_t version;
	bool     first;   /* the one row of its place whose TID stands in the slot */
} phnsw_merge_row;

/* In the list of `owner`, `removed` gives way to `added`; PHNSW_NONE: `added` takes a free place. */
typedef struct phnsw_merge_change
{
	uint32_t owner;
	uint32_t version; /* of the owner */
	uint32_t removed;
	uint32_t added;
} phnsw_merge_change;

/* An upper bound of the memory that a merge takes, its threads' stacks and scratch aside. */
PHNSW_API uint64_t phnsw_merge_memory(const phnsw_codec_params *codec, uint32_t ef_construction, uint32_t limit,
                                      uint32_t rows) PHNSW_NOEXCEPT;
/* The part of it that may stand in a file: what grows with the nodes, but for 17 bytes each. */
PHNSW_API uint64_t phnsw_merge_mapped_memory(const phnsw_codec_params *codec, uint32_t limit) PHNSW_NOEXCEPT;
/* The size of the file for nodes and rows where memory_bytes are for them; 0: none is needed. */
PHNSW_API uint64_t phnsw_merge_file_bytes(const phnsw_codec_params *codec, uint32_t limit, uint32_t rows, uint64_t memory_bytes) PHNSW_NOEXCEPT;

/* For merges of so many nodes and rows together at first, and more later; takes addresses, no memory yet.  PHNSW_OUT_OF_MEMORY: there are not so many. */
PHNSW_API phnsw_status phnsw_merge_nodes_create(const phnsw_codec *codec, uint32_t points, const phnsw_merge_spill *spill, phnsw_merge_nodes **nodes,
                                                phnsw_error *error) PHNSW_NOEXCEPT;
/* How many they may become. */
PHNSW_API uint32_t phnsw_merge_nodes_room(const phnsw_merge_nodes *nodes) PHNSW_NOEXCEPT;
/* Before each merge of nodes that have a file: what it has now, phnsw_merge_file_bytes() for that merge, and no less than before. */
PHNSW_API void phnsw_merge_nodes_file(phnsw_merge_nodes *nodes, uint64_t bytes, int fd) PHNSW_NOEXCEPT;
/* Gives nearly all memory back; then everything must be loaded again; nodes that have a file must be destroyed.  A leaf, also for signal handlers.  REQUIRES: no merge has it. */
PHNSW_API void phnsw_merge_nodes_discard(phnsw_merge_nodes *nodes) PHNSW_NOEXCEPT;
PHNSW_API void phnsw_merge_nodes_destroy(phnsw_merge_nodes *nodes) PHNSW_NOEXCEPT;

/* The codec must outlive the merge. */
PHNSW_API phnsw_status phnsw_merge_create(const phnsw_codec *codec, const phnsw_merge_params *params, phnsw_merge **merge,
                                          phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * n slots that stand one behind the other, from id `first` on; ids at or above the limit are left out.  false: slot *fault
 * cannot be what it seems, and *what says why.  A leaf: may be called on a locked page.  Nodes that stayed from an earlier merge
 * need not be loaded again if their slots are as they were, *whole was true, and no list of theirs is among phnsw_merge_changes().
 */
PHNSW_API bool phnsw_merge_load(phnsw_merge *merge, uint32_t first, const phnsw_slot *slots, uint32_t n, bool *whole,
                                uint32_t *fault, const char **what) PHNSW_NOEXCEPT;
/* Live nodes among what was loaded, and are still when it was looked at again; phnsw_merge_start() wants at least one. */
PHNSW_API uint32_t phnsw_merge_live(const phnsw_merge *merge) PHNSW_NOEXCEPT;
/* PHNSW_NOT_INDEXED: not taken.  The rows taken are numbered from 0.  REQUIRES: fewer than rows_max so far. */
PHNSW_API phnsw_status phnsw_merge_add(phnsw_merge *merge, const float *vector, phnsw_error *error) PHNSW_NOEXCEPT;
/* Starts the conductor thread (every signal blocked) and its team. */
PHNSW_API phnsw_status phnsw_merge_start(phnsw_merge *merge, phnsw_error *error) PHNSW_NOEXCEPT;
/* Waits up to `milliseconds`.  PHNSW_RUNNING: not done yet; a failure leaves only phnsw_merge_destroy(). */
PHNSW_API phnsw_status phnsw_merge_wait(phnsw_merge *merge, uint32_t milliseconds, phnsw_error *error) PHNSW_NOEXCEPT;

PHNSW_API uint32_t phnsw_merge_places(const phnsw_merge *merge) PHNSW_NOEXCEPT;
PHNSW_API phnsw_merge_row phnsw_merge_row_get(const phnsw_merge *merge, uint32_t row) PHNSW_NOEXCEPT;
/* The first row of a place. */
PHNSW_API uint32_t phnsw_merge_place_row(const phnsw_merge *merge, uint32_t place) PHNSW_NOEXCEPT;
/* The same slots as they are now: nodes that are not alive any more, or others by now, are not linked to.  A leaf. */
PHNSW_API void phnsw_merge_look_again(phnsw_merge *merge, uint32_t first, const phnsw_slot *slots, uint32_t n) PHNSW_NOEXCEPT;
/* PHNSW_NONE, as before the call: there is no such node, and nothing links to it. */
PHNSW_API void phnsw_merge_assign(phnsw_merge *merge, uint32_t place, uint32_t id) PHNSW_NOEXCEPT;
/* Head, code, count and links of a place's slot. */
PHNSW_API void phnsw_merge_fill(const phnsw_merge *merge, uint32_t place, phnsw_slot *slot) PHNSW_NOEXCEPT;
/* Ascending by owner; those of one owner are to be made in this order.  Valid until the next call. */
PHNSW_API phnsw_status phnsw_merge_changes(phnsw_merge *merge, const phnsw_merge_change **changes, size_t *n,
                                           phnsw_error *error) PHNSW_NOEXCEPT;
/* Marks (1) the places that a walk over new nodes' lists finds from the marked ones; reached[] has one byte a place. */
PHNSW_API phnsw_status phnsw_merge_spread(const phnsw_merge *merge, uint8_t *reached, phnsw_error *error) PHNSW_NOEXCEPT;
/* Stops and joins all threads, frees. */
PHNSW_API void phnsw_merge_destroy(phnsw_merge *merge) PHNSW_NOEXCEPT;

/* ---- text ------------------------------------------------------------------------------------------------------------- */

typedef enum phnsw_text_result
{
	PHNSW_TEXT_OK = 0,
	PHNSW_TEXT_NO_BRACKET,   /* the text does not start with "[" */
	PHNSW_TEXT_SYNTAX,       /* at `offset` */
	PHNSW_TEXT_EMPTY,        /* "[]" */
	PHNSW_TEXT_OUT_OF_RANGE, /* a number too large for a float4; `offset`, `token_length` delimit it */
	PHNSW_TEXT_NAN,          /* likewise delimited */
	PHNSW_TEXT_INFINITE,
	PHNSW_TEXT_TOO_MANY,     /* more than `capacity` numbers */
	PHNSW_TEXT_TRAILING      /* something behind the closing bracket, at `offset` */
} phnsw_text_result;

/*
 * Parses "[1,2.5,-3e-2]" (pgvector's grammar: spaces allowed around brackets and numbers) of `length` bytes; no final zero
 * needed.  Stores at most `capacity` floats, all finite; numbers too small for a float4 become zero.  *dims: how many.
 */
PHNSW_API phnsw_text_result phnsw_text_parse(const char *text, size_t length, float *values, uint32_t capacity,
                                             uint32_t *dims, size_t *offset, size_t *token_length) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* PHNSW_CORE_H */
