/*
 * type_vector.c
 *    Input, output, type modifier and binary form of the SQL type vector.  What
 *    it shares with halfvec is in coordinates.c.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "port/pg_bswap.h"

#include "types/type_vector.h"

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

/* vector_in(cstring, oid, integer) */
Datum
phnsw_vector_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	uint32		dims = phnsw_text_capacity(text);
	Vector	   *result = phnsw_vector_new((int) dims);

	phnsw_text_coordinates(PHNSW_VECTOR_NAME, text, result->x, dims);
	phnsw_check_expected_dim(PG_GETARG_INT32(2), (int) dims);
	PG_RETURN_VECTOR_P(result);
}

/* vector_out(vector) */
Datum
phnsw_vector_out(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	char	   *text = phnsw_coordinates_text(vector->x, vector->dim);

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(text);
}

/* vector_typmod_in(cstring[]): the 3 of vector(3) */
Datum
phnsw_vector_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(phnsw_typmod(PHNSW_VECTOR_NAME, PG_GETARG_ARRAYTYPE_P(0)));
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
	int16		dim = phnsw_recv_head(PHNSW_VECTOR_NAME, message, PG_GETARG_INT32(2));
	const char *coordinates;
	Vector	   *result;

	coordinates = pq_getmsgbytes(message, dim * (int) sizeof(float));
	result = phnsw_vector_new(dim);
	for (int i = 0; i < dim; i++)
	{
		uint32		bits;

		memcpy(&bits, coordinates + (Size) i * sizeof(bits), sizeof(bits));
		bits = pg_ntoh32(bits);
		memcpy(&result->x[i], &bits, sizeof(bits));
	}
	phnsw_check_elements(PHNSW_VECTOR_NAME, result->x, dim);
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
