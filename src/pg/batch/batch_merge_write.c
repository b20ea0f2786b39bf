/*
 * batch_merge_write.c
 *    The end of a merge: from what the core has found to pages (README.md).
 *
 *    1. every node page again: nodes that have gone since they were loaded are not linked to
 *    2. free slots for all new nodes, so that their ids are known; others may
 *       still take one, then its row goes one by one
 *    3. the new nodes, page by page, complete with their links on level 0
 *    4. the lists of old nodes, page by page: "a gives way to b" is applied to the
 *       list as it is now, whoever else changed it
 *    5. new nodes that no list has a place for any more find others, as after an insert
 *    6. nodes of higher levels are raised, one by one: they get their upper lists.  Not before, for until then a slot
 *       is anybody's, and what leads to it, or gave way to it, would lead nowhere once somebody has taken it
 *    7. rows whose code a node has join it
 *
 * Steps 5 to 7 are in batch_merge_single.c.
 *
 * Every record leaves an index that works: links are hints, one to a slot whose node is not written yet leads to a FREE
 * slot, and a node of a higher level is one of level 0 until it is raised.  A crash between the records leaves nodes
 * that only other new ones lead to, which the aborted transaction's rows are anyway: vacuum takes them.
 *
 * Locks: ../README.md, Lock order; at most four node pages, ascending, in step 4.
 */
#include "batch/batch_merge.h"

#include "access/xlog.h"

/* ---- before anything is written -------------------------------------------------------------- */

