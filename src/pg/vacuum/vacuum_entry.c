/*
 * vacuum_entry.c
 *    After repair: a live entry point.
 *
 * The one that is about to be freed is replaced by a live node of the highest level, as the
 * first pass over the pages has seen it, or by any that was inserted since; where there is
 * none the index is empty.  So an entry point is never FREE.
 *
 * Locks: the meta page, exclusively, and under it the page of the new entry point.
 */
#include "vacuum/vacuum.h"

#include "commands/vacuum.h"

/* A live node, also among those inserted since this vacuum began; PHNSW_NONE: there was none. */
static uint32
find_live(PhnswVacuum *v, uint32 *version, uint32 *level)
{
	uint32		limit;

	phnsw_index_refresh(v->index, v->pi);
	limit = v->pi->meta.nodes.limit;
	for (uint32 first = 0; first < limit; first += v->pi->slots_per_page)
	{
		uint32		place;
		uint32		count = Min(v->pi->slots_per_page, limit - first);
		Buffer		buffer = phnsw_vacuum_page(v, phnsw_node_block(v->index, v->pi, first, &place));

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		for (uint32 i = 0; i < count; i++)
		{
			const phnsw_slot *slot = phnsw_page_slot(v->pi, BufferGetPage(buffer), i);

			if (slot->state == PHNSW_SLOT_LIVE && slot->level <= PHNSW_LEVEL_MAX)
			{
				*version = slot->version;
				*level = slot->level;
				UnlockReleaseBuffer(buffer);
				return first + i;
			}
		}
		UnlockReleaseBuffer(buffer);
		PhnswVacuumDelay();
	}
	return PHNSW_NONE;
}

/* The level of the node on the locked page; as known, if it is another node by now. */
static uint32
level_now(const PhnswVacuum *v, Buffer buffer, uint32 place, uint32 version, uint32 known)
{
	const phnsw_slot *slot = phnsw_page_slot(v->pi, BufferGetPage(buffer), place);

	if (slot->state != PHNSW_SLOT_LIVE || slot->version != version || slot->level > PHNSW_LEVEL_MAX)
		return known;
	return slot->level;
}

/* Makes `id` the entry point unless the meta page has a good one that reaches at least as high. */
static void
set_entry(PhnswVacuum *v, uint32 id, uint32 version, uint32 level)
{
	/* First, for it may read the meta page. */
	uint32		place = 0;
	BlockNumber block = id != PHNSW_NONE ? phnsw_node_block(v->index, v->pi, id, &place) : 0;
	Buffer		buffer = phnsw_lock_meta(v->index);
	phnsw_meta *meta = phnsw_page_meta(BufferGetPage(buffer));
	Buffer		node_buffer = InvalidBuffer;
	bool		has_entry;

	/*
	 * One whose slot was FREE at the first look is live: an insert has used the slot since and become the entry point.
	 */
	has_entry = meta->entry != PHNSW_NONE && !phnsw_is_dead(v, meta->entry);
	if (id != PHNSW_NONE)
	{
		/*
		 * A merge may have raised the node since, or be about to, and then look who the
		 * entry point is: so its level stays for now.
		 */
		node_buffer = phnsw_pin(v->index, v->pi, block);
		LockBuffer(node_buffer, BUFFER_LOCK_SHARE);
		level = level_now(v, node_buffer, place, version, level);
	}
	if (has_entry ? id != PHNSW_NONE && level > meta->entry_level : id != meta->entry)
	{
		PhnswWal   *wal = phnsw_wal_start(v->index);

		meta = phnsw_page_meta(phnsw_wal_register(wal, buffer, PHNSW_WAL_WHOLE));
		meta->entry = id;
		meta->entry_version = version;
		meta->entry_level = level;
		meta->change++;
		phnsw_wal_finish(wal);
	}
	if (node_buffer != InvalidBuffer)
		UnlockReleaseBuffer(node_buffer);
	UnlockReleaseBuffer(buffer);
}

void
phnsw_vacuum_entry(PhnswVacuum *v)
{
	uint32		id = v->top;
	uint32		version = v->top_version;
	uint32		level = v->top_level;

	if (id == PHNSW_NONE)
		id = find_live(v, &version, &level);
	if (id == PHNSW_NONE)
	{
		/*
		 * Empty.  A node that an insert adds between the look and this change is its own entry point only if the insert
		 * sees the change, so look once more afterwards.
		 */
		set_entry(v, PHNSW_NONE, 0, 0);
		id = find_live(v, &version, &level);
	}
	if (id != PHNSW_NONE)
		set_entry(v, id, version, level);
	phnsw_index_refresh(v->index, v->pi);
}
