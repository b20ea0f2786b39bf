/*
 * phnsw_codec.h
 *    Distances: exact ones of the SQL operators, those of coded vectors, a query's scores and bounds.
 *    What holds for every entry: phnsw_core.h.
 */
#ifndef PHNSW_CORE_CODEC_H
#define PHNSW_CORE_CODEC_H

#include "phnsw_status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- exact distances of the SQL operators ---------------------------------------------------- */

/* Leaf kernels.  n float32 coordinates each; differences and products are summed in float64. */
PHNSW_API double phnsw_l2_squared(const float *a, const float *b, uint32_t n) PHNSW_NOEXCEPT;
PHNSW_API double phnsw_inner_product(const float *a, const float *b, uint32_t n) PHNSW_NOEXCEPT;
/* 1 - <a,b> / (|a| |b|), the quotient clamped to [-1, 1]; NaN when a norm is zero. */
PHNSW_API double phnsw_cosine_distance(const float *a, const float *b, uint32_t n) PHNSW_NOEXCEPT;
PHNSW_API double phnsw_l1(const float *a, const float *b, uint32_t n) PHNSW_NOEXCEPT;

/* ---- codec: how one index encodes vectors ---------------------------------------------------- */

typedef struct phnsw_codec phnsw_codec;

/*
 * Chooses bits and code_dims for an index, so that a slot with 2m links fits one page: 8 bits a coordinate; where that
 * does not fit, 4; where even that does not, the last rotated coordinates are left to the residual.
 * PHNSW_BAD_ARGUMENT: dims outside 1 ... PHNSW_DIMS_MAX, m outside its range, unknown metric.
 */
PHNSW_API phnsw_status phnsw_codec_choose(phnsw_metric metric, uint32_t dims, uint32_t m, uint64_t rotation_seed,
                                          phnsw_codec_params *params, phnsw_error *error) PHNSW_NOEXCEPT;

/*
 * centre: space_dims floats in the space before rotation, copied; NULL for
 * the origin.  Validates params (PHNSW_CORRUPT).
 */
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

/* ---- query: one vector, prepared for scoring codes ------------------------------------------- */

typedef struct phnsw_query phnsw_query;

/* The codec must outlive the query.  A query is made once and set again for every rescan, without allocating. */
PHNSW_API phnsw_status phnsw_query_create(const phnsw_codec *codec, phnsw_query **query,
										  phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API void phnsw_query_destroy(phnsw_query *query) PHNSW_NOEXCEPT;

typedef enum phnsw_query_purpose
{
	PHNSW_FOR_SEARCH, /* score approximates the order of the operator (up to query-dependent constants) */
	PHNSW_FOR_INSERT  /* score is phnsw_codec_distance() to the coded vector */
} phnsw_query_purpose;

/* vector: dims finite floats. */
PHNSW_API void phnsw_query_set(phnsw_query *query, const float *vector, phnsw_query_purpose purpose) PHNSW_NOEXCEPT;

/*
 * As phnsw_query_set() for search with a vector that has about this code: a row of the index becomes a
 * query.  *told becomes false where the code says little of the vector's direction (inner product: of one
 * that is short beside the longest).  Allocates scratch memory.
 */
PHNSW_API phnsw_status phnsw_query_set_decoded(phnsw_query *query, const phnsw_slot *slot, bool *told,
                                               phnsw_error *error) PHNSW_NOEXCEPT;

/* Leaf kernel: scores[i] of slots[i], smaller is nearer; NaN never, +inf for bytes that make no sense. */
PHNSW_API void phnsw_query_score(const phnsw_query *query, const phnsw_slot *const *slots, uint32_t n,
								 float *scores) PHNSW_NOEXCEPT;

/*
 * The same for the slots that may score less than limit: within[0 ... result) are their positions, ascending,
 * scores[within[i]] their scores.  The others are farther, as far as the first phnsw_query_part() bytes of their codes
 * tell, which are all that is read of them: of those that score less one or two in a hundred may be missed
 * (codec/README.md).  within has room for n.  REQUIRES: phnsw_query_part() != 0.
 */
PHNSW_API uint32_t phnsw_query_score_within(const phnsw_query *query, const phnsw_slot *const *slots, uint32_t n,
											float limit,
                                            float *scores, uint32_t *within) PHNSW_NOEXCEPT;
/*
 * Bytes of a code; 0: it is short or of 4 bits, or parts of it tell nothing (inner product, purpose PHNSW_FOR_INSERT).
 */
PHNSW_API uint32_t phnsw_query_part(const phnsw_query *query) PHNSW_NOEXCEPT;

/*
 * score + this is proportional to a squared distance in the metric that the graph is built in, whichever the operator's
 * is: for comparing distances with each other by their ratio.  Approximate; finite.
 */
PHNSW_API float phnsw_query_offset(const phnsw_query *query) PHNSW_NOEXCEPT;

/*
 * Leaf kernel: a lower bound of the operator's value between the query and *every* vector that has this code and at
 * most this residual.  Never above what phnsw_l2_squared() (its root), -phnsw_inner_product() or
 * phnsw_cosine_distance() return for it; derivation in codec/README.md.  -inf when nothing better is known.
 * REQUIRES: purpose PHNSW_FOR_SEARCH.
 */
PHNSW_API double phnsw_query_bound(const phnsw_query *query, const phnsw_slot *slot) PHNSW_NOEXCEPT;

/* ---- selection of neighbours ----------------------------------------------------------------- */

/*
 * HNSW's heuristic (Malkov and Yashunin, algorithm 4, with keepPrunedConnections).  candidates[i]: slots (head and code
 * are read) at distance distances[i] from the node; any order, no duplicates.  Writes at most m indexes into chosen,
 * nearest first, and returns how many.  n <= PHNSW_SELECT_MAX.  Deterministic: ties go to the smaller id.
 */
#define PHNSW_SELECT_MAX 1024
PHNSW_API uint32_t phnsw_select(const phnsw_codec *codec, const phnsw_slot *const *candidates, const float *distances,
                                const uint32_t *ids, uint32_t n, uint32_t m, uint16_t *chosen) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* PHNSW_CORE_CODEC_H */
