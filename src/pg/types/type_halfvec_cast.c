/*
 * type_halfvec_cast.c
 *    Casts of the SQL type halfvec: to another type modifier, from and to vector and arrays of numbers.
 */
#include "postgres.h"

#include "capi/phnsw_core.h"
#include "types/type_halfvec.h"

PG_FUNCTION_INFO_V1(phnsw_halfvec_typmod_cast);
PG_FUNCTION_INFO_V1(phnsw_halfvec_from_array);
PG_FUNCTION_INFO_V1(phnsw_halfvec_from_vector);
PG_FUNCTION_INFO_V1(phnsw_halfvec_to_vector);
PG_FUNCTION_INFO_V1(phnsw_halfvec_to_float4_array);

/* halfvec(halfvec, integer, boolean): the value itself, when its dimensions are those of the type modifier. */
Datum
phnsw_halfvec_typmod_cast(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(0);

	phnsw_check_expected_dim(PG_GETARG_INT32(1), halves->dim);
	PG_RETURN_HALFVEC_P(halves);
}

/* array_to_halfvec(integer[] | real[] | double precision[] | numeric[], integer, boolean) */
Datum
phnsw_halfvec_from_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			dims = phnsw_array_dims(PHNSW_HALFVEC_NAME, array, PG_GETARG_INT32(1));
	float	   *x = palloc(dims * sizeof(float));
	HalfVector *result;

	phnsw_array_coordinates(PHNSW_HALFVEC_NAME, array, x, dims);
	result = phnsw_halfvec_from(x, dims);
	pfree(x);
	PG_RETURN_HALFVEC_P(result);
}

/* vector_to_halfvec(vector, integer, boolean): rounds */
Datum
phnsw_halfvec_from_vector(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	HalfVector *result;

	phnsw_check_expected_dim(PG_GETARG_INT32(1), vector->dim);
	result = phnsw_halfvec_from(vector->x, vector->dim);
	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_HALFVEC_P(result);
}

/* halfvec_to_vector(halfvec, integer, boolean) */
Datum
phnsw_halfvec_to_vector(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(0);
	Vector	   *result;

	phnsw_check_expected_dim(PG_GETARG_INT32(1), halves->dim);
	result = phnsw_vector_new(halves->dim);
	phnsw_half_widen(halves->x, result->x, halves->dim);
	PG_FREE_IF_COPY(halves, 0);
	PG_RETURN_VECTOR_P(result);
}

/* halfvec_to_float4(halfvec, integer, boolean) */
Datum
phnsw_halfvec_to_float4_array(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(0);
	float4	   *values;
	ArrayType  *result = phnsw_float4_array(halves->dim, &values);

	phnsw_half_widen(halves->x, values, halves->dim);
	PG_FREE_IF_COPY(halves, 0);
	PG_RETURN_ARRAYTYPE_P(result);
}
