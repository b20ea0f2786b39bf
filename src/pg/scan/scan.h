/*
 * scan.h
 *    What the files of an ORDER BY scan share: scan.c (callbacks, graph phase), sweep.c (linear phase), emit.c (from
 *    nodes to heap TIDs), cold_rows.c and ahead.c (rows to come), exact.c (hits that come late), kill.c (rows that are
 *    gone), in_order.c (a queue of the scan's own), range_end.c (rows that are too far away).
 *
 * A scan turns nodes into hits (a node, and a lower bound of the distance of its rows), keeps the hits in a heap and
 * returns them in the order of their bounds.  The graph finds the hits first; when it ends, or when going on with it
 * would cost more than it brings, a sweep over all pages finds whatever is left.
 *
 * Everything is owned by PhnswScan.context, a child of the executor's context of the query.
 */
#ifndef PHNSW_SCAN_H
#define PHNSW_SCAN_H

#include "phnsw.h"

#include "access/relscan.h"

/* Candidates that are looked at together. */
#define PHNSW_LOOK_MAX 32

typedef struct PhnswHit
{
	double		bound;			/* not above the distance of any of the node's rows; never NaN */
	uint32		id;
	uint32		version;
	phnsw_tid	tid;			/* the slot's own; offset 0: none */
	bool		chained;		/* there are more in the node's chain */
} PhnswHit;

/* The order in which hits are returned. */
static inline bool
phnsw_hit_before(const PhnswHit *a, const PhnswHit *b)
{
	return a->bound < b->bound || (a->bound == b->bound && a->id < b->id);
}

typedef enum PhnswScanPhase
{
	PHNSW_SCAN_START,			/* nothing read yet */
	PHNSW_SCAN_GRAPH,
	PHNSW_SCAN_SWEEP,
	PHNSW_SCAN_END
} PhnswScanPhase;

typedef enum PhnswQueryKind
{
	PHNSW_QUERY_VECTOR,
	PHNSW_QUERY_NULL,			/* the distance of every row is NULL */
	PHNSW_QUERY_NAN				/* ... is NaN: a zero vector under cosine */
} PhnswQueryKind;

struct phnsw_visited_hash;
typedef struct PhnswWaiting PhnswWaiting;
typedef struct PhnswRange PhnswRange;

typedef struct PhnswScan
{
	/* fixed for the life of the scan */
	MemoryContext context;
	MemoryContext search_context;	/* owns `search`; reset when the graph is done with */
	PhnswAccount account;		/* of the statistics */
	Relation	index;
	uint32		left_out;		/* PHNSW_NONE, or a node that is to be as if it were not in the graph (recall.c) */
	bool		place_lost;		/* in the executor's queue rows would lose their TIDs (row_place.c) */

	/* set when the first row is asked for, again after every rescan */
	PhnswIndex *pi;
	phnsw_query *query;
	phnsw_search *search;		/* NULL: none borrowed */
	bool		in_order;		/* the executor's queue must not have the rows (in_order.c) */
	PhnswQueryKind kind;
	PhnswScanPhase phase;
	uint32		ef;
	bool		narrowed;		/* the search's window is wider than ef, of which it is to expand ef */
	phnsw_stop	stop;			/* for the first rows; {0, 0} when there is none, and from the second window on */
	uint64		returned;		/* rows */

	/* hits that wait: a binary heap with the first of phnsw_hit_before() at the root */
	PhnswHit   *hits;
	uint32		n_hits;
	uint32		hits_max;

	/* the table, whose pages are asked for while rows come from disk (cold_rows.c) */
	Relation	heap;
	int64		blocks_read;	/* by this backend, when the last row was returned */
	uint64		ask_at;			/* rows returned until then: ask again */
	BlockNumber asked[PHNSW_ASKED_ROWS];	/* in this scan */
	uint32		n_ahead;		/* hits whose rows have been looked at ahead (ahead.c) */

	/* bound and node of the last hit that was taken out; bound -inf: none yet */
	double		last_bound;
	uint32		last_id;
	uint32		late_in_vain;	/* late hits whose rows did not fit, one after the other (exact.c) */
	uint32		late_passed;	/* since these were too many */

	/* graph phase: the machine's window, looked at up to next_found */
	const phnsw_candidate *found;
	uint32		n_found;
	uint32		next_found;
	uint32	   *emitted;		/* nodes returned; sorted once the sweep has begun */
	uint32		n_emitted;
	uint32		emitted_max;

	/* sweep phase */
	PhnswHit	start;			/* hits not before this one are wanted; bound -inf: all */
	uint32		next_id;		/* sweep in any order: first id not yet read */
	bool		swept;			/* a pass has been made */
	bool		complete;		/* no pass after this one */
	bool		straggling;		/* the last passes: what strict order has left out */
	double		floor;			/* bound at which the sweep began */
	BufferAccessStrategy strategy;

	/* the node whose rows are being returned */
	PhnswHit	current;
	phnsw_tid  *tids;
	uint32	   *records;		/* from which aux record each of them is */
	uint32		n_tids;
	uint32		next_tid;
	uint32		tids_max;
	ItemPointerData last_tid;	/* the row returned last ... */
	uint32		last_record;	/* ... and where it stood; PHNSW_NONE: in the slot */
	bool		chain_ended;
	uint32		chain_next;		/* record to go on with; PHNSW_NONE: the head */
	uint32		chain_batch;	/* records to read at once */
	struct phnsw_visited_hash *visited; /* records read so far */

	PhnswWaiting *waiting;	/* in order: rows, with their distances */
	PhnswRange *range;			/* conditions that end the scan; NULL until a row is rejected; lives as long as it */
} PhnswScan;

