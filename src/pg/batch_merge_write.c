/*
 * batch_merge_write.c
 *    The end of a merge: from what the core has found to pages (README.md, Bulk insert).
 *
 *    1. every node page again: nodes that have gone since they were loaded are not linked to
 *    2. free slots for all new nodes, so that their ids are known; others may still take one, then its row goes one by one
 *    3. the new nodes, page by page, complete with their links; those of higher levels one by one, with their upper lists
 *    4. the lists of old nodes, page by page: "a gives way to b" is applied to the list as it is now, whoever else changed it
 *    5. rows whose code a node has join it
 *
 * Every record leaves an index that works: links are hints, and one to a slot whose node is not written yet leads to a FREE
 * slot.  A crash between the records leaves nodes that only other new ones lead to, which the aborted transaction's rows are
 * anyway: vacuum takes them.
 *
 * Locks: README.md, Lock order; at most four node pages, ascending, in step 4.
 */
#include "batch.h"
#include "insert.h"

#include "miscadmin.h"
#include "utils/memutils.h"

/* ---- before anything is written ----------------------------------------------------------------------------------------- */

static void
look_again(PhnswMerging *merging, uint32 limit)
{
	PhnswIndex *pi = merging->pi;

	for (uint32 first = 0; first < limit; first += pi->slots_per_page)
	{
		uint32		place;
		Buffer		buffer = phnsw_pin(merging->index, pi, phnsw_node_block(merging->index, pi, first, &place));
		Page		page = BufferGetPage(buffer);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		/* The LSN of an unlogged page does not move. */
		if (!RelationNeedsWAL(merging->index) || PageGetLSN(page) != merging->lsns[first / pi->slots_per_page])
			phnsw_merge_look_again(*merging->core, first, phnsw_page_slot(pi, page, 0), pi->slots_per_page);
		UnlockReleaseBuffer(buffer);
	}
}

/* ---- nodes --------------------------------------------------------------------------------------------------------------- */

/* The slot of a place, but for version and state. */
static void
fill_place(PhnswMerging *merging, uint32 place, uint8 level, phnsw_slot *slot)
{
	slot->tid = merging->tids[phnsw_merge_place_row(*merging->core, place)];
	slot->level = level;
	slot->upper = PHNSW_NONE;
	slot->tids = PHNSW_NONE;
	slot->unused = 0;
	phnsw_merge_fill(*merging->core, place, slot);
}

static void
give_up_claim(PhnswMerging *merging, PhnswClaim *claims, uint32 place)
{
	claims[place].id = PHNSW_NONE;
	phnsw_merge_assign(*merging->core, place, PHNSW_NONE);
}

/* The nodes of places first ... first + n - 1, whose slots lie on one page; those of higher levels come later. */
static void
write_page(PhnswMerging *merging, PhnswClaim *claims, const uint8 *levels, BlockNumber block, uint32 first, uint32 n)
{
	PhnswIndex *pi = merging->pi;
	Buffer		buffer = phnsw_pin(merging->index, pi, block);
	PhnswWal   *wal = phnsw_wal_start(merging->index);
	Page		image;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(merging->index, block, BufferGetPage(buffer), PHNSW_PAGE_NODE);
	image = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	for (uint32 place = first; place < first + n; place++)
	{
		uint32		at;
		const phnsw_slot *now;
		phnsw_slot *slot;

		if (levels[place] > 0)
			continue;
		phnsw_node_block(merging->index, pi, claims[place].id, &at);
		now = phnsw_page_slot(pi, BufferGetPage(buffer), at);
		if (now->state != PHNSW_SLOT_FREE || now->version != claims[place].version)
		{
			give_up_claim(merging, claims, place);
			continue;
		}
		slot = phnsw_wal_slot(wal, pi, image, at);
		fill_place(merging, place, 0, slot);
		slot->state = PHNSW_SLOT_LIVE;
	}
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);
}

static float *
vector_of(PhnswMerging *merging, uint32 row)
{
	return phnsw_record_vector(phnsw_rows_get(&merging->batch->rows, merging->row_of[row]));
}

static void
write_nodes(PhnswMerging *merging, PhnswClaim *claims, uint32 n)
{
	PhnswIndex *pi = merging->pi;
	uint8	   *levels = palloc_extended(n, MCXT_ALLOC_HUGE);
	phnsw_slot *slot = palloc0(pi->slot_bytes);
	uint32		same;

	for (uint32 place = 0; place < n; place++)
		levels[place] = phnsw_draw_level(pi, (ItemPointer) &merging->tids[phnsw_merge_place_row(*merging->core, place)]);
	for (uint32 first = 0; first < n; first += same)
	{
		uint32		at;
		BlockNumber block = phnsw_node_block(merging->index, pi, claims[first].id, &at);

		for (same = 1; first + same < n; same++)
		{
			if (phnsw_node_block(merging->index, pi, claims[first + same].id, &at) != block)
				break;
		}
		write_page(merging, claims, levels, block, first, same);
	}
	for (uint32 place = 0; place < n; place++)
	{
		if (levels[place] == 0)
			continue;
		fill_place(merging, place, levels[place], slot);
		if (!phnsw_insert_claimed(merging->index, pi, vector_of(merging, phnsw_merge_place_row(*merging->core, place)), slot,
								  &claims[place]))
			give_up_claim(merging, claims, place);
	}
	pfree(slot);
	pfree(levels);
}

