/*
 * element.h
 *    What the coordinates of an indexed type are stored as, and how the index
 *    gets them as float32, which it works with.
 */
#ifndef PHNSW_ELEMENT_H
#define PHNSW_ELEMENT_H

#include "compat.h"

#include "utils/rel.h"

/* Support functions of an operator class. */
#define PHNSW_PROC_METRIC  1
#define PHNSW_PROC_ELEMENT 2

/* What the second of them returns; a class without it has the first. */
typedef enum PhnswElement
{
	PHNSW_ELEMENT_FLOAT = 0,	/* float32: the bytes of a vector */
	PHNSW_ELEMENT_HALF = 1		/* binary16: the bytes of a halfvec */
} PhnswElement;

/* Of an index by its operator class; of a column of that type by the class that an index would have by default. */
extern PhnswElement phnsw_index_element(Relation index);
extern PhnswElement phnsw_type_element(Oid type);

/* The name of the SQL type whose coordinates are such, for messages. */
extern const char *phnsw_element_sql_type(PhnswElement element);

/*
 * The dimensions of a detoasted value.  An error when it does not have as many coordinates of that type as it says:
 * nothing else keeps an operator class that names the wrong one from reading what is behind the value.
 */
extern int	phnsw_value_dims(PhnswElement element, const void *value);

/* A value's coordinates. */
typedef struct PhnswCoordinates
{
	int			dims;
	const float *x;
	void	   *copy;			/* of the value, or of its coordinates; NULL: x is in the value */
} PhnswCoordinates;

extern void phnsw_coordinates_open(PhnswElement element, Datum value, PhnswCoordinates *coordinates);
extern void phnsw_coordinates_close(PhnswCoordinates *coordinates);

#endif							/* PHNSW_ELEMENT_H */