void
phnsw_merge_recheck(PhnswMerging *merging)
{
	PhnswIndex *pi = merging->pi;
	uint32		limit = merging->limit;

	/* As long as nobody logs anything no page changes. */
	if (RelationNeedsWAL(merging->index) && GetXLogInsertRecPtr() == merging->loaded_at)
		return;
	for (uint32 first = 0; first < limit; first += pi->slots_per_page)
	{
		uint32		place;
		BlockNumber block = phnsw_node_block(merging->index, pi, first, &place);
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		/* The LSN of an unlogged page does not move. */
		if (RelationNeedsWAL(merging->index) &&
			phnsw_keep_lsn(merging, block, 1) == merging->pages[first / pi->slots_per_page].lsn)
			continue;
		phnsw_keep_forget_page(merging, first / pi->slots_per_page);
		buffer = phnsw_pin(merging->index, pi, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		phnsw_merge_look_again(*merging->core, first, phnsw_page_slot(pi, BufferGetPage(buffer), 0),
							   pi->slots_per_page);
		UnlockReleaseBuffer(buffer);
	}
}

/* ---- nodes ----------------------------------------------------------------------------------- */

void
phnsw_merge_fill_place(PhnswMerging *merging, uint32 place, phnsw_slot *slot)
{
	slot->tid = merging->tids[phnsw_merge_place_row(*merging->core, place)];
	slot->level = 0;
	slot->upper = PHNSW_NONE;
	slot->tids = PHNSW_NONE;
	slot->unused = 0;
	phnsw_merge_fill(*merging->core, place, slot);
}

static void
give_up_claim(PhnswMerging *merging, uint32 place)
{
	merging->fates[place] = PHNSW_PLACE_VOID;
	phnsw_merge_assign(*merging->core, place, PHNSW_NONE);
}

/* The nodes of places first ... first + n - 1, whose slots lie on one page. */
static void
write_page(PhnswMerging *merging, BlockNumber block, uint32 first, uint32 n)
{
	PhnswIndex *pi = merging->pi;
	const PhnswClaim *claims = merging->claims;
	Buffer		buffer = phnsw_pin(merging->index, pi, block);
	PhnswWal   *wal = phnsw_wal_start(merging->index);
	Page		image;
	uint64		stale = 0;
	bool		known;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(merging->index, block, BufferGetPage(buffer), PHNSW_PAGE_NODE);
	image = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	for (uint32 place = first; place < first + n; place++)
	{
		uint32		at;
		const phnsw_slot *now;
		phnsw_slot *slot;

		phnsw_node_block(merging->index, pi, claims[place].id, &at);
		now = phnsw_page_slot(pi, BufferGetPage(buffer), at);
		if (now->state != PHNSW_SLOT_FREE || now->version != claims[place].version)
		{
			give_up_claim(merging, place);
			continue;
		}
		slot = phnsw_wal_slot(wal, pi, image, at);
		phnsw_merge_fill_place(merging, place, slot);
		slot->state = PHNSW_SLOT_LIVE;
		stale |= PHNSW_KEPT_PLACE(at);
	}
	known = phnsw_keep_before(merging, buffer, claims[first].id / pi->slots_per_page, stale);
	phnsw_wal_finish(wal);
	phnsw_keep_after(merging, buffer, claims[first].id / pi->slots_per_page, known);
	UnlockReleaseBuffer(buffer);
}

static void
write_nodes(PhnswMerging *merging)
{
	PhnswIndex *pi = merging->pi;
	const PhnswClaim *claims = merging->claims;
	uint32		n = merging->places;
	uint32		same;

	for (uint32 first = 0; first < n; first += same)
	{
		uint32		at;
		BlockNumber block = phnsw_node_block(merging->index, pi, claims[first].id, &at);

		for (same = 1; first + same < n; same++)
		{
			if (phnsw_node_block(merging->index, pi, claims[first + same].id, &at) != block)
				break;
		}
		phnsw_merge_end_if_told();
		write_page(merging, block, first, same);
	}
}

/* ---- lists of old nodes ---------------------------------------------------------------------- */

/* One change, to the list as it is now; false: it leads nowhere new. */
static bool
change_list(const PhnswIndex *pi, phnsw_slot *slot, uint32 *links, const phnsw_merge_change *change)
{
	uint32		at = slot->count;

	for (uint32 i = 0; i < slot->count; i++)
	{
		if (links[i] == change->added)
			return true;
		if (links[i] == change->removed)
			at = i;
	}
	if (at == 2 * pi->m)
		return false;			/* full, and what was to give way has gone: a link is a hint */
	links[at] = change->added;
	if (at == slot->count)
		slot->count++;
	return true;
}

static int
by_claim(const void *a, const void *b)
{
	uint32		id = *(const uint32 *) a;
	const PhnswClaim *claim = b;

	return id < claim->id ? -1 : id > claim->id;
}

PhnswClaim *
phnsw_merge_claim_of(const PhnswMerging *merging, uint32 id)
{
	return bsearch(&id, merging->claims, merging->places, sizeof(PhnswClaim), by_claim);
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
		const PhnswClaim *claim = phnsw_merge_claim_of(merging, changes[i].added);
		uint8	   *fate = claim != NULL ? &merging->fates[claim - merging->claims] : NULL;

		phnsw_node_block(merging->index, pi, changes[i].owner, &at);
		now = phnsw_page_slot(pi, BufferGetPage(buffer), at);
		if (now->state != PHNSW_SLOT_LIVE || now->version != changes[i].version || now->count > 2 * pi->m)
			continue;
		slot = phnsw_wal_slot_head(wal, pi, image, at);
		links = phnsw_wal_part(wal, phnsw_slot_links(slot, pi->code_bytes), 2 * pi->m * sizeof(uint32));
		if (change_list(pi, slot, links, &changes[i]) && fate != NULL)
			*fate = PHNSW_PLACE_LINKED;
	}
}

