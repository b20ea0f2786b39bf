/*
 * kill.c
 *    Rows that are gone, taken out of the index by the scan that has come across them (README.md).
 *
 * The executor says that the row it was given last is dead to everybody (kill_prior_tuple).  When
 * pruning has left a dead line pointer of it, the scan does for this TID what vacuum's first pass
 * would: the TID leaves its slot or its record in the chain.  The node stays LIVE, a waypoint like
 * any other, until vacuum comes, even if no TID is left to it.
 *
 * That the TID is still that row's: who sees it in the index, under the exclusive lock of the node's page, and a dead
 * line pointer in the table meanwhile, sees an entry of a row that is gone.  For a line pointer is used again only
 * after a vacuum has taken every entry with this TID out of the index, for which it needs that lock.
 *
 * Locks: node page, then aux page, then the table's page (share); the first is only
 * taken if nobody has it.  Errors: those of damaged pages.
 */
#include "scan/scan.h"

#include "access/heapam.h"
#include "catalog/pg_am_d.h"

/*
 * The table's page on which the executor has just looked for that TID, pinned
 * by its fetch; InvalidBuffer: it is not at hand.
 */
static Buffer
page_of_row(IndexScanDesc scan, const PhnswScan *so)
{
	const IndexFetchHeapData *fetch = (const IndexFetchHeapData *) scan->xs_heapfetch;

	/* Under another access method `fetch` is something else, and line pointers may mean anything. */
	if (fetch == NULL || so->heap->rd_rel->relam != HEAP_TABLE_AM_OID || !BufferIsValid(fetch->xs_cbuf) ||
		BufferGetBlockNumber(fetch->xs_cbuf) != ItemPointerGetBlockNumberNoCheck(&so->last_tid))
		return InvalidBuffer;
	return fetch->xs_cbuf;
}

/*
 * The row has been pruned.  REQUIRES: its page is pinned; the answer holds while
 * it is locked, or while the TID is in the index.
 */
static bool
is_pruned(Buffer buffer, const ItemPointerData *tid)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);

	return offset >= FirstOffsetNumber && offset <= PageGetMaxOffsetNumber(page) &&
		ItemIdIsDead(PageGetItemId(page, offset));
}

/* The same, for certain.  REQUIRES: the page of the node that has the TID is locked exclusively. */
static bool
is_gone(Buffer buffer, const ItemPointerData *tid)
{
	bool		gone;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	gone = is_pruned(buffer, tid);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return gone;
}

static inline bool
same_tid(const phnsw_tid *a, const ItemPointerData *b)
{
	return memcmp(a, b, sizeof(phnsw_tid)) == 0;
}

/* REQUIRES: the node's page is locked exclusively. */
static void
kill_in_slot(PhnswScan *so, Buffer node_buffer, uint32 place, Buffer row_page)
{
	const phnsw_slot *slot = phnsw_page_slot(so->pi, BufferGetPage(node_buffer), place);
	PhnswWal   *wal;
	Page		page;

	if (!same_tid(&slot->tid, &so->last_tid) || !is_gone(row_page, &so->last_tid))
		return;
	wal = phnsw_wal_start(so->index);
	page = phnsw_wal_register(wal, node_buffer, PHNSW_WAL_PARTS);
	phnsw_wal_slot_head(wal, so->pi, page, place)->tid = phnsw_tid_gone();
	phnsw_wal_finish(wal);
	phnsw_counters.killed++;
}

/* The record's last TID takes the place.  REQUIRES: the node's page is locked exclusively. */
static void
kill_in_record(PhnswScan *so, uint32 record, Buffer row_page)
{
	uint32		place;
	BlockNumber block = phnsw_aux_block(so->index, so->pi, record, &place);
	Buffer		buffer = phnsw_pin(so->index, so->pi, block);
	phnsw_aux  *aux;
	uint32		at = 0;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(so->index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
	aux = phnsw_page_aux(so->pi, BufferGetPage(buffer), place);
	if (aux->kind == PHNSW_AUX_TIDS && aux->node == so->current.id && aux->version == so->current.version &&
		aux->count <= phnsw_aux_tids_max(so->pi->m))
	{
		while (at < aux->count && !same_tid(&phnsw_aux_tids(aux)[at], &so->last_tid))
			at++;
		if (at < aux->count && is_gone(row_page, &so->last_tid))
		{
			PhnswWal   *wal = phnsw_wal_start(so->index);
			phnsw_tid  *tids;

			aux = phnsw_wal_aux(wal, so->pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), place);
			tids = phnsw_aux_tids(aux);
			aux->count--;
			tids[at] = tids[aux->count];
			memset(&tids[aux->count], 0, sizeof(phnsw_tid));
			phnsw_wal_finish(wal);
			phnsw_counters.killed++;
		}
	}
	UnlockReleaseBuffer(buffer);
}

void
phnsw_kill_last(IndexScanDesc scan, PhnswScan *so)
{
	Buffer		row_page = page_of_row(scan, so);
	uint32		place;
	BlockNumber block;
	Buffer		buffer;
	const phnsw_slot *slot;

	/* A first look: without a dead line pointer there is nothing to be done.  One word is read. */
	if (row_page == InvalidBuffer || !is_pruned(row_page, &so->last_tid))
		return;
	phnsw_test_point(PHNSW_POINT_KILL);
	block = phnsw_node_block(so->index, so->pi, so->current.id, &place);
	buffer = phnsw_pin(so->index, so->pi, block);
	if (!ConditionalLockBuffer(buffer))
	{
		ReleaseBuffer(buffer);
		return;
	}
	phnsw_page_check(so->index, block, BufferGetPage(buffer), PHNSW_PAGE_NODE);
	slot = phnsw_page_slot(so->pi, BufferGetPage(buffer), place);
	if (slot->state == PHNSW_SLOT_LIVE && slot->version == so->current.version)
	{
		if (so->last_record == PHNSW_NONE)
			kill_in_slot(so, buffer, place, row_page);
		else
			kill_in_record(so, so->last_record, row_page);
	}
	UnlockReleaseBuffer(buffer);
}
