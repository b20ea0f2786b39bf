/*
 * counters.h
 *    What scans, inserts and vacuums count as they go; who reads it is in stats.h.
 */
#ifndef PHNSW_COUNTERS_H
#define PHNSW_COUNTERS_H

#include "compat.h"

#include "portability/instr_time.h"
#include "utils/palloc.h"

/* ---- stats.c: what scans, inserts and vacuums have done -------------------------------------- */

/* Only uint64 fields: sums and differences are taken over the struct as an array. */
typedef struct PhnswCounters
{
	uint64		scans;
	uint64		hops;			/* nodes expanded */
	uint64		touches;		/* nodes scored */
	uint64		pins;			/* looks at pages for them */
	uint64		glances;		/* those of them that took no pin */
	uint64		misses;			/* pins that the block-to-buffer map could not serve */
	uint64		emitted;		/* rows handed to the executor, each of which it rechecks */
	uint64		late;			/* candidates found too late for strict order */
	uint64		sweeps;			/* linear passes */
	uint64		killed;			/* rows that were gone, taken out of the index */
} PhnswCounters;

/* What this backend has done so far, whatever for; phnsw_stats_charge() says for whom. */
extern PhnswCounters phnsw_counters;

/* The statistics of an index.  Only uint64 fields. */
typedef struct PhnswIndexStats
{
	PhnswCounters scan;
	uint64		inserts;		/* rows that went into the graph one by one */
	uint64		inserts_bulk;	/* rows that were built into an empty index, or merged into a filled one, together */
	uint64		bulk_flushes;	/* such builds and merges */
	uint64		vacuums;		/* passes that looked for dead rows */
	uint64		rows_removed;	/* by vacuum */
	uint64		nodes_freed;
	uint64		lists_repaired;
} PhnswIndexStats;

/* Seconds since *mark, which moves on to now. */
static inline double
phnsw_lap(instr_time *mark)
{
	instr_time	now;
	instr_time	passed;

	INSTR_TIME_SET_CURRENT(now);
	passed = now;
	INSTR_TIME_SUBTRACT(passed, *mark);
	*mark = now;
	return INSTR_TIME_GET_DOUBLE(passed);
}

/*
 * One scan, from its first row to its end, and again after every rescan.  Lives in the scan; its memory context ends
 * it when nobody else does, so that a scan that was cancelled counts too.
 */
typedef struct PhnswAccount
{
	MemoryContextCallback callback;
	Oid			relid;
	uint32		ef;
	bool		open;
	bool		answered;		/* a row was returned, or there was none */
	PhnswCounters work;
	PhnswCounters sum;			/* of all scans that ended, since phnsw_stats_attach() */
	instr_time	begun;
	instr_time	first_row;
} PhnswAccount;

extern PhnswAccount *phnsw_charged;
extern void phnsw_stats_switch(PhnswAccount *account);

/* What is counted from now on belongs to `account`; NULL: to nobody. */
static inline void
phnsw_stats_charge(PhnswAccount *account)
{
	if (unlikely(phnsw_charged != account))
		phnsw_stats_switch(account);
}

/* Once for a scan; `context` owns *account. */
extern void phnsw_stats_attach(PhnswAccount *account, MemoryContext context);
/* The scan is about to read the index for a new query: ends the account's previous one, and charges it. */
extern void phnsw_stats_begin(PhnswAccount *account, Oid index, uint32 ef);
extern void phnsw_stats_first_row(PhnswAccount *account);
extern void phnsw_stats_end(PhnswAccount *account);

/* This backend's statistics of an index, to be added to.  Valid until the next call. */
extern PhnswIndexStats *phnsw_stats_of(Oid index);

extern void phnsw_stats_init(void); /* from _PG_init */

#endif							/* PHNSW_COUNTERS_H */
