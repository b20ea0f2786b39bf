/*
 * vacuum_chain.c
 *    Dead TIDs out of a node that several rows share.
 *
 * A chain of TID records changes only under the exclusive lock of its node's page, and a reader copies it under
 * the share lock of that page (../README.md, Links are hints).  So:
 *
 *    share lock: copy the chain's TIDs; unlock; ask the callback about each
 *    some are dead: exclusive lock on the node page, then
 *       1. each record with dead TIDs is compacted in place              one WAL record per aux page
 *       2. emptied records are taken out: the next of those before them  one per aux page, naming the node page
 *       3. slot: its own TID, head of the chain, DEAD if nothing is left
 *    unlock; free the records that were taken out
 *
 * Aux pages are locked one at a time under the node page, so the order of their blocks does not matter.  A crash
 * between the steps leaves at worst empty records, in the chain or outside.
 */
#include "vacuum/vacuum.h"

#include "miscadmin.h"

typedef struct Record
{
	uint32		id;
	uint32		next;			/* as on the page */
	uint32		place;
	BlockNumber block;
	uint32		first;			/* of its TIDs, in Chain.tids */
	uint16		count;
	uint16		kept;			/* TIDs that stay: the first ones, once compacted */
} Record;

typedef struct Chain
{
	Record	   *records;
	uint32		n;
	uint32		room;
	phnsw_tid  *tids;
	uint32		n_tids;
	uint32		tids_room;
	phnsw_tid	own;			/* the slot's; offset 0: none */
} Chain;

static int
compare_tids(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) a, (ItemPointer) b);
}

static void
append_record(PhnswVacuum *v, Chain *chain, uint32 id, BlockNumber block, uint32 place, const phnsw_aux *aux)
{
	Record	   *record;

	if (chain->n == chain->room)
	{
		chain->room *= 2;
		chain->records = repalloc_huge(chain->records, chain->room * sizeof(Record));
	}
	if (chain->n_tids + aux->count > chain->tids_room)
	{
		chain->tids_room *= 2;
		chain->tids = repalloc_huge(chain->tids, chain->tids_room * sizeof(phnsw_tid));
	}
	record = &chain->records[chain->n++];
	*record = (Record) {
		.id = id, .next = aux->next, .place = place, .block = block, .first = chain->n_tids, .count = aux->count,
		.kept = aux->count
	};
	memcpy(chain->tids + chain->n_tids, aux->payload, aux->count * sizeof(phnsw_tid));
	for (uint32 i = 0; i < aux->count; i++)
	{
		/* What is asked of vacuum's TID store must be a TID. */
		if (chain->tids[chain->n_tids + i].offset == 0)
			phnsw_corrupt(v->index, block, place, "heap TID of an aux record");
	}
	chain->n_tids += aux->count;
}

/*
 * Copies slot TID and chain.  REQUIRES: the node page is locked.  Returns false when the chain names a record that is
 * not known to exist: the meta page has to be read again, which must not be done under this lock.
 */
