/*
 * detoast.h
 *    Vectors as functions read them: detoasted, without a copy where none is
 *    needed and without an allocation where one is.
 */
#ifndef PHNSW_DETOAST_H
#define PHNSW_DETOAST_H

#include "toast/toast_source.h"
#include "types/type_vector.h"

/* Chunks whose places are remembered ahead: enough for 3,991 dimensions. */
#define PHNSW_DETOAST_AHEAD 8

/* Vectors that one function may read at the same time. */
#define PHNSW_DETOAST_SPACES 2

extern const Vector *phnsw_detoast_extended(Datum datum, int space);

/*
 * The vector itself, or a copy in one of the spaces, where it stays until the next vector is read
 * into that space.  So nothing may be called that could read vectors (a function of another
 * module, an error handler) between this and the last use.
 */
static inline const Vector *
phnsw_detoast(Datum datum, int space)
{
	if (likely(!VARATT_IS_EXTENDED(DatumGetPointer(datum))))
		return (const Vector *) DatumGetPointer(datum);
	return phnsw_detoast_extended(datum, space);
}

/*
 * A vector's coordinates, if it is out of line, has so many and can be read here; false: the
 * vector has to be asked for as above, and `to` may have been written to.  For whoever reads a
 * table from its beginning to its end: pages are asked for ahead.
 */
extern bool phnsw_detoast_run(const struct varlena *datum, uint32 dims, float *to);

/* A look at where the chunks of a value are, before it is read. */
typedef struct PhnswAhead
{
	varatt_external pointer;
	PhnswToastSource *source;
	BlockNumber leaf;			/* of the TOAST index */
	uint32		n;				/* chunks */
	const ItemPointerData *places;	/* of the chunks; may be overwritten by the look at another value */
} PhnswAhead;

/* The value's leaf; false: nothing can be said, or the value is not one that is read here. */
extern bool phnsw_ahead_leaf(const struct varlena *datum, PhnswAhead *ahead);
/* The places, which are remembered until the value is read, or others are in the way. */
extern bool phnsw_ahead_places(PhnswAhead *ahead);

#endif							/* PHNSW_DETOAST_H */
