/*
 * type_vector_ops.c
 *    Distances, comparison and arithmetic of the SQL type vector.
 *
 * The distances are the core's leaf kernels, float64 sums over the detoasted bytes (detoast.c).  The access method's
 * bounds are proved against exactly these functions, so a change here is a change there (core/codec/README.md).
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "capi/phnsw_core.h"
#include "toast/detoast.h"

PG_FUNCTION_INFO_V1(phnsw_vector_l2_distance);
PG_FUNCTION_INFO_V1(phnsw_vector_l2_squared_distance);
PG_FUNCTION_INFO_V1(phnsw_vector_inner_product);
PG_FUNCTION_INFO_V1(phnsw_vector_negative_inner_product);
PG_FUNCTION_INFO_V1(phnsw_vector_cosine_distance);
PG_FUNCTION_INFO_V1(phnsw_vector_spherical_distance);
PG_FUNCTION_INFO_V1(phnsw_vector_l1_distance);
PG_FUNCTION_INFO_V1(phnsw_vector_dims);
PG_FUNCTION_INFO_V1(phnsw_vector_norm);
PG_FUNCTION_INFO_V1(phnsw_vector_l2_normalize);
PG_FUNCTION_INFO_V1(phnsw_vector_add);
PG_FUNCTION_INFO_V1(phnsw_vector_sub);
PG_FUNCTION_INFO_V1(phnsw_vector_mul);
PG_FUNCTION_INFO_V1(phnsw_vector_concat);
PG_FUNCTION_INFO_V1(phnsw_vector_subvector);
PG_FUNCTION_INFO_V1(phnsw_vector_binary_quantize);
PG_FUNCTION_INFO_V1(phnsw_vector_lt);
PG_FUNCTION_INFO_V1(phnsw_vector_le);
PG_FUNCTION_INFO_V1(phnsw_vector_eq);
PG_FUNCTION_INFO_V1(phnsw_vector_ne);
PG_FUNCTION_INFO_V1(phnsw_vector_ge);
PG_FUNCTION_INFO_V1(phnsw_vector_gt);
PG_FUNCTION_INFO_V1(phnsw_vector_cmp);

/* ---- distances ------------------------------------------------------------------------------- */

typedef double (*distance_kernel) (const float *a, const float *b, uint32_t n);

/* A kernel over both arguments. */
static pg_attribute_always_inline double
call_kernel(FunctionCallInfo fcinfo, distance_kernel kernel)
{
	const Vector *a = phnsw_detoast(PG_GETARG_DATUM(0), 0);
	const Vector *b = phnsw_detoast(PG_GETARG_DATUM(1), 1);

	phnsw_check_dims(a, b);
	return kernel(a->x, b->x, (uint32) a->dim);
}

/* l2_distance(vector, vector), operator <-> */
Datum
phnsw_vector_l2_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(sqrt(call_kernel(fcinfo, phnsw_l2_squared)));
}

/* vector_l2_squared_distance(vector, vector): orders as l2_distance does, without the root */
Datum
phnsw_vector_l2_squared_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(call_kernel(fcinfo, phnsw_l2_squared));
}

/* inner_product(vector, vector) */
Datum
phnsw_vector_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(call_kernel(fcinfo, phnsw_inner_product));
}

/* vector_negative_inner_product(vector, vector), operator <#>: index scans return the smallest first */
Datum
phnsw_vector_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(-call_kernel(fcinfo, phnsw_inner_product));
}

/* cosine_distance(vector, vector), operator <=>; NaN when a vector is zero */
Datum
phnsw_vector_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(call_kernel(fcinfo, phnsw_cosine_distance));
}

/* vector_spherical_distance(vector, vector): the angle over pi, for vectors of norm 1 */
Datum
phnsw_vector_spherical_distance(PG_FUNCTION_ARGS)
{
	double		cosine = call_kernel(fcinfo, phnsw_inner_product);

	/* Rounding may leave the range that acos takes. */
	cosine = Min(Max(cosine, -1.0), 1.0);
	PG_RETURN_FLOAT8(acos(cosine) / M_PI);
}

/* l1_distance(vector, vector), operator <+> */
Datum
phnsw_vector_l1_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(call_kernel(fcinfo, phnsw_l1));
}

/* ---- dimensions and norm --------------------------------------------------------------------- */

/* vector_dims(vector) */
Datum
phnsw_vector_dims(PG_FUNCTION_ARGS)
{
	/* The header is enough: of a vector stored out of line only the first chunk is read. */
	Vector	   *head = (Vector *) PG_DETOAST_DATUM_SLICE(PG_GETARG_DATUM(0), 0, offsetof(Vector, x) - VARHDRSZ);

	PG_RETURN_INT32(head->dim);
}

static double
vector_norm(const Vector *vector)
{
	return sqrt(phnsw_inner_product(vector->x, vector->x, (uint32) vector->dim));
}