static bool
copy_chain(PhnswVacuum *v, const phnsw_slot *slot, uint32 id, Chain *chain)
{
	uint32		next = slot->tids;

	chain->n = chain->n_tids = 0;
	chain->own = slot->tid;
	while (next != PHNSW_NONE)
	{
		uint32		place;
		BlockNumber block;
		Buffer		buffer;
		const phnsw_aux *aux;

		if (next >= v->pi->meta.aux.limit)
			return false;
		block = phnsw_aux_block(v->index, v->pi, next, &place);
		if (chain->n > v->pi->meta.aux.limit)
			phnsw_corrupt(v->index, block, place, "a chain of heap TIDs never ends");
		buffer = phnsw_pin(v->index, v->pi, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		phnsw_page_check(v->index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
		aux = phnsw_page_aux(v->pi, BufferGetPage(buffer), place);
		if (aux->kind != PHNSW_AUX_TIDS || aux->node != id || aux->version != slot->version)
		{
			UnlockReleaseBuffer(buffer);
			break;
		}
		if (aux->count > phnsw_aux_tids_max(v->pi->m))
			phnsw_corrupt(v->index, block, place, "number of heap TIDs");
		append_record(v, chain, next, block, place, aux);
		next = aux->next;
		UnlockReleaseBuffer(buffer);
	}
	return true;
}

/* Locks the node page and copies the chain.  Returns false, nothing locked, when the node is not what it was. */
static bool
lock_and_copy(PhnswVacuum *v, Buffer buffer, int mode, uint32 place, uint32 id, uint32 version, Chain *chain)
{
	for (int attempt = 0;; attempt++)
	{
		phnsw_slot *slot = phnsw_page_slot(v->pi, BufferGetPage(buffer), place);

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, mode);
		if (slot->state != PHNSW_SLOT_LIVE || slot->version != version)
		{
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
			return false;
		}
		if (copy_chain(v, slot, id, chain))
			return true;
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		if (attempt == 100)
			phnsw_corrupt(v->index, BufferGetBlockNumber(buffer), place, "reference to heap TIDs");
		phnsw_index_refresh(v->index, v->pi);
	}
}

static bool
is_dead(const phnsw_tid *tid, const phnsw_tid *dead, uint32 n_dead)
{
	return tid->offset != 0 && bsearch(tid, dead, n_dead, sizeof(phnsw_tid), compare_tids) != NULL;
}

/* Asks the callback about every TID; leaves the dead ones, sorted, in dead[]. */
static uint32
ask(PhnswVacuum *v, const Chain *chain, phnsw_tid *dead)
{
	uint32		n = 0;

	if (chain->own.offset != 0 && v->callback((ItemPointer) &chain->own, v->callback_state))
		dead[n++] = chain->own;
	for (uint32 i = 0; i < chain->n_tids; i++)
	{
		if (v->callback((ItemPointer) &chain->tids[i], v->callback_state))
			dead[n++] = chain->tids[i];
	}
	qsort(dead, n, sizeof(phnsw_tid), compare_tids);
	return n;
}

/* Step 1. */
static void
compact(PhnswVacuum *v, Chain *chain, const phnsw_tid *dead, uint32 n_dead)
{
	for (uint32 i = 0; i < chain->n; i++)
	{
		Record	   *record = &chain->records[i];
		phnsw_tid  *tids = chain->tids + record->first;

		record->kept = 0;
		for (uint32 j = 0; j < record->count; j++)
		{
			if (!is_dead(&tids[j], dead, n_dead))
				tids[record->kept++] = tids[j];
		}
		v->stats->tuples_removed += record->count - record->kept;
		v->stats->num_index_tuples += record->kept;
	}
	for (uint32 i = 0; i < chain->n;)
	{
		BlockNumber block = chain->records[i].block;
		PhnswWal   *wal;
		Buffer		buffer;
		Page		page;

		if (chain->records[i].kept == chain->records[i].count)
		{
			i++;
			continue;
		}
		buffer = phnsw_pin(v->index, v->pi, block);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		wal = phnsw_wal_start(v->index);
		page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
		for (; i < chain->n && chain->records[i].block == block; i++)
		{
			Record	   *record = &chain->records[i];
			phnsw_aux  *aux = phnsw_wal_aux(wal, v->pi, page, record->place);

			if (record->kept == record->count)
				continue;
			memset(aux->payload, 0, record->count * sizeof(phnsw_tid));
			memcpy(aux->payload, chain->tids + record->first, record->kept * sizeof(phnsw_tid));
			aux->count = record->kept;
		}
		phnsw_wal_finish(wal);
		UnlockReleaseBuffer(buffer);
	}
}

/* The next record behind i that has TIDs. */
static uint32
next_kept(const Chain *chain, uint32 i)
{
	for (i++; i < chain->n; i++)
	{
		if (chain->records[i].kept > 0)
			return chain->records[i].id;
	}
	return PHNSW_NONE;
}

/* Step 2. */
static void
unlink_empty(PhnswVacuum *v, Buffer node_buffer, Chain *chain)
{
	for (uint32 i = 0; i < chain->n; i++)
	{
		Record	   *record = &chain->records[i];
		uint32		next;
		PhnswWal   *wal;
		Buffer		buffer;
		Page		page;

		if (record->kept == 0)
			continue;
		next = next_kept(chain, i);
		if (record->next == next)
			continue;
		buffer = phnsw_pin(v->index, v->pi, record->block);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		wal = phnsw_wal_start(v->index);
		/* Unchanged, but replay locks it: a reader on a standby is not left on a record that is about to be freed. */
		phnsw_wal_register(wal, node_buffer, PHNSW_WAL_PARTS);
		page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
		phnsw_wal_aux(wal, v->pi, page, record->place)->next = next;
		phnsw_wal_finish(wal);
		UnlockReleaseBuffer(buffer);
	}
}

/* Step 3.  Returns false when the node is DEAD now. */
static bool
write_slot(PhnswVacuum *v, Buffer buffer, uint32 place, const Chain *chain, bool own_dead)
{
	PhnswWal   *wal = phnsw_wal_start(v->index);
	Page		page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	phnsw_slot *slot = phnsw_wal_slot_head(wal, v->pi, page, place);
	bool		alive;

	if (own_dead)
		memset(&slot->tid, 0, sizeof(phnsw_tid));
	if (chain->n == 0)
		slot->tids = PHNSW_NONE;
	else if (chain->records[0].kept == 0)
		slot->tids = next_kept(chain, 0);
	alive = slot->tid.offset != 0 || slot->tids != PHNSW_NONE;
	if (!alive)
		slot->state = PHNSW_SLOT_DEAD;
	phnsw_wal_finish(wal);
	return alive;
}

bool
phnsw_vacuum_chain(PhnswVacuum *v, Buffer buffer, uint32 place, uint32 id, uint32 version)
{
	Chain		chain = {.room = 16, .tids_room = 256};
	phnsw_tid  *dead;
	uint32		n_dead;
	bool		alive = true;
	bool		emptied = false;

	chain.records = palloc(chain.room * sizeof(Record));
	chain.tids = palloc(chain.tids_room * sizeof(phnsw_tid));
	if (!lock_and_copy(v, buffer, BUFFER_LOCK_SHARE, place, id, version, &chain))
		return true;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	for (uint32 i = 0; i < chain.n; i++)
		emptied |= chain.records[i].count == 0;
	dead = palloc_extended((chain.n_tids + 1) * sizeof(phnsw_tid), MCXT_ALLOC_HUGE);
	n_dead = ask(v, &chain, dead);
	/* Scans, or a vacuum that was interrupted, may have emptied records already. */
	if (n_dead == 0 && !emptied && chain.n_tids + chain.own.offset > 0)
		v->stats->num_index_tuples += chain.n_tids + (chain.own.offset != 0);
	else if (lock_and_copy(v, buffer, BUFFER_LOCK_EXCLUSIVE, place, id, version, &chain))
	{
		bool		own_dead = is_dead(&chain.own, dead, n_dead);

		compact(v, &chain, dead, n_dead);
		v->stats->tuples_removed += own_dead;
		v->stats->num_index_tuples += chain.own.offset != 0 && !own_dead;
		unlink_empty(v, buffer, &chain);
		alive = write_slot(v, buffer, place, &chain, own_dead);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		for (uint32 i = 0; i < chain.n; i++)
		{
			if (chain.records[i].kept == 0)
				phnsw_vacuum_free_aux(v, chain.records[i].id);
		}
	}
	pfree(dead);
	pfree(chain.records);
	pfree(chain.tids);
	return alive;
}