/* ---- lists of old nodes ------------------------------------------------------------------------------------------------ */

/* One change, to the list as it is now. */
static void
change_list(const PhnswIndex *pi, phnsw_slot *slot, uint32 *links, const phnsw_merge_change *change)
{
	uint32		at = slot->count;

	for (uint32 i = 0; i < slot->count; i++)
	{
		if (links[i] == change->added)
			return;
		if (links[i] == change->removed)
			at = i;
	}
	if (at == 2 * pi->m)
		return;					/* full, and what was to give way has gone: a link is a hint */
	links[at] = change->added;
	if (at == slot->count)
		slot->count++;
}

/* The changes of lists on one locked page. */
static void
change_page(PhnswMerging *merging, PhnswWal *wal, Buffer buffer, const phnsw_merge_change *changes, uint32 n)
{
	PhnswIndex *pi = merging->pi;
	Page		image = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);

	for (uint32 i = 0; i < n; i++)
	{
		uint32		at;
		const phnsw_slot *now;
		phnsw_slot *slot;
		uint32	   *links;

		phnsw_node_block(merging->index, pi, changes[i].owner, &at);
		now = phnsw_page_slot(pi, BufferGetPage(buffer), at);
		if (now->state != PHNSW_SLOT_LIVE || now->version != changes[i].version || now->count > 2 * pi->m)
			continue;
		slot = phnsw_wal_slot_head(wal, pi, image, at);
		links = phnsw_wal_part(wal, phnsw_slot_links(slot, pi->code_bytes), 2 * pi->m * sizeof(uint32));
		change_list(pi, slot, links, &changes[i]);
	}
}

static void
write_changes(PhnswMerging *merging, const phnsw_merge_change *changes, size_t n)
{
	PhnswIndex *pi = merging->pi;
	size_t		i = 0;

	while (i < n)
	{
		PhnswWal   *wal = phnsw_wal_start(merging->index);
		Buffer		held[PHNSW_WAL_PAGES];
		uint32		n_held = 0;

		while (i < n && n_held < PHNSW_WAL_PAGES)
		{
			uint32		at;
			BlockNumber block = phnsw_node_block(merging->index, pi, changes[i].owner, &at);
			size_t		same = 1;
			Buffer		buffer = phnsw_pin(merging->index, pi, block);

			while (i + same < n && phnsw_node_block(merging->index, pi, changes[i + same].owner, &at) == block)
				same++;
			LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
			held[n_held++] = buffer;
			phnsw_page_check(merging->index, block, BufferGetPage(buffer), PHNSW_PAGE_NODE);
			change_page(merging, wal, buffer, changes + i, same);
			i += same;
		}
		phnsw_wal_finish(wal);
		for (uint32 j = 0; j < n_held; j++)
			UnlockReleaseBuffer(held[j]);
	}
}

/* ---- rows that share a node, rows without a slot ------------------------------------------------------------------------ */

static bool
join_row(PhnswMerging *merging, uint32 row, uint32 id, uint32 version)
{
	PhnswInsert ins = {.index = merging->index, .pi = merging->pi, .context = CurrentMemoryContext};
	phnsw_error error;

	ins.slot = palloc0(merging->pi->slot_bytes);
	phnsw_ensure(phnsw_codec_encode(merging->pi->codec, vector_of(merging, row), ins.slot, &error), &error);
	ins.slot->tid = merging->tids[row];
	return phnsw_join_node(&ins, id, version);
}

static void
write_others(PhnswMerging *merging, const PhnswClaim *claims)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);

	for (uint32 row = 0; row < merging->n; row++)
	{
		phnsw_merge_row fate = phnsw_merge_row_get(*merging->core, row);
		bool		done;

		if (fate.place != PHNSW_NONE)
		{
			fate.id = claims[fate.place].id;
			fate.version = claims[fate.place].version;
		}
		done = fate.id != PHNSW_NONE && (fate.first || join_row(merging, row, fate.id, fate.version));
		if (done)
			merging->rows++;
		else
			phnsw_insert_vector(merging->index, merging->pi, vector_of(merging, row), (ItemPointer) &merging->tids[row]);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

void
phnsw_merge_write(PhnswMerging *merging)
{
	uint32		n = phnsw_merge_places(*merging->core);
	PhnswClaim *claims = palloc_extended(Max(n, 1) * sizeof(PhnswClaim), MCXT_ALLOC_HUGE);
	const phnsw_merge_change *changes;
	size_t		n_changes;
	phnsw_error error;

	look_again(merging, merging->pi->meta.nodes.limit);
	if (n > 0)
	{
		BlockNumber rest = phnsw_claim_slots(merging->index, merging->pi, n, claims);

		/* New pages: the ids are known from here on, so nothing below looks at the meta page. */
		phnsw_index_refresh(merging->index, merging->pi);
		for (uint32 place = 0; place < n; place++)
			phnsw_merge_assign(*merging->core, place, claims[place].id);
		write_nodes(merging, claims, n);
		phnsw_ensure(phnsw_merge_changes(*merging->core, &changes, &n_changes, &error), &error);
		write_changes(merging, changes, n_changes);
		if (rest != InvalidBlockNumber)
			phnsw_page_has_room(merging->index, merging->pi, rest, true);
	}
	write_others(merging, claims);
	pfree(claims);
}
