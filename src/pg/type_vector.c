/*
 * type_vector.c
 *    Input, output, type modifier, binary form of the SQL type vector, and the checks that all of its functions share.
 *
 * Text is read by the core (core/text), written with PostgreSQL's own shortest float printing.  Nothing enters a Vector
 * here that is NaN or infinite, or whose number of dimensions is outside 1 ... 16,000.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"
#include "utils/array.h"

#include "capi/phnsw_core.h"
#include "type_vector.h"

PG_FUNCTION_INFO_V1(phnsw_vector_in);
PG_FUNCTION_INFO_V1(phnsw_vector_out);
PG_FUNCTION_INFO_V1(phnsw_vector_typmod_in);
PG_FUNCTION_INFO_V1(phnsw_vector_recv);
PG_FUNCTION_INFO_V1(phnsw_vector_send);

Vector *
phnsw_vector_new(int dim)
{
	Size		size = PHNSW_VECTOR_SIZE(dim);
	Vector	   *result = (Vector *) palloc0(size);

	SET_VARSIZE(result, size);
	result->dim = (int16) dim;
	return result;
}

void
phnsw_dims_differ(int a, int b)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("different vector dimensions %d and %d", a, b)));
}

void
phnsw_check_dim(int64 dim)
{
	if (dim < 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vector must have at least 1 dimension")));
	if (dim > PHNSW_DIMS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("vector cannot have more than %d dimensions", PHNSW_DIMS_MAX)));
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
phnsw_check_elements(const float *x, int n)
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
					 errmsg("NaN not allowed in vector")));
		if (isinf(x[i]))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("infinite value not allowed in vector")));
	}
}

/* Raises the error that the core's parser found. */
static void
raise_text_error(phnsw_text_result result, const char *text, size_t offset, size_t token_length)
{
	switch (result)
	{
		case PHNSW_TEXT_OK:
			return;
		case PHNSW_TEXT_NO_BRACKET:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type vector: \"%s\"", text),
					 errdetail("Vector contents must start with \"[\".")));
			break;
		case PHNSW_TEXT_TRAILING:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type vector: \"%s\"", text),
					 errdetail("Junk after closing right brace.")));
			break;
		case PHNSW_TEXT_OUT_OF_RANGE:
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("\"%s\" is out of range for type vector", pnstrdup(text + offset, token_length))));
			break;
		case PHNSW_TEXT_NAN:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("NaN not allowed in vector")));
			break;
		case PHNSW_TEXT_INFINITE:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("infinite value not allowed in vector")));
			break;
		case PHNSW_TEXT_EMPTY:
			phnsw_check_dim(0);
			break;
		case PHNSW_TEXT_TOO_MANY:
			phnsw_check_dim(PHNSW_DIMS_MAX + 1);
			break;
		case PHNSW_TEXT_SYNTAX:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type vector: \"%s\"", text)));
			break;
	}
	elog(ERROR, "unexpected result %d of the vector parser", (int) result);
}

/* vector_in(cstring, oid, integer) */
Datum
phnsw_vector_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	int32		typmod = PG_GETARG_INT32(2);
	size_t		length = strlen(text);
	uint32		capacity = 1;
	uint32		dims;
	size_t		offset;
	size_t		token_length;
	phnsw_text_result parsed;
	Vector	   *result;

	/* One number more than commas: the result has its final size when it is allocated. */
	for (size_t i = 0; i < length; i++)
		capacity += text[i] == ',';
	if (capacity > PHNSW_DIMS_MAX)
		capacity = PHNSW_DIMS_MAX;
	result = phnsw_vector_new((int) capacity);

	parsed = phnsw_text_parse(text, length, result->x, capacity, &dims, &offset, &token_length);
	if (unlikely(parsed != PHNSW_TEXT_OK))
		raise_text_error(parsed, text, offset, token_length);
	Assert(dims == capacity);

	phnsw_check_expected_dim(typmod, (int) dims);
	PG_RETURN_VECTOR_P(result);
}

/* vector_out(vector): every coordinate as the shortest text that reads back to the same float4. */
Datum
phnsw_vector_out(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	int			dim = vector->dim;
	char	   *text = (char *) palloc((Size) dim * FLOAT_SHORTEST_DECIMAL_LEN + 3);
	char	   *at = text;

	*at++ = '[';
	for (int i = 0; i < dim; i++)
	{
		if (i > 0)
			*at++ = ',';
		at += float_to_shortest_decimal_bufn(vector->x[i], at);
	}
	*at++ = ']';
	*at = '\0';
	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(text);
}

/* vector_typmod_in(cstring[]): the 3 of vector(3) */
Datum
phnsw_vector_typmod_in(PG_FUNCTION_ARGS)
{
	ArrayType  *modifiers = PG_GETARG_ARRAYTYPE_P(0);
	int			n;
	int32	   *values = ArrayGetIntegerTypmods(modifiers, &n);

	if (n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type modifier")));
	if (values[0] < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type vector must be at least 1")));
	if (values[0] > PHNSW_DIMS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type vector cannot exceed %d", PHNSW_DIMS_MAX)));
	PG_RETURN_INT32(values[0]);
}

/*
 * vector_recv(internal, oid, integer)
 *
 * Binary form: int16 dimensions, int16 zero, the coordinates as float4, all big-endian.
 */
Datum
phnsw_vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int32		typmod = PG_GETARG_INT32(2);
	int16		dim = (int16) pq_getmsgint(message, sizeof(int16));
	int16		unused = (int16) pq_getmsgint(message, sizeof(int16));
	const char *coordinates;
	Vector	   *result;

	phnsw_check_dim(dim);
	phnsw_check_expected_dim(typmod, dim);
	if (unused != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected unused to be 0, not %d", unused)));

	coordinates = pq_getmsgbytes(message, dim * (int) sizeof(float));
	result = phnsw_vector_new(dim);
	for (int i = 0; i < dim; i++)
	{
		uint32		bits;

		memcpy(&bits, coordinates + (Size) i * sizeof(bits), sizeof(bits));
		bits = pg_ntoh32(bits);
		memcpy(&result->x[i], &bits, sizeof(bits));
	}
	phnsw_check_elements(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}

/* vector_send(vector) */
Datum
phnsw_vector_send(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	int			dim = vector->dim;
	StringInfoData message;
	char	   *coordinates;

	pq_begintypsend(&message);
	pq_sendint16(&message, (uint16) dim);
	pq_sendint16(&message, 0);
	enlargeStringInfo(&message, dim * (int) sizeof(float));
	coordinates = message.data + message.len;
	for (int i = 0; i < dim; i++)
	{
		uint32		bits;

		memcpy(&bits, &vector->x[i], sizeof(bits));
		bits = pg_hton32(bits);
		memcpy(coordinates + (Size) i * sizeof(bits), &bits, sizeof(bits));
	}
	message.len += dim * (int) sizeof(float);
	message.data[message.len] = '\0';
	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}
