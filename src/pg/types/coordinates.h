/*
 * coordinates.h
 *    What the SQL types vector and halfvec share: dimensions, type modifiers, and coordinates as float32 on their way
 *    in from text, arrays of numbers and messages.  `type` is the name of the type in error messages.
 */
#ifndef PHNSW_COORDINATES_H
#define PHNSW_COORDINATES_H

#include "compat.h"

#include "fmgr.h"
#include "utils/array.h"

#include "capi/phnsw_format.h"

/* Raises the error for vectors of different dimensions; apart, so that the check inlines to one comparison. */
pg_noreturn extern void phnsw_dims_differ(const char *type, int a, int b) pg_attribute_cold;

/* 1 ... 16,000, or an error. */
extern void phnsw_check_dim(const char *type, int64 dim);

/* Raises an error unless a column of that type modifier takes `dim` dimensions; -1 takes any. */
extern void phnsw_check_expected_dim(int32 typmod, int dim);

/* Raises an error at the first NaN or infinity among n coordinates. */
extern void phnsw_check_elements(const char *type, const float *x, int n);

/* How many coordinates a text has, unless it is malformed; 1 ... 16,000 in any case. */
extern uint32 phnsw_text_capacity(const char *text);

/* Reads "[1,2,3]" into x, which has phnsw_text_capacity() places; so many are read, or an error is raised. */
extern void phnsw_text_coordinates(const char *type, const char *text, float *x, uint32 capacity);

/* The text of n coordinates, each the shortest that reads back to the same float4. */
extern char *phnsw_coordinates_text(const float *x, int n);

/* The 3 of vector(3). */
extern int32 phnsw_typmod(const char *type, ArrayType *modifiers);

/* The length of an array that is to be a vector; errors for arrays that are none. */
extern int	phnsw_array_dims(const char *type, const ArrayType *array, int32 typmod);

/* The coordinates of an integer[], real[], double precision[] or numeric[] of n numbers. */
extern void phnsw_array_coordinates(const char *type, ArrayType *array, float *x, int n);

/* A real[] of n zeros, and where they are. */
extern ArrayType *phnsw_float4_array(int n, float4 **values);

/* The head of a value's binary form: int16 dimensions, int16 zero.  Returns the dimensions. */
extern int16 phnsw_recv_head(const char *type, StringInfo message, int32 typmod);

#endif							/* PHNSW_COORDINATES_H */
