/*
 * type_vector.h
 *    The SQL type vector: its bytes.
 *
 * The layout is pgvector's, byte for byte (binary COPY files and dumps move between the two).  A Vector that came
 * through vector_in, vector_recv, a cast or a function of this module has 1 ... 16,000 finite coordinates.
 */
#ifndef PHNSW_TYPE_VECTOR_H
#define PHNSW_TYPE_VECTOR_H

#include "types/coordinates.h"

#define PHNSW_VECTOR_NAME "vector"

typedef struct Vector
{
	int32		vl_len_;		/* varlena header, do not touch directly */
	int16		dim;
	int16		unused;			/* zero */
	float		x[FLEXIBLE_ARRAY_MEMBER];
} Vector;

StaticAssertDecl(offsetof(Vector, x) == 8, "the coordinates follow 8 bytes of header");

#define PHNSW_VECTOR_SIZE(dim)	(offsetof(Vector, x) + sizeof(float) * (Size) (dim))

/* Detoasted and aligned; a copy only when the stored form was compressed, out of line or had a short header. */
#define DatumGetVector(datum)	((Vector *) PG_DETOAST_DATUM(datum))
#define PG_GETARG_VECTOR_P(n)	DatumGetVector(PG_GETARG_DATUM(n))
#define PG_RETURN_VECTOR_P(v)	PG_RETURN_POINTER(v)

/* A vector of dim zeros in the current context.  REQUIRES: 1 ... 16,000. */
extern Vector *phnsw_vector_new(int dim);

static inline void
phnsw_check_dims(const Vector *a, const Vector *b)
{
	if (unlikely(a->dim != b->dim))
		phnsw_dims_differ(PHNSW_VECTOR_NAME, a->dim, b->dim);
}

#endif							/* PHNSW_TYPE_VECTOR_H */
