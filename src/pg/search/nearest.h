/*
 * nearest.h
 *    The k smallest of many distances.
 *
 * Most distances are not among them, so that nearest_wants() decides, with one comparison.
 */
#ifndef PHNSW_NEAREST_H
#define PHNSW_NEAREST_H

#include "postgres.h"

/* A binary heap with the largest at the root.  The caller owns `distances`, which has room for k. */
typedef struct Nearest
{
	uint32		n;
	double	   *distances;
} Nearest;

/* Puts `distance` where position `i` is free, or below it. */
static inline void
sift_down(Nearest *nearest, uint32 i, double distance)
{
	double	   *d = nearest->distances;

	for (;;)
	{
		uint32		child = 2 * i + 1;

		if (child >= nearest->n)
			break;
		if (child + 1 < nearest->n && d[child + 1] > d[child])
			child++;
		if (d[child] <= distance)
			break;
		d[i] = d[child];
		i = child;
	}
	d[i] = distance;
}

static inline void
nearest_add(Nearest *nearest, uint32 k, double distance)
{
	double	   *d = nearest->distances;

	if (nearest->n == k)
	{
		if (distance < d[0])
			sift_down(nearest, 0, distance);
	}
	else
	{
		uint32		i = nearest->n++;

		for (; i > 0 && d[(i - 1) / 2] < distance; i = (i - 1) / 2)
			d[i] = d[(i - 1) / 2];
		d[i] = distance;
	}
}

static inline bool
nearest_wants(const Nearest *nearest, uint32 k, double distance)
{
	return nearest->n < k || distance < nearest->distances[0];
}

#endif							/* PHNSW_NEAREST_H */