/* ---- emit.c ---------------------------------------------------------------------------------- */

/* Room for n more hits; to be called before content locks are taken. */
extern void phnsw_hits_reserve(PhnswScan *so, uint32 n);
extern void phnsw_hits_push(PhnswScan *so, const PhnswHit *hit);
extern void phnsw_hits_pop(PhnswScan *so, PhnswHit *hit);
/* Makes a heap of hits in any order. */
extern void phnsw_hits_heapify(PhnswScan *so);
/* Fills *hit from a slot of a locked page; false unless the slot is LIVE and may have rows. */
extern bool phnsw_hit_read(const PhnswScan *so, const phnsw_slot *slot, uint32 id, PhnswHit *hit);

/* Turns n <= PHNSW_LOOK_MAX candidates into hits and drops those whose nodes are gone. */
extern void phnsw_look_at(PhnswScan *so, const phnsw_candidate *candidates, uint32 n);

/* The nearest hits, at most `max` of them; returns how many.  Looks only at the heap's first so many. */
extern uint32 phnsw_hits_nearest(const PhnswScan *so, const PhnswHit **nearest, uint32 max);

/* The rows of one hit, one by one; false when there are no more. */
extern void phnsw_emit_begin(PhnswScan *so, const PhnswHit *hit);
extern bool phnsw_emit_next(PhnswScan *so, ItemPointer tid);
/*
 * Begins, with all TIDs of the hit at hand in `current` and `tids`; false when
 * they are more than `max`, or in too many records.
 */
extern bool phnsw_emit_all(PhnswScan *so, const PhnswHit *hit, uint32 max);
/* No row of the node is wanted any more. */
extern void phnsw_emit_end(PhnswScan *so);

/* ---- cold_rows.c ----------------------------------------------------------------------------- */

/* Have rows come from disk lately, and can their pages be asked for? */
extern bool phnsw_rows_cold(const PhnswScan *so);
/* Asks for the table's pages of n <= PHNSW_LOOK_MAX candidates of a search that goes on.  There are no hits yet. */
extern void phnsw_ask_for_candidates(PhnswScan *so, const phnsw_candidate *candidates, uint32 n);
/* Asks for those of the next rows, if those of the last ones came from disk.  The heap has hits. */
extern void phnsw_ask_for_rows(PhnswScan *so);

/* ---- ahead.c --------------------------------------------------------------------------------- */

/* Gets the rows of the next hits on their way into the processor's caches; returns of how many hits. */
extern uint32 phnsw_look_ahead_rows(PhnswScan *so);

/* Pins the table's page of the row that is about to be returned, where the executor's fetch looks for it. */
extern void phnsw_pin_row(PhnswScan *so, IndexScanDesc scan);

/* ---- exact.c --------------------------------------------------------------------------------- */

typedef enum PhnswRowResult
{
	PHNSW_ROW_FOUND,
	PHNSW_ROW_NULL,				/* an old version, or an expression that has changed, has no vector */
	PHNSW_ROW_INVISIBLE			/* to the scan's snapshot */
} PhnswRowResult;

/* The first n distances that the executor will compute for a row: of each ORDER BY one, NaN for NULL. */
extern PhnswRowResult phnsw_exact_distances(IndexScanDesc scan, PhnswScan *so, ItemPointerData tid, double *distances,
											int n);

/*
 * May a hit be returned though its bound is below the last one?  Then the last one is its bound, too, and *hit says so.
 */
extern bool phnsw_late_fits(IndexScanDesc scan, PhnswScan *so, PhnswHit *hit);

/* phnsw.check_bounds: compares the bound of the row that is about to be returned with its distance. */
extern void phnsw_check_bound(IndexScanDesc scan, PhnswScan *so);

/* ---- in_order.c ------------------------------------------------------------------------------ */

/* Would the executor's queue get the order wrong? */
extern bool phnsw_null_decides(IndexScanDesc scan);
extern void phnsw_in_order_begin(IndexScanDesc scan, PhnswScan *so);
/* The next row of a scan whose rows, as next_row() sets them, have bounds. */
extern bool phnsw_in_order_next(IndexScanDesc scan, PhnswScan *so,
								bool (*next_row) (IndexScanDesc scan, PhnswScan *so));

/* ---- range_end.c ----------------------------------------------------------------------------- */

/* A scan begins, perhaps with another query than before. */
extern void phnsw_range_begin(PhnswScan *so);
/*
 * The plan's conditions have rejected a row, which its expression context holds: for
 * its distance, so that all later ones are out, too?
 */
extern bool phnsw_range_passed(IndexScanState *scan);

/* ---- kill.c ---------------------------------------------------------------------------------- */

/*
 * The row returned last is dead to everybody: takes its TID out of the index, if that is safe and nobody is in the way.
 */
extern void phnsw_kill_last(IndexScanDesc scan, PhnswScan *so);

/* ---- sweep.c --------------------------------------------------------------------------------- */

/* Enters the sweep phase: rows that the graph phase has not returned, in the order of their bounds. */
extern void phnsw_sweep_begin(PhnswScan *so);
/* Refills the empty heap; false when no row is left. */
extern bool phnsw_sweep_next(PhnswScan *so);

#endif							/* PHNSW_SCAN_H */
