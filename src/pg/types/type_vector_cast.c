/*
 * type_vector_cast.c
 *    Casts of the SQL type vector: to another type modifier, from and to arrays of numbers.
 */
#include "postgres.h"

#include "types/type_vector.h"

PG_FUNCTION_INFO_V1(phnsw_vector_typmod_cast);
PG_FUNCTION_INFO_V1(phnsw_vector_from_array);
PG_FUNCTION_INFO_V1(phnsw_vector_to_float4_array);

/* vector(vector, integer, boolean): the value itself, when its dimensions are those of the type modifier. */
Datum
phnsw_vector_typmod_cast(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	int32		typmod = PG_GETARG_INT32(1);

	phnsw_check_expected_dim(typmod, vector->dim);
	PG_RETURN_VECTOR_P(vector);
}

/* array_to_vector(integer[] | real[] | double precision[] | numeric[], integer, boolean) */
Datum
phnsw_vector_from_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			dims = phnsw_array_dims(PHNSW_VECTOR_NAME, array, PG_GETARG_INT32(1));
	Vector	   *result = phnsw_vector_new(dims);

	phnsw_array_coordinates(PHNSW_VECTOR_NAME, array, result->x, dims);
	PG_RETURN_VECTOR_P(result);
}

/* vector_to_float4(vector, integer, boolean) */
Datum
phnsw_vector_to_float4_array(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	float4	   *values;
	ArrayType  *result = phnsw_float4_array(vector->dim, &values);

	memcpy(values, vector->x, (Size) vector->dim * sizeof(float4));
	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_ARRAYTYPE_P(result);
}