/* The lists of a page that only these changes have changed, for the copy that is kept. */
static void
keep_lists(PhnswMerging *merging, Page page, const phnsw_merge_change *changes, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		uint32		at;

		if (i > 0 && changes[i].owner == changes[i - 1].owner)
			continue;
		phnsw_node_block(merging->index, merging->pi, changes[i].owner, &at);
		phnsw_merge_relist(*merging->core, changes[i].owner, phnsw_page_slot(merging->pi, page, at),
						   merging->pi->meta.nodes.limit);
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
		size_t		first[PHNSW_WAL_PAGES + 1] = {i};
		bool		known[PHNSW_WAL_PAGES];
		uint32		n_held = 0;

		phnsw_merge_end_if_told();
		while (i < n && n_held < PHNSW_WAL_PAGES)
		{
			uint32		at;
			BlockNumber block = phnsw_node_block(merging->index, pi, changes[i].owner, &at);
			size_t		same = 1;
			Buffer		buffer = phnsw_pin(merging->index, pi, block);

			while (i + same < n && phnsw_node_block(merging->index, pi, changes[i + same].owner, &at) == block)
				same++;
			LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
			phnsw_page_check(merging->index, block, BufferGetPage(buffer), PHNSW_PAGE_NODE);
			change_page(merging, wal, buffer, changes + i, same);
			known[n_held] = phnsw_keep_before(merging, buffer, changes[i].owner / pi->slots_per_page, 0);
			held[n_held++] = buffer;
			i += same;
			first[n_held] = i;
		}
		phnsw_wal_finish(wal);
		for (uint32 j = 0; j < n_held; j++)
		{
			phnsw_keep_after(merging, held[j], changes[first[j]].owner / pi->slots_per_page, known[j]);
			if (known[j])
				keep_lists(merging, BufferGetPage(held[j]), changes + first[j], first[j + 1] - first[j]);
			UnlockReleaseBuffer(held[j]);
		}
	}
}

void
phnsw_merge_write(PhnswMerging *merging)
{
	uint32		n;
	const phnsw_merge_change *changes;
	size_t		n_changes;
	phnsw_error error;

	if (phnsw_merge_live(*merging->core) == 0)
	{
		phnsw_index_refresh(merging->index, merging->pi);
		phnsw_merge_write_one_by_one(merging);
		return;
	}
	n = merging->places = phnsw_merge_places(*merging->core);
	merging->claims = palloc_extended(Max(n, 1) * sizeof(PhnswClaim), MCXT_ALLOC_HUGE);
	merging->fates = palloc_extended(Max(n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (n > 0)
	{
		BlockNumber rest = phnsw_claim_slots(merging->index, merging->pi, n, merging->claims);

		/* New pages: the ids are known from here on, so nothing below looks at the meta page. */
		phnsw_index_refresh(merging->index, merging->pi);
		for (uint32 place = 0; place < n; place++)
			phnsw_merge_assign(*merging->core, place, merging->claims[place].id);
		write_nodes(merging);
		phnsw_test_point(PHNSW_POINT_MERGE_WRITTEN);
		phnsw_ensure(phnsw_merge_changes(*merging->core, &changes, &n_changes, &error), &error);
		/* The core's copy has changes to nodes that have lost their slots as well, which are not named here. */
		if (memchr(merging->fates, PHNSW_PLACE_VOID, n) != NULL)
			phnsw_keep_forget();
		write_changes(merging, changes, n_changes);
		/*
		 * Nothing is inserted before the last of these is written: its slot would
		 * be taken for a link that leads nowhere.
		 */
		phnsw_ensure(phnsw_merge_spread(*merging->core, merging->fates, &error), &error);
		phnsw_merge_relink_nodes(merging);
		phnsw_merge_raise_nodes(merging);
		if (rest != InvalidBlockNumber)
			phnsw_page_has_room(merging->index, merging->pi, rest, true);
		for (uint32 place = 0; place < n; place++)
		{
			uint32		id = merging->claims[place].id;
			uint32		at;

			if (merging->fates[place] == PHNSW_PLACE_VOID)
				phnsw_page_has_room(merging->index, merging->pi,
									phnsw_node_block(merging->index, merging->pi, id, &at), true);
		}
	}
	phnsw_merge_write_others(merging);
}
