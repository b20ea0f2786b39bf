/*
 * alloc_aux.c
 *    Free aux records, in a list that starts in the meta page.
 *
 * A record that is off the list and not yet in use names no node, so one that a
 * crash leaves like that stays lost until REINDEX.
 *
 * Locks: the meta page, then one aux page.
 */
#include "phnsw.h"

/* The head of the free list, in the image of the meta page. */
static uint32 *
wal_aux_free(PhnswWal *wal, Buffer meta_buffer)
{
	phnsw_meta *meta = phnsw_page_meta(phnsw_wal_register(wal, meta_buffer, PHNSW_WAL_PARTS));

	return phnsw_wal_part(wal, &meta->aux_free, sizeof(meta->aux_free));
}

/*
 * Takes as many records as lie on the page of the list's head, at most n.
 * REQUIRES: the list is not empty, meta locked.
 */
static uint32
pop_aux(Relation index, PhnswIndex *pi, Buffer meta_buffer, phnsw_aux_kind kind, uint32 n, uint32 *ids)
{
	PhnswWal   *wal = phnsw_wal_start(index);
	const phnsw_meta *meta = phnsw_page_meta(BufferGetPage(meta_buffer));
	uint32	   *aux_free = wal_aux_free(wal, meta_buffer);
	uint32		place;
	BlockNumber block = phnsw_locate(&meta->aux, pi->aux_per_page, *aux_free, &place);
	Buffer		buffer;
	Page		page;
	uint32		taken = 0;

	if (block == 0 || *aux_free >= meta->aux.limit)
		phnsw_corrupt(index, 0, *aux_free, "the free list of aux records leads beyond the end");
	buffer = ReadBuffer(index, block);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
	page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	while (taken < n && *aux_free != PHNSW_NONE && *aux_free < meta->aux.limit &&
		   phnsw_locate(&meta->aux, pi->aux_per_page, *aux_free, &place) == block)
	{
		phnsw_aux  *aux = phnsw_wal_aux(wal, pi, page, place);

		if (aux->kind != PHNSW_AUX_FREE)
			phnsw_corrupt(index, block, place, "an aux record on the free list is in use");
		ids[taken++] = *aux_free;
		*aux_free = aux->next;
		aux->kind = kind;
		aux->node = PHNSW_NONE;
		aux->version = 0;
		aux->next = PHNSW_NONE;
		aux->level = 0;
		aux->count = 0;
	}
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);
	return taken;
}

void
phnsw_alloc_aux(Relation index, PhnswIndex *pi, phnsw_aux_kind kind, uint32 n, uint32 *ids)
{
	Buffer		meta_buffer = phnsw_lock_meta(index);
	uint32		taken = 0;

	while (taken < n)
	{
		const phnsw_meta *meta = phnsw_page_meta(BufferGetPage(meta_buffer));

		if (meta->aux_free == PHNSW_NONE)
		{
			uint32		first;

			UnlockReleaseBuffer(phnsw_add_page(index, pi, meta_buffer, PHNSW_PAGE_AUX, &first));
		}
		taken += pop_aux(index, pi, meta_buffer, kind, n - taken, ids + taken);
	}
	UnlockReleaseBuffer(meta_buffer);
}

void
phnsw_free_aux(Relation index, PhnswIndex *pi, BlockNumber block, const uint32 *ids, uint32 n)
{
	Buffer		meta_buffer = phnsw_lock_meta(index);
	Buffer		buffer = ReadBuffer(index, block);
	PhnswWal   *wal = phnsw_wal_start(index);
	const phnsw_meta *meta = phnsw_page_meta(BufferGetPage(meta_buffer));
	uint32	   *aux_free = wal_aux_free(wal, meta_buffer);
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
	page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	for (uint32 i = 0; i < n; i++)
	{
		uint32		place;
		phnsw_aux  *aux;

		if (phnsw_locate(&meta->aux, pi->aux_per_page, ids[i], &place) != block)
			elog(ERROR, "aux record %u is not on block %u", ids[i], block);
		aux = phnsw_wal_aux(wal, pi, page, place);
		if (aux->kind == PHNSW_AUX_FREE)
			continue;
		memset(aux, 0, pi->aux_bytes);
		aux->node = PHNSW_NONE;
		aux->kind = PHNSW_AUX_FREE;
		aux->next = *aux_free;
		*aux_free = ids[i];
	}
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);
	UnlockReleaseBuffer(meta_buffer);
}
