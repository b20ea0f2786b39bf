/*
 * element.c
 *    The coordinates of indexed values.
 *
 * Codes, graph and bounds are those of float32 vectors.  A half is a float32, too, so that an index of halves is an index of the widened
 * coordinates, and its bounds hold for the distances of halfvec, which are computed from these (core/capi/phnsw_half.h).
 */
#include "postgres.h"

#include "element.h"

#include "access/genam.h"
#include "catalog/pg_opclass.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "utils/lsyscache.h"

#include "capi/phnsw_core.h"
#include "type_halfvec.h"
#include "type_vector.h"

static PhnswElement
element_of(Oid function)
{
	return OidIsValid(function) ? (PhnswElement) DatumGetInt32(OidFunctionCall0(function)) : PHNSW_ELEMENT_FLOAT;
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
phnsw_element_type(PhnswElement element)
{
	return element == PHNSW_ELEMENT_HALF ? PHNSW_HALFVEC_NAME : PHNSW_VECTOR_NAME;
}

void
phnsw_coordinates_open(PhnswElement element, Datum value, PhnswCoordinates *coordinates)
{
	struct varlena *plain = PG_DETOAST_DATUM(value);
	void	   *copy = (Pointer) plain != DatumGetPointer(value) ? plain : NULL;

	if (element == PHNSW_ELEMENT_HALF)
	{
		const HalfVector *halves = (const HalfVector *) plain;
		float	   *x = palloc(halves->dim * sizeof(float));

		phnsw_half_widen(halves->x, x, halves->dim);
		*coordinates = (PhnswCoordinates) {.dims = halves->dim,.x = x,.copy = x};
		if (copy != NULL)
			pfree(copy);
	}
	else
	{
		const Vector *vector = (const Vector *) plain;

		*coordinates = (PhnswCoordinates) {.dims = vector->dim,.x = vector->x,.copy = copy};
	}
}

void
phnsw_coordinates_close(PhnswCoordinates *coordinates)
{
	if (coordinates->copy != NULL)
		pfree(coordinates->copy);
	coordinates->copy = NULL;
}
