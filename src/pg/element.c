/*
 * element.c
 *    The coordinates of indexed values.
 *
 * Codes, graph and bounds are those of float32 vectors.  A half is a float32, too, so that an index
 * of halves is an index of the widened coordinates, and its bounds hold for the distances of
 * halfvec, which are computed from these (core/capi/phnsw_half.h).
 */
#include "postgres.h"

#include "element.h"

#include "access/genam.h"
#include "catalog/pg_opclass.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "utils/lsyscache.h"

#include "capi/phnsw_core.h"
#include "types/type_halfvec.h"
#include "types/type_vector.h"

/* CREATE OPERATOR CLASS does not ask amvalidate(): a class may name anything. */
static PhnswElement
element_of(Oid function)
{
	int32		number = OidIsValid(function) ? DatumGetInt32(OidFunctionCall0(function)) : PHNSW_ELEMENT_FLOAT;

	if (number != PHNSW_ELEMENT_FLOAT && number != PHNSW_ELEMENT_HALF)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("function %s returns no type of coordinates: %d", get_func_name(function), number)));
	return (PhnswElement) number;
}

PhnswElement
phnsw_index_element(Relation index)
{
	return element_of(index_getprocid(index, 1, PHNSW_PROC_ELEMENT));
}

PhnswElement
phnsw_type_element(Oid type)
{
	Oid			opclass = GetDefaultOpClass(type, get_index_am_oid("phnsw", false));
	Oid			input = get_opclass_input_type(opclass);

	return element_of(get_opfamily_proc(get_opclass_family(opclass), input, input, PHNSW_PROC_ELEMENT));
}

const char *
phnsw_element_sql_type(PhnswElement element)
{
	return element == PHNSW_ELEMENT_HALF ? PHNSW_HALFVEC_NAME : PHNSW_VECTOR_NAME;
}

int
phnsw_value_dims(PhnswElement element, const void *value)
{
	int			dims = ((const Vector *) value)->dim;
	Size		size = element == PHNSW_ELEMENT_HALF ? PHNSW_HALFVEC_SIZE(dims) : PHNSW_VECTOR_SIZE(dims);

	if (unlikely(VARSIZE(value) != size))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("value of %zu bytes is no %s of %d dimensions", (Size) VARSIZE(value),
						phnsw_element_sql_type(element), dims),
				 errhint("The operator class is for a type of other coordinates, or the value is damaged.")));
	return dims;
}

void
phnsw_coordinates_open(PhnswElement element, Datum value, PhnswCoordinates *coordinates)
{
	struct varlena *plain = PG_DETOAST_DATUM(value);
	void	   *copy = (Pointer) plain != DatumGetPointer(value) ? plain : NULL;
	int			dims = phnsw_value_dims(element, plain);

	if (element == PHNSW_ELEMENT_HALF)
	{
		float	   *x = palloc(dims * sizeof(float));

		phnsw_half_widen(((const HalfVector *) plain)->x, x, dims);
		*coordinates = (PhnswCoordinates) {.dims = dims,.x = x,.copy = x};
		if (copy != NULL)
			pfree(copy);
	}
	else
		*coordinates = (PhnswCoordinates) {.dims = dims,.x = ((const Vector *) plain)->x,.copy = copy};
}

void
phnsw_coordinates_close(PhnswCoordinates *coordinates)
{
	if (coordinates->copy != NULL)
		pfree(coordinates->copy);
	coordinates->copy = NULL;
}
