/*
 * type_halfvec_ops.c
 *    Distances, comparison and arithmetic of the SQL type halfvec.
 *
 * Everything is computed from the widened coordinates: distances as float64 sums (core/capi/phnsw_half.h; the bounds of
 * the access method are proved against these, core/codec/README.md), sums and products in float32 and then rounded,
 * which for two halves is the same as rounding once (a float32 has more than twice a half's bits, and two).
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "capi/phnsw_core.h"
#include "toast/detoast.h"
#include "types/type_halfvec.h"

PG_FUNCTION_INFO_V1(phnsw_halfvec_l2_distance);
PG_FUNCTION_INFO_V1(phnsw_halfvec_l2_squared_distance);
PG_FUNCTION_INFO_V1(phnsw_halfvec_inner_product);
PG_FUNCTION_INFO_V1(phnsw_halfvec_negative_inner_product);
PG_FUNCTION_INFO_V1(phnsw_halfvec_cosine_distance);
PG_FUNCTION_INFO_V1(phnsw_halfvec_spherical_distance);
PG_FUNCTION_INFO_V1(phnsw_halfvec_l1_distance);
PG_FUNCTION_INFO_V1(phnsw_halfvec_norm);
PG_FUNCTION_INFO_V1(phnsw_halfvec_l2_normalize);
PG_FUNCTION_INFO_V1(phnsw_halfvec_add);
PG_FUNCTION_INFO_V1(phnsw_halfvec_sub);
PG_FUNCTION_INFO_V1(phnsw_halfvec_mul);
PG_FUNCTION_INFO_V1(phnsw_halfvec_concat);
PG_FUNCTION_INFO_V1(phnsw_halfvec_subvector);
PG_FUNCTION_INFO_V1(phnsw_halfvec_binary_quantize);
PG_FUNCTION_INFO_V1(phnsw_halfvec_lt);
PG_FUNCTION_INFO_V1(phnsw_halfvec_le);
PG_FUNCTION_INFO_V1(phnsw_halfvec_eq);
PG_FUNCTION_INFO_V1(phnsw_halfvec_ne);
PG_FUNCTION_INFO_V1(phnsw_halfvec_ge);
PG_FUNCTION_INFO_V1(phnsw_halfvec_gt);
PG_FUNCTION_INFO_V1(phnsw_halfvec_cmp);

/* Of a half's 16 bits. */
#define HALF_SIGN 0x8000
#define HALF_INFINITY 0x7C00

/* ---- distances ------------------------------------------------------------------------------- */

typedef double (*distance_kernel) (const uint16_t *a, const uint16_t *b, uint32_t n);

/* A kernel over both arguments. */
static pg_attribute_always_inline double
call_kernel(FunctionCallInfo fcinfo, distance_kernel kernel)
{
	/* Detoasting does not look behind the header, which both types share. */
	const HalfVector *a = (const HalfVector *) phnsw_detoast(PG_GETARG_DATUM(0), 0);
	const HalfVector *b = (const HalfVector *) phnsw_detoast(PG_GETARG_DATUM(1), 1);

	phnsw_check_half_dims(a, b);
	return kernel(a->x, b->x, (uint32) a->dim);
}

/* l2_distance(halfvec, halfvec), operator <-> */
Datum
phnsw_halfvec_l2_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(sqrt(call_kernel(fcinfo, phnsw_half_l2_squared)));
}

/* halfvec_l2_squared_distance(halfvec, halfvec) */
Datum
phnsw_halfvec_l2_squared_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(call_kernel(fcinfo, phnsw_half_l2_squared));
}

/* inner_product(halfvec, halfvec) */
Datum
phnsw_halfvec_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(call_kernel(fcinfo, phnsw_half_inner_product));
}

/* halfvec_negative_inner_product(halfvec, halfvec), operator <#> */
Datum
phnsw_halfvec_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(-call_kernel(fcinfo, phnsw_half_inner_product));
}

