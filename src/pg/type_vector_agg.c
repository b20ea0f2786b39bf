/*
 * type_vector_agg.c
 *    The aggregate avg(vector): transition, combine and final function.  (sum(vector) is vector_add.)
 *
 * The state is a float8 array {count, sum of x[0], sum of x[1], ...}: an ordinary type, so that parallel plans need no
 * serialisation and partial sums keep float64 precision.  A state without sums, {0}, has seen nothing.  When called as an
 * aggregate the state is ours and changed in place; called by hand it is copied.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/float.h"

#include "type_vector.h"

PG_FUNCTION_INFO_V1(phnsw_vector_accum);
PG_FUNCTION_INFO_V1(phnsw_vector_combine);
PG_FUNCTION_INFO_V1(phnsw_vector_avg);

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

/* vector_accum(double precision[], vector) */
Datum
phnsw_vector_accum(PG_FUNCTION_ARGS)
{
	ArrayType  *state = PG_GETARG_ARRAYTYPE_P(0);
	Vector	   *vector = PG_GETARG_VECTOR_P(1);
	int			dim = vector->dim;
	int			sums;
	int			overflow = 0;
	float8	   *values;

	(void) state_values(state, &sums, "vector_accum");
	if (sums > 0)
		phnsw_check_expected_dim(sums, dim);

	state = writable_state(fcinfo, state, sums, dim);
	values = (float8 *) ARR_DATA_PTR(state);
	values[0] += 1.0;
	for (int i = 0; i < dim; i++)
	{
		values[i + 1] += (float8) vector->x[i];
		overflow |= isinf(values[i + 1]) != 0;
	}
	if (unlikely(overflow != 0))
		float_overflow_error();

	PG_FREE_IF_COPY(vector, 1);
	PG_RETURN_ARRAYTYPE_P(state);
}

/* vector_combine(double precision[], double precision[]) */
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
		phnsw_check_dim(Max(sums, other_sums));

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

/* vector_avg(double precision[]) */
Datum
phnsw_vector_avg(PG_FUNCTION_ARGS)
{
	ArrayType  *state = PG_GETARG_ARRAYTYPE_P(0);
	int			dim;
	float8	   *values = state_values(state, &dim, "vector_avg");
	Vector	   *result;

	if (values[0] == 0.0)
		PG_RETURN_NULL();

	phnsw_check_dim(dim);
	result = phnsw_vector_new(dim);
	for (int i = 0; i < dim; i++)
		result->x[i] = (float) (values[i + 1] / values[0]);
	phnsw_check_elements(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}
