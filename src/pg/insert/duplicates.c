/*
 * duplicates.c
 *    Equal vectors share a node: a further row becomes a TID of the node that has its code.
 *
 * The row joins only where the node's residual covers it, so that head and code of a LIVE slot never change and its
 * bound stays true; of equal vectors that is always so.  A node's first TID stands in its slot, further ones in a chain
 * of aux records that grows at its head (../README.md, Links are hints).
 *
 * Locks: the node's page, then one or two aux pages, as ../README.md orders them.
 */
#include "insert/insert.h"

/* Attempts for one node; each fails only because another backend was faster with the same record. */
#define PHNSW_JOIN_ATTEMPTS 8

typedef enum JoinResult
{
	JOINED,
	JOIN_REFUSED,				/* the node is gone or another one by now */
	JOIN_NEEDS_RECORD,			/* no room: a new record is wanted */
	JOIN_NEEDS_REFRESH			/* the chain leads beyond what this backend knows of the index */
} JoinResult;

/* Adds the TID to the record at the chain's head if it has room.  REQUIRES: the node's page is locked. */
static JoinResult
append_to_head(PhnswInsert *ins, const phnsw_slot *slot, uint32 id)
{
	PhnswIndex *pi = ins->pi;
	uint32		place;
	BlockNumber block;
	Buffer		buffer;
	const phnsw_aux *aux;
	JoinResult	result = JOIN_NEEDS_RECORD;

	if (slot->tids == PHNSW_NONE)
		return JOIN_NEEDS_RECORD;
	if (slot->tids >= pi->meta.aux.limit)
		return JOIN_NEEDS_REFRESH;
	block = phnsw_aux_block(ins->index, pi, slot->tids, &place);
	buffer = phnsw_pin(ins->index, pi, block);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(ins->index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
	aux = phnsw_page_aux(pi, BufferGetPage(buffer), place);
	if (aux->kind == PHNSW_AUX_TIDS && aux->node == id && aux->version == slot->version &&
		aux->count < phnsw_aux_tids_max(pi->m))
	{
		PhnswWal   *wal = phnsw_wal_start(ins->index);
		phnsw_aux  *image = phnsw_wal_aux(wal, pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), place);

		phnsw_aux_tids(image)[image->count++] = ins->slot->tid;
		phnsw_wal_finish(wal);
		result = JOINED;
	}
	UnlockReleaseBuffer(buffer);
	return result;
}

/* Makes `record` the new head of the chain, with the TID in it.  REQUIRES: the node's page is locked exclusively. */
static void
prepend_record(PhnswInsert *ins, Buffer node_buffer, uint32 place, uint32 id, uint32 record)
{
	PhnswIndex *pi = ins->pi;
	uint32		aux_place;
	BlockNumber block = phnsw_aux_block(ins->index, pi, record, &aux_place);
	Buffer		buffer = phnsw_pin(ins->index, pi, block);
	PhnswWal   *wal;
	phnsw_slot *slot;
	phnsw_aux  *aux;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(ins->index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
	wal = phnsw_wal_start(ins->index);
	slot = phnsw_wal_slot_head(wal, pi, phnsw_wal_register(wal, node_buffer, PHNSW_WAL_PARTS), place);
	aux = phnsw_wal_aux(wal, pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), aux_place);
	aux->kind = PHNSW_AUX_TIDS;
	aux->node = id;
	aux->version = slot->version;
	aux->next = slot->tids;
	aux->count = 1;
	phnsw_aux_tids(aux)[0] = ins->slot->tid;
	slot->tids = record;
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);
}

/* One attempt.  *record: a spare record or PHNSW_NONE; set to PHNSW_NONE when it was used. */
static JoinResult
try_join(PhnswInsert *ins, uint32 id, uint32 version, uint32 *record)
{
	PhnswIndex *pi = ins->pi;
	uint32		place;
	BlockNumber block = phnsw_node_block(ins->index, pi, id, &place);
	Buffer		buffer = phnsw_pin(ins->index, pi, block);
	const phnsw_slot *slot;
	JoinResult	result = JOIN_REFUSED;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(ins->index, block, BufferGetPage(buffer), PHNSW_PAGE_NODE);
	slot = phnsw_page_slot(pi, BufferGetPage(buffer), place);
	if (slot->state == PHNSW_SLOT_LIVE && slot->version == version && phnsw_codec_equal(pi->codec, slot, ins->slot) &&
		slot->head.residual >= ins->slot->head.residual)
	{
		if (slot->tid.offset == 0)
		{
			PhnswWal   *wal = phnsw_wal_start(ins->index);

			phnsw_wal_slot_head(wal, pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), place)->tid = ins->slot->tid;
			phnsw_wal_finish(wal);
			result = JOINED;
		}
		else
			result = append_to_head(ins, slot, id);
		if (result == JOIN_NEEDS_RECORD && *record != PHNSW_NONE)
		{
			prepend_record(ins, buffer, place, id, *record);
			*record = PHNSW_NONE;
			result = JOINED;
		}
	}
	UnlockReleaseBuffer(buffer);
	return result;
}

bool
phnsw_join_node(PhnswInsert *ins, uint32 id, uint32 version)
{
	uint32		record = PHNSW_NONE;
	uint32		place;
	JoinResult	result = JOIN_REFUSED;

	for (int attempt = 0; attempt < PHNSW_JOIN_ATTEMPTS; attempt++)
	{
		result = try_join(ins, id, version, &record);
		if (result == JOIN_NEEDS_REFRESH)
			phnsw_index_refresh(ins->index, ins->pi);
		else if (result == JOIN_NEEDS_RECORD)
		{
			phnsw_alloc_aux(ins->index, ins->pi, PHNSW_AUX_TIDS, 1, &record);
			/* Now, since the meta page may be read only while no other page is locked. */
			phnsw_aux_block(ins->index, ins->pi, record, &place);
		}
		else
			break;
	}
	if (record != PHNSW_NONE)
		phnsw_free_aux(ins->index, ins->pi, phnsw_aux_block(ins->index, ins->pi, record, &place), &record, 1);
	return result == JOINED;
}

bool
phnsw_join_equal(PhnswInsert *ins)
{
	for (uint32 i = 0; i < ins->near.n; i++)
	{
		const phnsw_slot *copy = phnsw_copy(ins, &ins->near, i);

		if (copy->state == PHNSW_SLOT_LIVE && copy->version == ins->near.versions[i] &&
			phnsw_codec_equal(ins->pi->codec, copy, ins->slot) &&
			copy->head.residual >= ins->slot->head.residual &&
			phnsw_join_node(ins, ins->near.ids[i], ins->near.versions[i]))
			return true;
	}
	return false;
}
