/*
 * stats.h
 *    What the files of the statistics share: stats.c (counting, in the backend), stats_shared.c (the server's sums),
 *    stats_view.c (SQL functions).
 */
#ifndef PHNSW_STATS_H
#define PHNSW_STATS_H

#include "phnsw.h"

#include "datatype/timestamp.h"

/* Indexes whose statistics are kept; beyond that, those that were not used for longest are forgotten. */
#define PHNSW_STATS_INDEXES_MAX 1000

/* Statistics as a list of numbers. */
#define PHNSW_STATS_N (sizeof(PhnswIndexStats) / sizeof(uint64))

StaticAssertDecl(sizeof(PhnswIndexStats) == PHNSW_STATS_N * sizeof(uint64), "statistics are an array of uint64");
StaticAssertDecl(sizeof(PhnswCounters) % sizeof(uint64) == 0, "counters are an array of uint64");

/* sum += after - before, number by number. */
static inline void
phnsw_stats_add_difference(void *sum, const void *after, const void *before, Size bytes)
{
	uint64	   *s = sum;
	const uint64 *a = after;
	const uint64 *b = before;

	for (Size i = 0; i < bytes / sizeof(uint64); i++)
		s[i] += a[i] - b[i];
}

/* ---- stats.c --------------------------------------------------------------------------------- */

/* What this backend has counted of one index. */
typedef struct PhnswLocalStats
{
	Oid			relid;			/* hash key */
	uint64		used;			/* order of use */
	TimestampTz since;
	PhnswIndexStats sum;
	PhnswIndexStats sent;		/* the part of it that is in the server's sums */
} PhnswLocalStats;

typedef struct PhnswLastScan
{
	Oid			relid;			/* InvalidOid: none yet */
	uint32		ef;
	PhnswCounters work;
	double		first_row_ms;
	double		total_ms;
} PhnswLastScan;

extern PhnswLastScan phnsw_last_scan_done;

typedef void (*PhnswLocalVisitor) (PhnswLocalStats *stats, void *arg);
extern void phnsw_stats_visit(PhnswLocalVisitor visitor, void *arg);
/* Forgets what was counted of an index; InvalidOid: of all. */
extern void phnsw_stats_forget(Oid relid);

/* ---- stats_shared.c -------------------------------------------------------------------------- */

typedef struct PhnswSharedRow
{
	Oid			relid;
	TimestampTz since;
	PhnswIndexStats sum;
} PhnswSharedRow;

extern void phnsw_shared_init(void);	/* from _PG_init, when the postmaster loads the library */
/* The library was loaded by the postmaster, so that there are sums for the whole server. */
extern bool phnsw_shared_exists(void);
/*
 * To be called once, before anything is counted: sends what is counted after
 * a transaction and at the end of the session.
 */
extern void phnsw_shared_enlist(void);
/* Brings everything that this backend has counted into the sums.  Raises no errors. */
extern void phnsw_shared_send(void);
/* Copies the sums of this database's indexes into rows[PHNSW_STATS_INDEXES_MAX]; returns their number. */
extern uint32 phnsw_shared_read(PhnswSharedRow *rows);
/* Forgets the sums of one index of this database; InvalidOid: of all indexes of all databases. */
extern void phnsw_shared_reset(Oid relid);

#endif							/* PHNSW_STATS_H */
