/*
 * phnsw_half.h
 *    Coordinates of half precision (IEEE 754 binary16, as bits): conversions, and the distances of the
 *    SQL type halfvec.  What holds for every entry: phnsw_core.h.
 */
#ifndef PHNSW_CORE_HALF_H
#define PHNSW_CORE_HALF_H

#include "phnsw_status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PHNSW_HALF_MAX 65504.0f

/* Exact. */
PHNSW_API void phnsw_half_widen(const uint16_t *halves, float *x, uint32_t n) PHNSW_NOEXCEPT;
/* To the nearest, of two the even one; infinity from 65,520 on.  Finite coordinates only. */
PHNSW_API void phnsw_half_narrow(const float *x, uint16_t *halves, uint32_t n) PHNSW_NOEXCEPT;

/*
 * What phnsw_l2_squared() ... phnsw_l1() say of the widened coordinates, but for the order of the
 * float64 sums: the bounds of codec/README.md hold for any.
 */
PHNSW_API double phnsw_half_l2_squared(const uint16_t *a, const uint16_t *b, uint32_t n) PHNSW_NOEXCEPT;
PHNSW_API double phnsw_half_inner_product(const uint16_t *a, const uint16_t *b, uint32_t n) PHNSW_NOEXCEPT;
PHNSW_API double phnsw_half_cosine_distance(const uint16_t *a, const uint16_t *b, uint32_t n) PHNSW_NOEXCEPT;
PHNSW_API double phnsw_half_l1(const uint16_t *a, const uint16_t *b, uint32_t n) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif							/* PHNSW_CORE_HALF_H */
