/*
 * batch.h
 *    What the files of the bulk insert share: batch.c (when), batch_rows.c (rows in waiting), batch_heap.c (which still count).
 */
#ifndef PHNSW_BATCH_H
#define PHNSW_BATCH_H

#include "phnsw.h"

#include "storage/fd.h"

/* ---- batch_rows.c ------------------------------------------------------------------------------------------------------ */

/*
 * Rows in the order in which they came: the first in memory, the others in a temporary file whose last rows wait in a buffer.
 * Lives until the end of the transaction, whichever statement or subtransaction opened the file.
 */
typedef struct PhnswRows
{
	/* immutable */
	MemoryContext context;
	uint32		dims;
	Size		record_bytes;	/* phnsw_tid, padding, dims floats */
	Size	   *memory_used;	/* by all that share the budget */

	uint64		n;
	bool		ascending;		/* no TID came twice, for each was above all before */
	ItemPointerData highest;

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

/* The memory that all share is half of maintenance_work_mem, but each has some. */
extern void phnsw_rows_init(PhnswRows *rows, MemoryContext context, uint32 dims, Size *memory_used);
extern void phnsw_rows_add(PhnswRows *rows, const float *vector, ItemPointer tid);
/* Forgets all rows but the first n. */
extern void phnsw_rows_truncate(PhnswRows *rows, uint64 n);
/* A record, valid until the next call. */
extern char *phnsw_rows_get(PhnswRows *rows, uint64 row);
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

/* ---- batch_heap.c -------------------------------------------------------------------------------------------------------- */

/* One pass over rows, which knows those that do not count any more.  Pins at most one page of the table. */
typedef struct PhnswRowFilter
{
	Relation	heap;
	BlockNumber blocks;
	Buffer		buffer;
	uint8	   *replaced;		/* a bit for each row whose TID came again; NULL: none did */
} PhnswRowFilter;

/* Memory from the current context. */
extern void phnsw_filter_begin(PhnswRowFilter *filter, Relation heap, PhnswRows *rows);
extern bool phnsw_filter_keeps(PhnswRowFilter *filter, uint64 row, ItemPointer tid);
extern void phnsw_filter_end(PhnswRowFilter *filter);

#endif							/* PHNSW_BATCH_H */
