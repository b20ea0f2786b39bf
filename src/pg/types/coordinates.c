/*
 * coordinates.c
 *    What the SQL types vector and halfvec share: dimensions, type modifiers,
 *    and coordinates as float32 on their way in.
 *
 * Text is read by the core (core/text).  Nothing comes in that is NaN or infinite, or
 * whose number of dimensions is outside 1 ... 16,000.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "capi/phnsw_core.h"
#include "types/coordinates.h"

/* ---- checks ---------------------------------------------------------------------------------- */

void
phnsw_dims_differ(const char *type, int a, int b)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("different %s dimensions %d and %d", type, a, b)));
}

void
phnsw_check_dim(const char *type, int64 dim)
{
	if (dim < 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("%s must have at least 1 dimension", type)));
	if (dim > PHNSW_DIMS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s cannot have more than %d dimensions", type, PHNSW_DIMS_MAX)));
}

void
phnsw_check_expected_dim(int32 typmod, int dim)
{
	if (typmod != -1 && typmod != dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", typmod, dim)));
}

void
phnsw_check_elements(const char *type, const float *x, int n)
{
	int			bad = 0;

	/* One branch for all of them: bad values are the exception. */
	for (int i = 0; i < n; i++)
		bad |= !isfinite(x[i]);
	if (likely(bad == 0))
		return;

	for (int i = 0; i < n; i++)
	{
		if (isnan(x[i]))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("NaN not allowed in %s", type)));
		if (isinf(x[i]))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("infinite value not allowed in %s", type)));
	}
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Raises the error that the core's parser found. */
static void
raise_text_error(const char *type, phnsw_text_result result, const char *text, size_t offset, size_t token_length)
{
	switch (result)
	{
		case PHNSW_TEXT_OK:
			return;
		case PHNSW_TEXT_NO_BRACKET:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type %s: \"%s\"", type, text),
					 errdetail("Vector contents must start with \"[\".")));
			break;
		case PHNSW_TEXT_TRAILING:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type %s: \"%s\"", type, text),
					 errdetail("Junk after closing right brace.")));
			break;
		case PHNSW_TEXT_OUT_OF_RANGE:
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("\"%s\" is out of range for type %s", pnstrdup(text + offset, token_length), type)));
			break;
		case PHNSW_TEXT_NAN:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("NaN not allowed in %s", type)));
			break;
		case PHNSW_TEXT_INFINITE:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("infinite value not allowed in %s", type)));
			break;
		case PHNSW_TEXT_EMPTY:
			phnsw_check_dim(type, 0);
			break;
		case PHNSW_TEXT_TOO_MANY:
			phnsw_check_dim(type, PHNSW_DIMS_MAX + 1);
			break;
		case PHNSW_TEXT_SYNTAX:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type %s: \"%s\"", type, text)));
			break;
	}
	elog(ERROR, "unexpected result %d of the vector parser", (int) result);
}

/* One more than commas. */
uint32
phnsw_text_capacity(const char *text)
{
	uint32		capacity = 1;

	for (; *text != '\0'; text++)
		capacity += *text == ',';
	return Min(capacity, PHNSW_DIMS_MAX);
}

void
phnsw_text_coordinates(const char *type, const char *text, float *x, uint32 capacity)
{
	uint32		dims;
	size_t		offset;
	size_t		token_length;
	phnsw_text_result parsed = phnsw_text_parse(text, strlen(text), x, capacity, &dims, &offset, &token_length);

	if (unlikely(parsed != PHNSW_TEXT_OK))
		raise_text_error(type, parsed, text, offset, token_length);
	Assert(dims == capacity);
}

char *
phnsw_coordinates_text(const float *x, int n)
{
	char	   *text = (char *) palloc((Size) n * FLOAT_SHORTEST_DECIMAL_LEN + 3);
	char	   *at = text;

	*at++ = '[';
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			*at++ = ',';
		at += float_to_shortest_decimal_bufn(x[i], at);
	}
	*at++ = ']';
	*at = '\0';
	return text;
}

int32
phnsw_typmod(const char *type, ArrayType *modifiers)
{
	int			n;
	int32	   *values = ArrayGetIntegerTypmods(modifiers, &n);

	if (n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type modifier")));
	if (values[0] < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s must be at least 1", type)));
	if (values[0] > PHNSW_DIMS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s cannot exceed %d", type, PHNSW_DIMS_MAX)));
	return values[0];
}

/* ---- arrays ---------------------------------------------------------------------------------- */

int
phnsw_array_dims(const char *type, const ArrayType *array, int32 typmod)
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
	phnsw_check_dim(type, n);
	phnsw_check_expected_dim(typmod, n);
	return n;
}

static void
numeric_coordinates(ArrayType *array, float *x, int n)
{
	Datum	   *values;
	int			count;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &values, NULL, &count);
	Assert(count == n);
	for (int i = 0; i < n; i++)
		x[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4, values[i]));
}

/* Of float8 and numeric, too large is an error, too small becomes zero. */
void
phnsw_array_coordinates(const char *type, ArrayType *array, float *x, int n)
{
	const void *values = ARR_DATA_PTR(array);

	switch (ARR_ELEMTYPE(array))
	{
		case INT4OID:
			for (int i = 0; i < n; i++)
				x[i] = (float) ((const int32 *) values)[i];
			break;
		case FLOAT4OID:
			memcpy(x, values, (Size) n * sizeof(float));
			break;
		case FLOAT8OID:
			for (int i = 0; i < n; i++)
				x[i] = (float) ((const float8 *) values)[i];
			break;
		case NUMERICOID:
			numeric_coordinates(array, x, n);
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("unsupported array type")));
	}
	phnsw_check_elements(type, x, n);
}

ArrayType *
phnsw_float4_array(int n, float4 **values)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + (Size) n * sizeof(float4);
	ArrayType  *result = (ArrayType *) palloc0(size);

	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->elemtype = FLOAT4OID;
	ARR_DIMS(result)[0] = n;
	ARR_LBOUND(result)[0] = 1;
	*values = (float4 *) ARR_DATA_PTR(result);
	return result;
}

/* ---- messages -------------------------------------------------------------------------------- */

int16
phnsw_recv_head(const char *type, StringInfo message, int32 typmod)
{
	int16		dim = (int16) pq_getmsgint(message, sizeof(int16));
	int16		unused = (int16) pq_getmsgint(message, sizeof(int16));

	phnsw_check_dim(type, dim);
	phnsw_check_expected_dim(typmod, dim);
	if (unused != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected unused to be 0, not %d", unused)));
	return dim;
}
