/*
 * suggest.h
 *    Between phnsw_suggest() (suggest.c) and what it learns from a sample of the table's rows (suggest_trial.c).
 */
#ifndef PHNSW_SUGGEST_H
#define PHNSW_SUGGEST_H

#include "phnsw.h"

/* One index that might be built. */
typedef struct PhnswTrial
{
	/* in */
	Relation	table;
	AttrNumber	column;
	PhnswElement element;		/* of the column's type */
	uint32		sample;			/* rows wanted */
	double		table_rows;		/* estimate of all */
	double		index_rows;		/* for which ef is wanted */
	phnsw_build_params params;	/* metric, dims, m, ef_construction */

	/* out */
	uint32		rows;			/* of the sample */
	double		ef;				/* for phnsw.target_recall among index_rows rows */
} PhnswTrial;

/*
 * Builds a sample of the table in memory and measures it.  false: there are too few rows for
 * that, or the caller may not read them; nothing is set then.
 */
extern bool phnsw_trial(PhnswTrial *trial);

#endif							/* PHNSW_SUGGEST_H */
