/*
 * batch.h
 *    What the files of the bulk insert share: batch.c (when), batch_flush.c (which way), batch_plan.c, batch_merge.c,
 *    batch_merge_write.c and batch_merge_single.c (into a filled index), batch_rows.c (rows in waiting), batch_heap.c
 *    (one that may be taken back), batch_keep.c (a copy of the graph between merges).
 */
#ifndef PHNSW_BATCH_H
#define PHNSW_BATCH_H

#include "phnsw.h"

#include "access/htup.h"
#include "storage/fd.h"

/* ---- batch_rows.c ---------------------------------------------------------------------------- */

/*
 * Rows in the order in which they came: the first in memory, the others in a temporary file whose last rows wait in a
 * buffer.  Lives until the end of the transaction, whichever statement or subtransaction opened the file.
 */
typedef struct PhnswRows
{
	/* immutable */
	MemoryContext context;
	uint32		dims;
	Size		record_bytes;	/* phnsw_tid, padding, dims floats */
	uint32		part;			/* of maintenance_work_mem, a half or a quarter: 2, 4 */
	Size	   *memory_used;	/* by all that share the budget */

	uint64		n;

	char	   *memory;
	uint64		memory_rows;	/* room; the rows from here on are in the file */

	File		file;			/* -1: none */
	uint32		buffer_rows;
	char	   *tail;			/* rows tail_first ... n - 1, not in the file yet */
	uint64		tail_first;
	char	   *ahead;			/* rows ahead_first ..., read from the file */
	uint64		ahead_first;
	uint64		ahead_rows;
} PhnswRows;

/* The memory that all share is a part (a half, a quarter) of maintenance_work_mem, but each has some. */
extern void phnsw_rows_init(PhnswRows *rows, MemoryContext context, uint32 dims, uint32 part, Size *memory_used);
/* false: the file has no room for it. */
extern bool phnsw_rows_add(PhnswRows *rows, const float *vector, ItemPointer tid);
/* Forgets all rows but the first n. */
extern void phnsw_rows_truncate(PhnswRows *rows, uint64 n);
/* A record, valid until the next call. */
extern char *phnsw_rows_get(PhnswRows *rows, uint64 row);
/* Bytes of the file, with those that are still to be written. */
extern uint64 phnsw_rows_file_bytes(const PhnswRows *rows);
extern void phnsw_rows_free(PhnswRows *rows);

static inline ItemPointer
phnsw_record_tid(char *record)
{
	return (ItemPointer) record;
}

static inline float *
phnsw_record_vector(char *record)
{
	return (float *) (record + MAXALIGN(sizeof(phnsw_tid)));
}

/* ---- batch_heap.c ---------------------------------------------------------------------------- */

/* The last row of a batch, if INSERT ... ON CONFLICT may still take it back. */
typedef struct PhnswDoubt
{
	HeapTupleHeader tuple;		/* as it was when the row came; NULL: there is no doubt */
	uint32		bytes;
	ItemPointerData tid;
} PhnswDoubt;

typedef enum PhnswFate
{
	PHNSW_ROW_STAYS,
	PHNSW_ROW_GONE,				/* the TID is nobody's, or another row's */
	PHNSW_ROW_IN_DOUBT
} PhnswFate;

/* A row has come: sets *doubt, where there was none, if it is one of those. */
extern void phnsw_doubt_begin(PhnswDoubt *doubt, MemoryContext context, Relation heap, ItemPointer tid);
/* REQUIRES: a doubt; no row with this TID has come since. */
extern PhnswFate phnsw_doubt_fate(const PhnswDoubt *doubt, Relation heap);
extern void phnsw_doubt_end(PhnswDoubt *doubt);

/* ---- batch.c --------------------------------------------------------------------------------- */

typedef struct PhnswRun
{
	SubTransactionId subid;
	uint64		first;			/* row */
} PhnswRun;

typedef struct PhnswBatch
{
	Oid			relid;
	PhnswFile	file;
	PhnswRows	rows;
	PhnswRun   *runs;			/* who inserted which rows, ascending */
	int			n_runs;
	int			runs_max;
	PhnswDoubt	doubt;			/* of the last row */

	/* what a flush that failed has left */
	uint64		flushed;		/* the first rows, which are in the index */
	bool		in_doubt;		/* the insert of the next one failed half-way */

	struct PhnswBatch *next;
} PhnswBatch;

/* ---- batch_flush.c --------------------------------------------------------------------------- */

/* Brings all rows of the batch into the index, or raises an error; batch->flushed says how far it came. */
extern void phnsw_flush_batch(Relation index, PhnswBatch *batch);

/* ---- batch_plan.c ---------------------------------------------------------------------------- */

typedef struct PhnswMerging PhnswMerging;

/* What the copy of the nodes knows of one of their pages. */
typedef struct PhnswKeptPage
{
	XLogRecPtr	lsn;			/* of the page as it was copied, or as this session has changed it since, or
								 * PHNSW_LSN_UNKNOWN */
	uint64		stale;			/* but for these slots */
} PhnswKeptPage;

#define PHNSW_KEPT_PLACE(place) (UINT64CONST(1) << ((place) % 64))

