/*
 * recall.h
 *    What the files of phnsw_recall() share: recall.c (the function, its
 *    queries), recall_measure.c (truth, answers, recall).
 */
#ifndef PHNSW_RECALL_H
#define PHNSW_RECALL_H

#include "compat.h"

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "search/nearest.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct PhnswRecallQuery
{
	Datum		vector;
	ItemPointerData self;		/* the row it is; invalid: none */
	Nearest		truth;
} PhnswRecallQuery;

typedef struct PhnswRecall
{
	Relation	heap;
	Relation	index;
	Snapshot	snapshot;
	uint32		k;

	FmgrInfo	distance;		/* function of the ordering operator */
	Oid			distance_oid;
	Oid			collation;

	/* from a row of the table to the indexed value */
	IndexInfo  *info;
	EState	   *estate;
	ExprState  *predicate;
	TupleTableSlot *slot;

	uint32		n;
	uint32		room;
	PhnswRecallQuery *queries;
} PhnswRecall;

typedef struct PhnswRecallEstimate
{
	uint32		queries;
	double		recall;
	double		low;
	double		high;
} PhnswRecallEstimate;

/* ---- recall.c -------------------------------------------------------------------------------- */

/* The indexed value of the row in r->slot, detoasted; false when the index does not hold it. */
extern bool phnsw_recall_vector(PhnswRecall *r, Datum *vector);

/* Every indexed row that the snapshot sees, in the table's order. */
typedef void (*PhnswRowVisitor) (PhnswRecall *r, Datum vector, void *arg);
extern void phnsw_recall_rows(PhnswRecall *r, PhnswRowVisitor visitor, void *arg);

static inline double
phnsw_recall_distance(PhnswRecall *r, Datum a, Datum b)
{
	return DatumGetFloat8(FunctionCall2Coll(&r->distance, r->collation, a, b));
}

/* ---- recall_measure.c ------------------------------------------------------------------------ */

/* What the index finds of the queries' nearest neighbours; of no query if none has any. */
extern void phnsw_recall_measure(PhnswRecall *r, PhnswRecallEstimate *estimate);

#endif							/* PHNSW_RECALL_H */