/* vector_norm(vector) */
Datum
phnsw_vector_norm(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);

	PG_RETURN_FLOAT8(vector_norm(vector));
}

/* l2_normalize(vector): of norm 1; the zero vector stays */
Datum
phnsw_vector_l2_normalize(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	Vector	   *result = phnsw_vector_new(vector->dim);
	double		norm = vector_norm(vector);

	if (norm > 0)
		for (int i = 0; i < vector->dim; i++)
			result->x[i] = (float) (vector->x[i] / norm);
	PG_RETURN_VECTOR_P(result);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* The operands are finite, so whatever is not finite in the result has overflowed. */
static void
check_overflow(const Vector *result)
{
	int			overflow = 0;

	for (int i = 0; i < result->dim; i++)
		overflow |= isinf(result->x[i]) != 0;
	if (unlikely(overflow != 0))
		float_overflow_error();
}

/* vector_add(vector, vector), operator + */
Datum
phnsw_vector_add(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;

	phnsw_check_dims(a, b);
	result = phnsw_vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] + b->x[i];
	check_overflow(result);
	PG_RETURN_VECTOR_P(result);
}

/* vector_sub(vector, vector), operator - */
Datum
phnsw_vector_sub(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;

	phnsw_check_dims(a, b);
	result = phnsw_vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] - b->x[i];
	check_overflow(result);
	PG_RETURN_VECTOR_P(result);
}

/* vector_mul(vector, vector), operator *: coordinate by coordinate */
Datum
phnsw_vector_mul(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;

	phnsw_check_dims(a, b);
	result = phnsw_vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] * b->x[i];
	check_overflow(result);
	for (int i = 0; i < a->dim; i++)
		if (unlikely(result->x[i] == 0 && a->x[i] != 0 && b->x[i] != 0))
			float_underflow_error();
	PG_RETURN_VECTOR_P(result);
}

/* vector_concat(vector, vector), operator || */
Datum
phnsw_vector_concat(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	int			dim = a->dim + b->dim;
	Vector	   *result;

	phnsw_check_dim(PHNSW_VECTOR_NAME, dim);
	result = phnsw_vector_new(dim);
	memcpy(result->x, a->x, (Size) a->dim * sizeof(float));
	memcpy(result->x + a->dim, b->x, (Size) b->dim * sizeof(float));
	PG_RETURN_VECTOR_P(result);
}

/* subvector(vector, start, count): counted from 1; what lies outside the vector is left out, as in substring() */
Datum
phnsw_vector_subvector(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	int64		start = PG_GETARG_INT32(1);
	int64		end = start + PG_GETARG_INT32(2);	/* exclusive */
	Vector	   *result;

	start = Max(start, 1);
	end = Min(end, (int64) vector->dim + 1);
	phnsw_check_dim(PHNSW_VECTOR_NAME, end - start);
	result = phnsw_vector_new((int) (end - start));
	memcpy(result->x, vector->x + (start - 1), (Size) (end - start) * sizeof(float));
	PG_RETURN_VECTOR_P(result);
}

/* binary_quantize(vector): bit(dims), 1 for coordinates above zero, the first one first */
Datum
phnsw_vector_binary_quantize(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	Size		bytes = VARBITTOTALLEN(vector->dim);
	VarBit	   *result = palloc0(bytes);

	SET_VARSIZE(result, bytes);
	VARBITLEN(result) = vector->dim;
	for (int i = 0; i < vector->dim; i++)
		if (vector->x[i] > 0)
			VARBITS(result)[i / BITS_PER_BYTE] |= (bits8) (0x80 >> (i % BITS_PER_BYTE));
	PG_RETURN_VARBIT_P(result);
}

/* ---- comparison ------------------------------------------------------------------------------ */

/* Lexicographic, then the shorter one first.  A comparison must not leak: sorts and btrees call it without a reset. */
static int
compare_vectors(FunctionCallInfo fcinfo)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	int			dim = Min(a->dim, b->dim);
	int			result = (a->dim > b->dim) - (a->dim < b->dim);

	for (int i = 0; i < dim; i++)
	{
		if (a->x[i] != b->x[i])
		{
			result = a->x[i] < b->x[i] ? -1 : 1;
			break;
		}
	}
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

Datum
phnsw_vector_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_vectors(fcinfo) < 0);
}

Datum
phnsw_vector_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_vectors(fcinfo) <= 0);
}

Datum
phnsw_vector_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_vectors(fcinfo) == 0);
}

Datum
phnsw_vector_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_vectors(fcinfo) != 0);
}

Datum
phnsw_vector_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_vectors(fcinfo) >= 0);
}

Datum
phnsw_vector_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_vectors(fcinfo) > 0);
}

Datum
phnsw_vector_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare_vectors(fcinfo));
}