/* Whether a row that is inserted into a filled index should wait, since there may be a merge. */
extern bool phnsw_merge_is_likely(PhnswIndex *pi);
/* How many of the next rows of the batch to merge at once; 0: row by row is cheaper, or there is no memory. */
extern uint32 phnsw_merge_portion(PhnswIndex *pi, const PhnswBatch *batch);
/*
 * So few rows that a merge is worth while only with a copy of the nodes that
 * is kept, and if it need not wait for another.
 */
extern bool phnsw_merge_is_small(PhnswIndex *pi, const PhnswBatch *batch);
/* Does maintenance_work_mem hold all nodes of a merge of so many rows? */
extern bool phnsw_merge_fits(const PhnswMerging *merging, uint32 rows);
/* If not: how much of a copy that is kept stands in memory, how much in a file.  false: one with a file is not kept. */
extern bool phnsw_merge_place_kept(const PhnswIndex *pi, uint32 rows, phnsw_merge_spill *spill);
/* The same for nodes of the merge's own; makes the file.  false: it gets none.  Interrupts. */
extern bool phnsw_merge_place(PhnswMerging *merging, uint32 rows, phnsw_merge_spill *spill);

/* ---- batch_merge.c --------------------------------------------------------------------------- */

/*
 * Merges that many rows.  false: there was no memory for it, and nothing has changed.
 * REQUIRES: nobody else merges.
 */
extern bool phnsw_merge_rows(Relation heap, Relation index, PhnswBatch *batch, uint32 n);

/* The vector of a row that the core has; until the next call. */
extern float *phnsw_merge_vector(PhnswMerging *merging, uint32 row);

/* ---- batch_merge_write.c --------------------------------------------------------------------- */

struct PhnswMerging
{
	Relation	index;
	PhnswIndex *pi;
	uint32		limit;			/* of nodes when the merge began: a search may refresh pi->meta meanwhile */
	File		file;			/* for nodes that memory does not hold; -1: none */
	uint64		loaded;			/* slots of the pages that were copied */
	phnsw_merge **core;			/* owned by the context that the merge runs in */
	PhnswBatch *batch;
	uint32		n;				/* rows that the core has */
	XLogRecPtr	loaded_at;		/* where WAL ended before that */
	PhnswKeptPage *pages;		/* of the nodes, when they were loaded; batch_keep.c owns it */
	uint64	   *row_of;			/* row of the batch */
	phnsw_tid  *tids;
	struct PhnswUpperLinks **upper; /* of rows whose links above level 0 have been found already */
	uint32		places;			/* new nodes */
	PhnswClaim *claims;			/* their slots, ascending */
	uint8	   *fates;			/* what became of them */
	uint32		rows;			/* that it brought into the index; the others went one by one */
};

/* Takes nodes that have gone since they were loaded out of what the core has found.  Interrupts. */
extern void phnsw_merge_recheck(PhnswMerging *merging);
/* Right after that, writes what is left: nodes, then the lists that lead to them, then rows with equal codes. */
extern void phnsw_merge_write(PhnswMerging *merging);

/* ---- batch_keep.c ---------------------------------------------------------------------------- */

/* Not an LSN: the page must be read. */
#define PHNSW_LSN_UNKNOWN PG_UINT64_MAX

/*
 * For a flush that a merge would serve if there were a copy: is it time for one, since there was such a flush
 * just now, and those in a row had as many rows as the copy costs?
 */
extern bool phnsw_keep_wanted(const PhnswIndex *pi, uint64 rows, uint64 cost);
/*
 * Sets merging->pages; the nodes that the merge is to use, NULL: its own.  phnsw_keep_end() must follow.  Interrupts.
 */
extern phnsw_merge_nodes *phnsw_keep_begin(PhnswMerging *merging, uint32 rows);
extern void phnsw_keep_end(const PhnswMerging *merging, bool failed);
/* All pages must be read again by the next merge. */
extern void phnsw_keep_forget(void);
/*
 * Around a change of slots of a locked page, none but the stale ones and those that come back by
 * phnsw_merge_relist(): was the copy up to date, so is it after that.
 */
extern bool phnsw_keep_before(PhnswMerging *merging, Buffer buffer, uint32 page, uint64 stale);
extern void phnsw_keep_after(PhnswMerging *merging, Buffer buffer, uint32 page, bool known);
/* This page must be. */
extern void phnsw_keep_forget_page(const PhnswMerging *merging, uint32 page);
/* The LSN of a page now; blocks are mostly asked for in order, each so many behind the last. */
extern XLogRecPtr phnsw_keep_lsn(const PhnswMerging *merging, BlockNumber block, uint32 step);

/*
 * Of pages that nobody is known to have changed since they were copied, one in so many is looked
 * at before a merge; all are once one of them has changed.
 */
#define PHNSW_KEEP_SHARE 8

/* Is it this page's turn?  0: no; else how far behind it the next one is. */
extern uint32 phnsw_keep_turn(uint32 page);
/* The page's LSN is that now: has somebody else changed it? */
extern void phnsw_keep_compare(const PhnswKeptPage *page, XLogRecPtr lsn);
/* True if somebody has, and not all pages have been looked at: from now on all are due. */
extern bool phnsw_keep_look_wider(void);

#endif							/* PHNSW_BATCH_H */