/* cosine_distance(halfvec, halfvec), operator <=>; NaN when a vector is zero */
Datum
phnsw_halfvec_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(call_kernel(fcinfo, phnsw_half_cosine_distance));
}

/* halfvec_spherical_distance(halfvec, halfvec): the angle over pi, for vectors of norm 1 */
Datum
phnsw_halfvec_spherical_distance(PG_FUNCTION_ARGS)
{
	double		cosine = call_kernel(fcinfo, phnsw_half_inner_product);

	/* Rounding may leave the range that acos takes. */
	cosine = Min(Max(cosine, -1.0), 1.0);
	PG_RETURN_FLOAT8(acos(cosine) / M_PI);
}

/* l1_distance(halfvec, halfvec), operator <+> */
Datum
phnsw_halfvec_l1_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(call_kernel(fcinfo, phnsw_half_l1));
}

/* ---- norm ------------------------------------------------------------------------------------ */

static double
halfvec_norm(const HalfVector *halves)
{
	return sqrt(phnsw_half_inner_product(halves->x, halves->x, (uint32) halves->dim));
}

/* l2_norm(halfvec) */
Datum
phnsw_halfvec_norm(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(halfvec_norm(PG_GETARG_HALFVEC_P(0)));
}

/* l2_normalize(halfvec): of norm 1; the zero vector stays */
Datum
phnsw_halfvec_l2_normalize(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(0);
	double		norm = halfvec_norm(halves);
	float	   *x = phnsw_halfvec_floats(halves);

	if (norm > 0)
		for (int i = 0; i < halves->dim; i++)
			x[i] = (float) (x[i] / norm);
	PG_RETURN_HALFVEC_P(phnsw_halfvec_from(x, halves->dim));
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

typedef float (*combiner) (float a, float b);

static float
sum_of(float a, float b)
{
	return a + b;
}

static float
difference_of(float a, float b)
{
	return a - b;
}

static float
product_of(float a, float b)
{
	return a * b;
}

/* Coordinate by coordinate.  The operands are finite, so whatever is not finite in the result has overflowed. */
static pg_attribute_always_inline HalfVector *
combine(FunctionCallInfo fcinfo, combiner operation)
{
	HalfVector *a = PG_GETARG_HALFVEC_P(0);
	HalfVector *b = PG_GETARG_HALFVEC_P(1);
	float	   *x;
	float	   *y;
	HalfVector *result;
	int			overflow = 0;

	phnsw_check_half_dims(a, b);
	x = phnsw_halfvec_floats(a);
	y = phnsw_halfvec_floats(b);
	for (int i = 0; i < a->dim; i++)
		x[i] = operation(x[i], y[i]);
	result = phnsw_halfvec_new(a->dim);
	phnsw_half_narrow(x, result->x, a->dim);
	for (int i = 0; i < a->dim; i++)
		overflow |= (result->x[i] & ~HALF_SIGN) == HALF_INFINITY;
	if (unlikely(overflow != 0))
		float_overflow_error();
	pfree(x);
	pfree(y);
	return result;
}

/* halfvec_add(halfvec, halfvec), operator + */
Datum
phnsw_halfvec_add(PG_FUNCTION_ARGS)
{
	PG_RETURN_HALFVEC_P(combine(fcinfo, sum_of));
}

/* halfvec_sub(halfvec, halfvec), operator - */
Datum
phnsw_halfvec_sub(PG_FUNCTION_ARGS)
{
	PG_RETURN_HALFVEC_P(combine(fcinfo, difference_of));
}

/* halfvec_mul(halfvec, halfvec), operator * */
Datum
phnsw_halfvec_mul(PG_FUNCTION_ARGS)
{
	HalfVector *a = PG_GETARG_HALFVEC_P(0);
	HalfVector *b = PG_GETARG_HALFVEC_P(1);
	HalfVector *result = combine(fcinfo, product_of);

	for (int i = 0; i < result->dim; i++)
	{
		if (unlikely((result->x[i] & ~HALF_SIGN) == 0 && (a->x[i] & ~HALF_SIGN) != 0 && (b->x[i] & ~HALF_SIGN) != 0))
			float_underflow_error();
	}
	PG_RETURN_HALFVEC_P(result);
}

/* halfvec_concat(halfvec, halfvec), operator || */
Datum
phnsw_halfvec_concat(PG_FUNCTION_ARGS)
{
	HalfVector *a = PG_GETARG_HALFVEC_P(0);
	HalfVector *b = PG_GETARG_HALFVEC_P(1);
	int			dim = a->dim + b->dim;
	HalfVector *result;

	phnsw_check_dim(PHNSW_HALFVEC_NAME, dim);
	result = phnsw_halfvec_new(dim);
	memcpy(result->x, a->x, (Size) a->dim * sizeof(uint16));
	memcpy(result->x + a->dim, b->x, (Size) b->dim * sizeof(uint16));
	PG_RETURN_HALFVEC_P(result);
}

/* subvector(halfvec, start, count): counted from 1; what lies outside the vector is left out, as in substring() */
Datum
phnsw_halfvec_subvector(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(0);
	int64		start = PG_GETARG_INT32(1);
	int64		end = start + PG_GETARG_INT32(2);	/* exclusive */
	HalfVector *result;

	start = Max(start, 1);
	end = Min(end, (int64) halves->dim + 1);
	phnsw_check_dim(PHNSW_HALFVEC_NAME, end - start);
	result = phnsw_halfvec_new((int) (end - start));
	memcpy(result->x, halves->x + (start - 1), (Size) (end - start) * sizeof(uint16));
	PG_RETURN_HALFVEC_P(result);
}

/* binary_quantize(halfvec): bit(dims), 1 for coordinates above zero, the first one first */
Datum
phnsw_halfvec_binary_quantize(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(0);
	Size		bytes = VARBITTOTALLEN(halves->dim);
	VarBit	   *result = palloc0(bytes);

	SET_VARSIZE(result, bytes);
	VARBITLEN(result) = halves->dim;
	for (int i = 0; i < halves->dim; i++)
		if ((halves->x[i] & HALF_SIGN) == 0 && halves->x[i] != 0)
			VARBITS(result)[i / BITS_PER_BYTE] |= (bits8) (0x80 >> (i % BITS_PER_BYTE));
	PG_RETURN_VARBIT_P(result);
}

/* ---- comparison ------------------------------------------------------------------------------ */

/* A number that orders as the half does; both zeros have 0. */
static inline int
order_of(uint16 half)
{
	int			magnitude = half & ~HALF_SIGN;

	return (half & HALF_SIGN) != 0 ? -magnitude : magnitude;
}

/* Lexicographic, then the shorter one first.  A comparison must not leak: sorts and btrees call it without a reset. */
static int
compare_halfvecs(FunctionCallInfo fcinfo)
{
	HalfVector *a = PG_GETARG_HALFVEC_P(0);
	HalfVector *b = PG_GETARG_HALFVEC_P(1);
	int			dim = Min(a->dim, b->dim);
	int			result = (a->dim > b->dim) - (a->dim < b->dim);

	for (int i = 0; i < dim; i++)
	{
		int			difference = order_of(a->x[i]) - order_of(b->x[i]);

		if (difference != 0)
		{
			result = difference < 0 ? -1 : 1;
			break;
		}
	}
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

Datum
phnsw_halfvec_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_halfvecs(fcinfo) < 0);
}

Datum
phnsw_halfvec_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_halfvecs(fcinfo) <= 0);
}

Datum
phnsw_halfvec_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_halfvecs(fcinfo) == 0);
}

Datum
phnsw_halfvec_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_halfvecs(fcinfo) != 0);
}

Datum
phnsw_halfvec_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_halfvecs(fcinfo) >= 0);
}

Datum
phnsw_halfvec_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_halfvecs(fcinfo) > 0);
}

Datum
phnsw_halfvec_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare_halfvecs(fcinfo));
}
