/*
 * type_halfvec.h
 *    The SQL type halfvec: its bytes.
 *
 * Coordinates are IEEE 754 binary16, as bits.  The layout is pgvector's, byte for byte.  A HalfVector that came through
 * halfvec_in, halfvec_recv, a cast or a function of this module has 1 ... 16,000 finite coordinates.
 */
#ifndef PHNSW_TYPE_HALFVEC_H
#define PHNSW_TYPE_HALFVEC_H

#include "types/coordinates.h"
#include "types/type_vector.h"

#define PHNSW_HALFVEC_NAME "halfvec"

typedef struct HalfVector
{
	int32		vl_len_;		/* varlena header, do not touch directly */
	int16		dim;
	int16		unused;			/* zero */
	uint16		x[FLEXIBLE_ARRAY_MEMBER];
} HalfVector;

StaticAssertDecl(offsetof(HalfVector, x) == offsetof(Vector, x), "both types have the same header");

#define PHNSW_HALFVEC_SIZE(dim)	(offsetof(HalfVector, x) + sizeof(uint16) * (Size) (dim))

/* Detoasted and aligned; a copy only when the stored form was compressed, out of line or had a short header. */
#define DatumGetHalfVector(datum)	((HalfVector *) PG_DETOAST_DATUM(datum))
#define PG_GETARG_HALFVEC_P(n)	DatumGetHalfVector(PG_GETARG_DATUM(n))
#define PG_RETURN_HALFVEC_P(v)	PG_RETURN_POINTER(v)

/* A halfvec of dim zeros in the current context.  REQUIRES: 1 ... 16,000. */
extern HalfVector *phnsw_halfvec_new(int dim);

/* The coordinates rounded to halves; an error for those beyond their range. */
extern HalfVector *phnsw_halfvec_from(const float *x, int dim);

/* The coordinates as float32, in the current context. */
extern float *phnsw_halfvec_floats(const HalfVector *halves);

static inline void
phnsw_check_half_dims(const HalfVector *a, const HalfVector *b)
{
	if (unlikely(a->dim != b->dim))
		phnsw_dims_differ(PHNSW_HALFVEC_NAME, a->dim, b->dim);
}

#endif							/* PHNSW_TYPE_HALFVEC_H */
