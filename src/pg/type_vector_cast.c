/*
 * type_vector_cast.c
 *    Casts of the SQL type vector: to another type modifier, from and to arrays of numbers.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "type_vector.h"

PG_FUNCTION_INFO_V1(phnsw_vector_typmod_cast);
PG_FUNCTION_INFO_V1(phnsw_vector_from_int4_array);
PG_FUNCTION_INFO_V1(phnsw_vector_from_float4_array);
PG_FUNCTION_INFO_V1(phnsw_vector_from_float8_array);
PG_FUNCTION_INFO_V1(phnsw_vector_from_numeric_array);
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

/* A vector of the array's length, coordinates still zero; errors for arrays that are no vector. */
static Vector *
vector_for_array(const ArrayType *array, int32 typmod)
{
	int			n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("array must be 1-D")));
	if (ARR_HASNULL(array) && array_contains_nulls((ArrayType *) array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array must not contain nulls")));

	n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	phnsw_check_dim(n);
	phnsw_check_expected_dim(typmod, n);
	return phnsw_vector_new(n);
}

/* array_to_vector(integer[], integer, boolean) */
Datum
phnsw_vector_from_int4_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Vector	   *result = vector_for_array(array, PG_GETARG_INT32(1));
	const int32 *values = (const int32 *) ARR_DATA_PTR(array);

	for (int i = 0; i < result->dim; i++)
		result->x[i] = (float) values[i];
	PG_RETURN_VECTOR_P(result);
}

/* array_to_vector(real[], integer, boolean) */
Datum
phnsw_vector_from_float4_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Vector	   *result = vector_for_array(array, PG_GETARG_INT32(1));

	memcpy(result->x, ARR_DATA_PTR(array), (Size) result->dim * sizeof(float));
	phnsw_check_elements(result->x, result->dim);
	PG_RETURN_VECTOR_P(result);
}

/* array_to_vector(double precision[], integer, boolean): too large is an error, too small becomes zero. */
Datum
phnsw_vector_from_float8_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Vector	   *result = vector_for_array(array, PG_GETARG_INT32(1));
	const float8 *values = (const float8 *) ARR_DATA_PTR(array);

	for (int i = 0; i < result->dim; i++)
		result->x[i] = (float) values[i];
	phnsw_check_elements(result->x, result->dim);
	PG_RETURN_VECTOR_P(result);
}

/* array_to_vector(numeric[], integer, boolean) */
Datum
phnsw_vector_from_numeric_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Vector	   *result = vector_for_array(array, PG_GETARG_INT32(1));
	Datum	   *values;
	int			n;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	Assert(n == result->dim);
	for (int i = 0; i < n; i++)
		result->x[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4, values[i]));
	phnsw_check_elements(result->x, n);
	PG_RETURN_VECTOR_P(result);
}

/* vector_to_float4(vector, integer, boolean) */
Datum
phnsw_vector_to_float4_array(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	Size		bytes = (Size) vector->dim * sizeof(float4);
	Size		size = ARR_OVERHEAD_NONULLS(1) + bytes;
	ArrayType  *result = (ArrayType *) palloc0(size);

	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->elemtype = FLOAT4OID;
	ARR_DIMS(result)[0] = vector->dim;
	ARR_LBOUND(result)[0] = 1;
	memcpy(ARR_DATA_PTR(result), vector->x, bytes);
	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_ARRAYTYPE_P(result);
}
