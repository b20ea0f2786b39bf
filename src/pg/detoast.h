/*
 * detoast.h
 *    Vectors as functions read them: detoasted, without a copy where none is needed and without an allocation where one is.
 */
#ifndef PHNSW_DETOAST_H
#define PHNSW_DETOAST_H

#include "type_vector.h"

/* Vectors that one function may read at the same time. */
#define PHNSW_DETOAST_SPACES 2

extern const Vector *phnsw_detoast_extended(Datum datum, int space);

/*
 * The vector itself, or a copy in one of the spaces, where it stays until the next vector is read into that space.  So
 * nothing may be called that could read vectors (a function of another module, an error handler) between this and the last use.
 */
static inline const Vector *
phnsw_detoast(Datum datum, int space)
{
	if (likely(!VARATT_IS_EXTENDED(DatumGetPointer(datum))))
		return (const Vector *) DatumGetPointer(datum);
	return phnsw_detoast_extended(datum, space);
}

#endif							/* PHNSW_DETOAST_H */
