/*
 * batch_heap.c
 *    The row of a bulk insert that its command may still take back.
 *
 * A row that waits in a backend's memory is not in the index, so vacuum does not know that somebody has its TID.
 * Nevertheless the TID stays the row's own for as long as it waits.  Vacuum and pruning keep a row whose inserter is
 * running, also one that its inserter has deleted or updated; rows of an aborted subtransaction have left the batch, a
 * new file of the table has a batch of its own, and the table's end cannot be cut off, since we hold a lock.  The one
 * exception is INSERT ... ON CONFLICT: it inserts a row, marked as speculative, then into the indexes, and takes it
 * back if a unique index has met another session's row.  Then it is dead at once, vacuum may remove it, and the TID may
 * become that of any other row, also of one of ours that is not in this index or has gone into it by another way.
 *
 * So a speculative row is in doubt until the next call of ours for its index, an insert or a flush.  That call
 * looks at what is at the TID.  The row stays if that is no longer speculative and of the same (sub)transaction and
 * command, inserted (not a new version of another row), and with the same bytes.  It is the row itself then:
 * another one of this command with these bytes would belong in the index just as well, so it would come through
 * aminsert with this TID, and that is the next call; then the row in doubt is gone without a look.  Since the next
 * call comes before another row is kept, at most one is in doubt, the last.
 *
 * Still speculative at the next call: another index's expression or predicate has called a
 * function that reads this index or inserts.  The row goes into the index, where vacuum will
 * find it.  The token tells it from another speculative row.
 */
#include "batch/batch.h"

#include "access/htup_details.h"

/* The tuple at a TID in a buffer that is share-locked; NULL, and none: there is none. */
static HeapTupleHeader
lock_tuple(Relation heap, ItemPointer tid, Buffer *buffer, uint32 *bytes)
{
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	Page		page;

	*buffer = ReadBuffer(heap, ItemPointerGetBlockNumber(tid));
	LockBuffer(*buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(*buffer);
	if (offset <= PageGetMaxOffsetNumber(page))
	{
		ItemId		item = PageGetItemId(page, offset);

		if (ItemIdIsNormal(item))
		{
			*bytes = ItemIdGetLength(item);
			return (HeapTupleHeader) PageGetItem(page, item);
		}
	}
	UnlockReleaseBuffer(*buffer);
	return NULL;
}

void
phnsw_doubt_begin(PhnswDoubt *doubt, MemoryContext context, Relation heap, ItemPointer tid)
{
	Buffer		buffer;
	uint32		bytes;
	HeapTupleHeader tuple = lock_tuple(heap, tid, &buffer, &bytes);

	if (tuple == NULL)
		return;
	if (HeapTupleHeaderIsSpeculative(tuple))
	{
		doubt->tuple = MemoryContextAlloc(context, bytes);
		memcpy(doubt->tuple, tuple, bytes);
		doubt->tid = *tid;
		doubt->bytes = bytes;
	}
	UnlockReleaseBuffer(buffer);
}

/* But for what a deletion, an update or a lock of the row changes, and but for the mark. */
static bool
is_same(const PhnswDoubt *doubt, HeapTupleHeader now, uint32 bytes)
{
	const uint16 shape = HEAP_HASNULL | HEAP_HASVARWIDTH | HEAP_HASEXTERNAL | HEAP_UPDATED;
	const Size	content = offsetof(HeapTupleHeaderData, t_bits);
	HeapTupleHeader then = doubt->tuple;

	return bytes == doubt->bytes &&
		TransactionIdEquals(HeapTupleHeaderGetRawXmin(now), HeapTupleHeaderGetRawXmin(then)) &&
		HeapTupleHeaderGetCmin(now) == HeapTupleHeaderGetRawCommandId(then) &&
		!HeapTupleHeaderIsHeapOnly(now) &&
		HeapTupleHeaderGetNatts(now) == HeapTupleHeaderGetNatts(then) &&
		(now->t_infomask & shape) == (then->t_infomask & shape) &&
		now->t_hoff == then->t_hoff &&
		memcmp((char *) now + content, (char *) then + content, bytes - content) == 0;
}

PhnswFate
phnsw_doubt_fate(const PhnswDoubt *doubt, Relation heap)
{
	ItemPointerData tid = doubt->tid;
	PhnswFate	fate = PHNSW_ROW_GONE;
	Buffer		buffer;
	uint32		bytes;
	HeapTupleHeader tuple = lock_tuple(heap, &tid, &buffer, &bytes);

	if (tuple == NULL)
		return fate;
	if (is_same(doubt, tuple, bytes))
	{
		if (!HeapTupleHeaderIsSpeculative(tuple))
			fate = PHNSW_ROW_STAYS;
		else if (HeapTupleHeaderGetSpeculativeToken(tuple) == HeapTupleHeaderGetSpeculativeToken(doubt->tuple))
			fate = PHNSW_ROW_IN_DOUBT;
	}
	UnlockReleaseBuffer(buffer);
	return fate;
}

void
phnsw_doubt_end(PhnswDoubt *doubt)
{
	if (doubt->tuple != NULL)
		pfree(doubt->tuple);
	doubt->tuple = NULL;
}
