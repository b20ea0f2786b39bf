/*
 * vacuum.c
 *    ambulkdelete and amvacuumcleanup: dead rows out of the graph, in three passes over the pages (README.md).
 *
 * Every pass reads pages in block order and holds one node page's lock at a time (vacuum_chain.c: that and aux pages).
 * A page is looked at under a share lock first; the TID callback, which may be anything, runs without a lock; the
 * exclusive lock is taken only when something has to change, and what was seen is verified again under it.
 *
 * A crash or cancel between any two records leaves DEAD nodes, which the next vacuum takes up,
 * and at worst aux records that nothing refers to.  Only one vacuum of a table runs at a time
 * (ShareUpdateExclusiveLock), so nobody else frees slots.
 */
#include "vacuum/vacuum.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "utils/memutils.h"

/* A live node as the first look saw it. */
typedef struct Seen
{
	phnsw_tid	tid;
	uint16		place;
	uint8		level;
	bool		expired;		/* the slot's TID is dead, or gone already (kill.c) */
	bool		chained;
	bool		alive;
	uint32		version;
} Seen;

Buffer
phnsw_vacuum_page(PhnswVacuum *v, BlockNumber block)
{
	return ReadBufferExtended(v->index, MAIN_FORKNUM, block, RBM_NORMAL, v->info->strategy);
}

/* ---- pass 1: dead TIDs ----------------------------------------------------------------------- */

static void
mark_dead(PhnswVacuum *v, uint32 id)
{
	phnsw_bit_set(v->dead, id);
	phnsw_bit_set(v->gone, id);
	v->dead_nodes++;
}

