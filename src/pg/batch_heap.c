/*
 * batch_heap.c
 *    Which rows of a bulk insert still count when they are about to go into the index.
 *
 * A row that waits in a backend's memory is not in the index, so vacuum does not know that somebody has its TID.  While the
 * transaction runs vacuum leaves the row alone, with one exception: INSERT ... ON CONFLICT takes back a row that it had
 * inserted when another session was faster, and then the row is dead at once, its TID soon somebody else's or ours again.
 * Such a row must not reach the index: its TID would lead to a row with another vector.
 *
 * Hence at the end every TID is looked up: the tuple must be one that the current transaction has inserted.  And of rows with
 * one TID only the last counts; TIDs mostly come in ascending order, and then there are none.
 */
#include "batch.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "utils/memutils.h"

typedef struct Place
{
	uint64		tid;
	uint64		row;
} Place;

#define ST_SORT sort_places
#define ST_ELEMENT_TYPE Place
#define ST_COMPARE(a, b) \
	((a)->tid < (b)->tid ? -1 : (a)->tid > (b)->tid ? 1 : (a)->row < (b)->row ? -1 : (a)->row > (b)->row)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Marks rows whose TID comes again. */
static uint8 *
find_replaced(PhnswRows *rows)
{
	Place	   *places = MemoryContextAllocHuge(CurrentMemoryContext, rows->n * sizeof(Place));
	uint8	   *replaced = NULL;

	for (uint64 row = 0; row < rows->n; row++)
	{
		ItemPointer tid = phnsw_record_tid(phnsw_rows_get(rows, row));

		places[row].tid = ((uint64) ItemPointerGetBlockNumber(tid) << 16) | ItemPointerGetOffsetNumber(tid);
		places[row].row = row;
	}
	sort_places(places, rows->n);
	for (uint64 i = 0; i + 1 < rows->n; i++)
	{
		if (places[i].tid != places[i + 1].tid)
			continue;
		if (replaced == NULL)
			replaced = MemoryContextAllocExtended(CurrentMemoryContext, rows->n / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
		replaced[places[i].row / 8] |= 1 << places[i].row % 8;
	}
	pfree(places);
	return replaced;
}

void
phnsw_filter_begin(PhnswRowFilter *filter, Relation heap, PhnswRows *rows)
{
	filter->heap = heap;
	filter->blocks = RelationGetNumberOfBlocks(heap);
	filter->buffer = InvalidBuffer;
	filter->replaced = rows->ascending ? NULL : find_replaced(rows);
}

bool
phnsw_filter_keeps(PhnswRowFilter *filter, uint64 row, ItemPointer tid)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	bool		keeps = false;
	Page		page;

	if (filter->replaced != NULL && (filter->replaced[row / 8] & 1 << row % 8))
		return false;
	if (block >= filter->blocks)
		return false;
	filter->buffer = ReleaseAndReadBuffer(filter->buffer, filter->heap, block);
	page = BufferGetPage(filter->buffer);
	LockBuffer(filter->buffer, BUFFER_LOCK_SHARE);
	if (offset <= PageGetMaxOffsetNumber(page))
	{
		ItemId		item = PageGetItemId(page, offset);

		/* The raw one: COPY FREEZE hides it. */
		keeps = ItemIdIsNormal(item) &&
			TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmin((HeapTupleHeader) PageGetItem(page, item)));
	}
	LockBuffer(filter->buffer, BUFFER_LOCK_UNLOCK);
	return keeps;
}

void
phnsw_filter_end(PhnswRowFilter *filter)
{
	if (BufferIsValid(filter->buffer))
		ReleaseBuffer(filter->buffer);
	if (filter->replaced != NULL)
		pfree(filter->replaced);
}
