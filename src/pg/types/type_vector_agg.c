/*
 * type_vector_agg.c
 *    The aggregates avg(vector) and avg(halfvec): transition, combine and final functions.
 *    (sum(vector) is vector_add, sum(halfvec) halfvec_add.)
 *
 * The state is a float8 array {count, sum of x[0], sum of x[1], ...}: an ordinary type, so that parallel plans need no
 * serialisation and partial sums keep float64 precision.  A state without sums, {0}, has seen nothing.  When called as
 * an aggregate the state is ours and changed in place; called by hand it is copied.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/float.h"

#include "types/type_halfvec.h"

PG_FUNCTION_INFO_V1(phnsw_vector_accum);
PG_FUNCTION_INFO_V1(phnsw_vector_combine);
PG_FUNCTION_INFO_V1(phnsw_vector_avg);
PG_FUNCTION_INFO_V1(phnsw_halfvec_accum);
PG_FUNCTION_INFO_V1(phnsw_halfvec_avg);

/* The numbers of a state array, and how many sums follow the count. */
static float8 *
state_values(ArrayType *state, int *sums, const char *caller)
{
	if (ARR_NDIM(state) != 1 || ARR_DIMS(state)[0] < 1 || ARR_HASNULL(state) || ARR_ELEMTYPE(state) != FLOAT8OID)
		elog(ERROR, "%s: expected state array", caller);
	*sums = ARR_DIMS(state)[0] - 1;
	return (float8 *) ARR_DATA_PTR(state);
}

static ArrayType *
new_state(int sums)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + ((Size) sums + 1) * sizeof(float8);
	ArrayType  *state = (ArrayType *) palloc0(size);

	SET_VARSIZE(state, size);
	state->ndim = 1;
	state->elemtype = FLOAT8OID;
	ARR_DIMS(state)[0] = sums + 1;
	ARR_LBOUND(state)[0] = 1;
	return state;
}

/* The state to write to, of `sums` sums: `state` itself where that is allowed and fits, else a copy or a new one. */
static ArrayType *
writable_state(FunctionCallInfo fcinfo, ArrayType *state, int have, int sums)
{
	ArrayType  *result;

	if (have == sums && AggCheckCallContext(fcinfo, NULL))
		return state;
	result = new_state(sums);
	memcpy(ARR_DATA_PTR(result), ARR_DATA_PTR(state), ((Size) Min(have, sums) + 1) * sizeof(float8));
	return result;
}

/* The state of argument 0 with one more vector. */
static ArrayType *
accumulate(FunctionCallInfo fcinfo, const float *x, int dim, const char *caller)
{
	ArrayType  *state = PG_GETARG_ARRAYTYPE_P(0);
	int			sums;
	int			overflow = 0;
	float8	   *values;

	(void) state_values(state, &sums, caller);
	if (sums > 0)
		phnsw_check_expected_dim(sums, dim);

	state = writable_state(fcinfo, state, sums, dim);
	values = (float8 *) ARR_DATA_PTR(state);
	values[0] += 1.0;
	for (int i = 0; i < dim; i++)
	{
		values[i + 1] += (float8) x[i];
		overflow |= isinf(values[i + 1]) != 0;
	}
	if (unlikely(overflow != 0))
		float_overflow_error();
	return state;
}

/* vector_accum(double precision[], vector) */
Datum
phnsw_vector_accum(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(1);
	ArrayType  *state = accumulate(fcinfo, vector->x, vector->dim, "vector_accum");

	PG_FREE_IF_COPY(vector, 1);
	PG_RETURN_ARRAYTYPE_P(state);
}

/* halfvec_accum(double precision[], halfvec) */
Datum
phnsw_halfvec_accum(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(1);
	float	   *x = phnsw_halfvec_floats(halves);
	ArrayType  *state = accumulate(fcinfo, x, halves->dim, "halfvec_accum");

	pfree(x);
	PG_FREE_IF_COPY(halves, 1);
	PG_RETURN_ARRAYTYPE_P(state);
}

/* vector_combine(double precision[], double precision[]); halfvec_combine is the same */
Datum
phnsw_vector_combine(PG_FUNCTION_ARGS)
{
	ArrayType  *state = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *other = PG_GETARG_ARRAYTYPE_P(1);
	int			sums;
	int			other_sums;
	int			overflow = 0;
	float8	   *values;
	float8	   *other_values;

	(void) state_values(state, &sums, "vector_combine");
	other_values = state_values(other, &other_sums, "vector_combine");

	if (sums > 0 && other_sums > 0)
		phnsw_check_expected_dim(sums, other_sums);
	if (sums > 0 || other_sums > 0)
		phnsw_check_dim(PHNSW_VECTOR_NAME, Max(sums, other_sums));

	state = writable_state(fcinfo, state, sums, Max(sums, other_sums));
	values = (float8 *) ARR_DATA_PTR(state);
	for (int i = 0; i <= other_sums; i++)
	{
		values[i] += other_values[i];
		overflow |= isinf(values[i]) != 0;
	}
	if (unlikely(overflow != 0))
		float_overflow_error();
	PG_RETURN_ARRAYTYPE_P(state);
}

/* The mean as float32; NULL when there was no vector. */
static float *
mean_of(ArrayType *state, int *dim, const char *type, const char *caller)
{
	float8	   *values = state_values(state, dim, caller);
	float	   *x;

	if (values[0] == 0.0)
		return NULL;
	phnsw_check_dim(type, *dim);
	x = palloc(*dim * sizeof(float));
	for (int i = 0; i < *dim; i++)
		x[i] = (float) (values[i + 1] / values[0]);
	phnsw_check_elements(type, x, *dim);
	return x;
}

/* vector_avg(double precision[]) */
Datum
phnsw_vector_avg(PG_FUNCTION_ARGS)
{
	int			dim;
	float	   *x = mean_of(PG_GETARG_ARRAYTYPE_P(0), &dim, PHNSW_VECTOR_NAME, "vector_avg");
	Vector	   *result;

	if (x == NULL)
		PG_RETURN_NULL();
	result = phnsw_vector_new(dim);
	memcpy(result->x, x, (Size) dim * sizeof(float));
	PG_RETURN_VECTOR_P(result);
}

/* halfvec_avg(double precision[]) */
Datum
phnsw_halfvec_avg(PG_FUNCTION_ARGS)
{
	int			dim;
	float	   *x = mean_of(PG_GETARG_ARRAYTYPE_P(0), &dim, PHNSW_HALFVEC_NAME, "halfvec_avg");

	if (x == NULL)
		PG_RETURN_NULL();
	PG_RETURN_HALFVEC_P(phnsw_halfvec_from(x, dim));
}