/* Copies what the page's live nodes look like; remembers the others. */
static uint32
look(PhnswVacuum *v, Buffer buffer, BlockNumber block, uint32 first, Seen *seen)
{
	Page		page = BufferGetPage(buffer);
	uint32		count = Min(v->pi->slots_per_page, v->limit - first);
	uint32		n = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(v->index, block, page, PHNSW_PAGE_NODE);
	for (uint32 i = 0; i < count; i++)
	{
		const phnsw_slot *slot = phnsw_page_slot(v->pi, page, i);

		switch (slot->state)
		{
			case PHNSW_SLOT_FREE:
				phnsw_bit_set(v->gone, first + i);
				break;
			case PHNSW_SLOT_DEAD:
				mark_dead(v, first + i);	/* left by a vacuum that did not finish */
				break;
			case PHNSW_SLOT_LIVE:
				if (slot->level > PHNSW_LEVEL_MAX)
					phnsw_corrupt(v->index, block, i, "level of a slot");
				seen[n++] = (Seen) {
					.tid = slot->tid, .place = i, .level = slot->level, .chained = slot->tids != PHNSW_NONE,
					.alive = true, .version = slot->version
				};
				break;
			default:
				phnsw_corrupt(v->index, block, i, "state of a slot");
		}
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return n;
}

static inline bool
same_tid(const phnsw_tid *a, const phnsw_tid *b)
{
	return memcmp(a, b, sizeof(phnsw_tid)) == 0;
}

/* Takes the expired TIDs out of slots without a chain.  A TID that is no longer there has been taken out by a scan. */
static void
expire_slots(PhnswVacuum *v, Buffer buffer, uint32 first, Seen *seen, uint32 n)
{
	PhnswWal   *wal;
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	wal = phnsw_wal_start(v->index);
	page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	for (uint32 i = 0; i < n; i++)
	{
		phnsw_slot *slot;

		if (!seen[i].expired)
			continue;
		slot = phnsw_wal_slot_head(wal, v->pi, page, seen[i].place);
		if (slot->state != PHNSW_SLOT_LIVE || slot->version != seen[i].version ||
			(slot->tid.offset != 0 && !same_tid(&slot->tid, &seen[i].tid)))
			continue;
		v->stats->tuples_removed += slot->tid.offset != 0;
		memset(&slot->tid, 0, sizeof(phnsw_tid));
		if (slot->tids != PHNSW_NONE)
			continue;			/* an insert has hung a row on this node meanwhile: it lives on */
		slot->state = PHNSW_SLOT_DEAD;
		seen[i].alive = false;
		mark_dead(v, first + seen[i].place);
	}
	phnsw_wal_finish(wal);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
}

/* A crash may have lost the free space map's hint, or a bulk insert that failed the slots that it had claimed. */
static void
note_free_slots(PhnswVacuum *v, BlockNumber block, uint32 first)
{
	uint32		end = first + Min(v->pi->slots_per_page, v->limit - first);

	for (uint32 id = first; id < end; id++)
	{
		if (phnsw_bit(v->gone, id) && !phnsw_bit(v->dead, id))
		{
			phnsw_page_has_room(v->index, v->pi, block, true);
			return;
		}
	}
}

static void
drop_tids_of_page(PhnswVacuum *v, Buffer buffer, uint32 first)
{
	Seen		seen[PHNSW_SLOTS_MAX];
	BlockNumber block = BufferGetBlockNumber(buffer);
	uint32		n = look(v, buffer, block, first, seen);
	bool		any_expired = false;

	note_free_slots(v, block, first);
	for (uint32 i = 0; i < n; i++)
	{
		if (seen[i].chained)
			continue;
		seen[i].expired = seen[i].tid.offset == 0 || v->callback((ItemPointer) &seen[i].tid, v->callback_state);
		any_expired |= seen[i].expired;
		if (!seen[i].expired)
			v->stats->num_index_tuples += 1;
	}
	phnsw_test_point(PHNSW_POINT_VACUUM_SEEN);
	if (any_expired)
		expire_slots(v, buffer, first, seen, n);
	for (uint32 i = 0; i < n; i++)
	{
		uint32		id = first + seen[i].place;

		if (seen[i].chained && !phnsw_vacuum_chain(v, buffer, seen[i].place, id, seen[i].version))
		{
			seen[i].alive = false;
			mark_dead(v, id);
		}
		if (seen[i].alive && (v->top == PHNSW_NONE || seen[i].level > v->top_level))
		{
			v->top = id;
			v->top_version = seen[i].version;
			v->top_level = seen[i].level;
		}
	}
	ReleaseBuffer(buffer);
}

static void
drop_tids(PhnswVacuum *v)
{
	PhnswPassPages pages = {.space = &v->pi->meta.nodes, .per_page = v->pi->slots_per_page, .limit = v->limit};
	PhnswPass  *pass = phnsw_pass_begin(v->index, v->info->strategy, phnsw_pass_pages, &pages);
	Buffer		buffer;

	for (uint32 first = 0; (buffer = phnsw_pass_next(pass)) != InvalidBuffer; first += v->pi->slots_per_page)
	{
		PhnswVacuumDelay();
		drop_tids_of_page(v, buffer, first);
	}
	phnsw_pass_end(pass);
	phnsw_vacuum_flush_aux(v);
}

/* ---- callbacks ------------------------------------------------------------------------------- */

/* Pages whose slots were all free at the first look. */
static BlockNumber
count_free_pages(const PhnswVacuum *v)
{
	BlockNumber pages = 0;

	for (uint32 first = 0; first < v->limit; first += v->pi->slots_per_page)
	{
		uint32		end = first + Min(v->pi->slots_per_page, v->limit - first);
		uint32		id = first;

		while (id < end && phnsw_bit(v->gone, id))
			id++;
		pages += id == end;
	}
	return pages;
}

/* For phnsw_stats and the log.  seconds: of the passes. */
static void
report_work(const PhnswVacuum *v, double rows_removed, const double *seconds)
{
	PhnswIndexStats *stats = phnsw_stats_of(RelationGetRelid(v->index));

	stats->vacuums++;
	stats->rows_removed += (uint64) rows_removed;
	stats->nodes_freed += v->dead_nodes;
	stats->lists_repaired += v->lists_repaired;
	ereport(DEBUG1,
			(errmsg("phnsw vacuum of index \"%s\": %.0f rows removed, %u nodes freed, " UINT64_FORMAT " lists repaired; "
					"seconds: rows %.2f, repair %.2f, free %.2f",
					RelationGetRelationName(v->index), rows_removed, v->dead_nodes, v->lists_repaired,
					seconds[0], seconds[1], seconds[2]),
			 errhidestmt(true)));
}

IndexBulkDeleteResult *
phnsw_ambulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, IndexBulkDeleteCallback callback,
				   void *callback_state)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw vacuum", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;
	PhnswVacuum *v;
	double		removed_before;
	double		seconds[3] = {0};
	instr_time	mark;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	caller = MemoryContextSwitchTo(context);
	v = palloc0(sizeof(PhnswVacuum));
	v->info = info;
	v->index = info->index;
	v->pi = phnsw_index_open(info->index);
	v->callback = callback;
	v->callback_state = callback_state;
	v->limit = v->pi->meta.nodes.limit;
	v->stats = stats;
	v->dead = phnsw_bits_make(v->limit);
	v->gone = phnsw_bits_make(v->limit);
	v->top = PHNSW_NONE;

	/* Within one VACUUM the TIDs are counted anew by each call, the removed ones add up. */
	stats->num_index_tuples = 0;
	stats->estimated_count = false;
	removed_before = stats->tuples_removed;
	INSTR_TIME_SET_CURRENT(mark);
	drop_tids(v);
	seconds[0] = phnsw_lap(&mark);
	if (v->dead_nodes > 0)
	{
		phnsw_test_point(PHNSW_POINT_VACUUM_REPAIR);
		phnsw_vacuum_repair(v);
		phnsw_vacuum_entry(v);
		phnsw_test_point(PHNSW_POINT_VACUUM_ATTACH);
		phnsw_vacuum_attach(v);
		seconds[1] = phnsw_lap(&mark);
		phnsw_test_point(PHNSW_POINT_VACUUM_FREE);
		phnsw_vacuum_free_slots(v);
		seconds[2] = phnsw_lap(&mark);
	}
	report_work(v, stats->tuples_removed - removed_before, seconds);
	stats->pages_free = stats->pages_deleted = count_free_pages(v);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return stats;
}

IndexBulkDeleteResult *
phnsw_amvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	if (info->analyze_only)
		return stats;
	if (stats == NULL)
	{
		/* Nothing was deleted.  How many rows are indexed is not worth a pass over the index. */
		stats = palloc0(sizeof(IndexBulkDeleteResult));
		stats->estimated_count = true;
		stats->num_index_tuples = Max(info->num_heap_tuples, 0);
	}
	phnsw_vacuum_calibrate(info);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	IndexFreeSpaceMapVacuum(info->index);
	return stats;
}
