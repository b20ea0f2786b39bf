/*
 * type_halfvec.c
 *    Input, output, type modifier and binary form of the SQL type halfvec.
 *
 * Coordinates come in as float32 (coordinates.c) and are rounded to the nearest half, ties to
 * even, as pgvector does; what rounds to infinity is an error.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"

#include "capi/phnsw_core.h"
#include "types/type_halfvec.h"

PG_FUNCTION_INFO_V1(phnsw_halfvec_in);
PG_FUNCTION_INFO_V1(phnsw_halfvec_out);
PG_FUNCTION_INFO_V1(phnsw_halfvec_typmod_in);
PG_FUNCTION_INFO_V1(phnsw_halfvec_recv);
PG_FUNCTION_INFO_V1(phnsw_halfvec_send);

HalfVector *
phnsw_halfvec_new(int dim)
{
	Size		size = PHNSW_HALFVEC_SIZE(dim);
	HalfVector *result = (HalfVector *) palloc0(size);

	SET_VARSIZE(result, size);
	result->dim = (int16) dim;
	return result;
}

static void
check_range(const float *x, int n)
{
	float		largest = 0;

	/* The first that rounds to infinity is half a step beyond the largest half. */
	for (int i = 0; i < n; i++)
		largest = Max(largest, fabsf(x[i]));
	if (likely(largest < PHNSW_HALF_MAX + 16))
		return;
	for (int i = 0; i < n; i++)
	{
		if (fabsf(x[i]) >= PHNSW_HALF_MAX + 16)
		{
			char		text[FLOAT_SHORTEST_DECIMAL_LEN];

			float_to_shortest_decimal_buf(x[i], text);
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("\"%s\" is out of range for type %s", text, PHNSW_HALFVEC_NAME)));
		}
	}
}

HalfVector *
phnsw_halfvec_from(const float *x, int dim)
{
	HalfVector *result = phnsw_halfvec_new(dim);

	check_range(x, dim);
	phnsw_half_narrow(x, result->x, dim);
	return result;
}

float *
phnsw_halfvec_floats(const HalfVector *halves)
{
	float	   *x = palloc(halves->dim * sizeof(float));

	phnsw_half_widen(halves->x, x, halves->dim);
	return x;
}

/* halfvec_in(cstring, oid, integer) */
Datum
phnsw_halfvec_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	uint32		dims = phnsw_text_capacity(text);
	float	   *x = palloc(dims * sizeof(float));
	HalfVector *result;

	phnsw_text_coordinates(PHNSW_HALFVEC_NAME, text, x, dims);
	phnsw_check_expected_dim(PG_GETARG_INT32(2), (int) dims);
	result = phnsw_halfvec_from(x, (int) dims);
	pfree(x);
	PG_RETURN_HALFVEC_P(result);
}

/* halfvec_out(halfvec) */
Datum
phnsw_halfvec_out(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(0);
	float	   *x = phnsw_halfvec_floats(halves);
	char	   *text = phnsw_coordinates_text(x, halves->dim);

	pfree(x);
	PG_FREE_IF_COPY(halves, 0);
	PG_RETURN_CSTRING(text);
}

/* halfvec_typmod_in(cstring[]): the 3 of halfvec(3) */
Datum
phnsw_halfvec_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(phnsw_typmod(PHNSW_HALFVEC_NAME, PG_GETARG_ARRAYTYPE_P(0)));
}

/*
 * halfvec_recv(internal, oid, integer)
 *
 * Binary form: int16 dimensions, int16 zero, the coordinates' 16 bits, all big-endian.
 */
Datum
phnsw_halfvec_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int16		dim = phnsw_recv_head(PHNSW_HALFVEC_NAME, message, PG_GETARG_INT32(2));
	const char *coordinates = pq_getmsgbytes(message, dim * (int) sizeof(uint16));
	HalfVector *result = phnsw_halfvec_new(dim);
	float	   *x;

	for (int i = 0; i < dim; i++)
	{
		uint16		bits;

		memcpy(&bits, coordinates + (Size) i * sizeof(bits), sizeof(bits));
		result->x[i] = pg_ntoh16(bits);
	}
	x = phnsw_halfvec_floats(result);
	phnsw_check_elements(PHNSW_HALFVEC_NAME, x, dim);
	pfree(x);
	PG_RETURN_HALFVEC_P(result);
}

/* halfvec_send(halfvec) */
Datum
phnsw_halfvec_send(PG_FUNCTION_ARGS)
{
	HalfVector *halves = PG_GETARG_HALFVEC_P(0);
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendint16(&message, (uint16) halves->dim);
	pq_sendint16(&message, 0);
	for (int i = 0; i < halves->dim; i++)
		pq_sendint16(&message, halves->x[i]);
	PG_FREE_IF_COPY(halves, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}
