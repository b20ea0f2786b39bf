/*
 * batch_keep.c
 *    The copy of level 0 that a merge has made, kept for the next merge of this session (README.md).
 *
 * Statements of some hundred rows, one after the other, each end with a merge; copying the whole level for each would
 * cost more than their rows.  A page whose LSN has not moved is as it was when it was copied, so only the others are
 * read again.  What is not logged does not move the LSN, and is read again whole.  Nor is every LSN looked at each
 * time: what changes while a merge computes is stale as well, and does no harm.
 *
 * One index at a time, the last; from the second merge within a second on.  A second after the last one, or when a
 * transaction aborts, the memory goes back to the system: the timer's handler does nothing else, in a session that may
 * be idle, and nothing at all while a merge has the copy.
 */
#include "batch/batch.h"
#include "build/spill.h"
#include "search/glance.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define PHNSW_KEEP_MS 1000
/* A file grows by so much at once. */
#define PHNSW_KEEP_FILE_STEP (4 * 1024 * 1024)
/* Of maintenance_work_mem, what a copy may have more than one that would be made now. */
#define PHNSW_KEEP_SLACK 16
/* Blocks whose LSN comes into the cache meanwhile. */
#define PHNSW_KEEP_AHEAD 8
/* What is copied again for a row at most, which is more than a row gains where others want all processors. */
#define PHNSW_KEEP_NODES_PER_ROW 200
/* Else a row for so many nodes goes one by one before a copy is made again, which costs a thirtieth of that. */
#define PHNSW_KEEP_NODES_PER_CROWDED_ROW 32
/* Nodes by which an index may grow without anybody's rows: a page of several sessions each. */
#define PHNSW_KEEP_CROWD_SLACK 128

typedef struct Kept
{
	uint64		serial;			/* of the index's description: of one file and one build */
	TimestampTz last;			/* when a merge into it ended, or might have begun */
	bool		fresh;			/* the copy is being made, not mended */
	uint64		waiting;		/* rows that went one by one since, for want of a copy */
	uint32		limit;			/* of node ids, when the first of them did */
	uint64		crowded;		/* rows that will, because others change more than a copy is good for */
	phnsw_merge_nodes *nodes;	/* or NULL */
	File		file;			/* for what maintenance_work_mem does not hold of them; -1: none */
	uint64		file_bytes;
	uint64		memory_bytes;	/* of them that are memory, if there is a file */
	PhnswKeptPage *pages;		/* in TopMemoryContext */
	uint32		room;			/* for so many */
	uint32		turn;			/* pages that are looked at by this merge: number % PHNSW_KEEP_SHARE */
	bool		changed;		/* somebody else has changed a page of the copy */
	bool		wide;			/* so all pages are looked at */
	volatile sig_atomic_t busy; /* a merge has it: hands off, handler */
	volatile sig_atomic_t discarded;
} Kept;

static Kept kept = {.file = -1};
static TimeoutId timer = MAX_TIMEOUTS;

/* In a signal handler as well. */
static void
discard(void)
{
	if (kept.nodes != NULL && !kept.busy)
	{
		phnsw_merge_nodes_discard(kept.nodes);
		kept.discarded = true;
	}
}

static void
forget_pages(uint32 from)
{
	for (uint32 i = from; i < kept.room; i++)
		kept.pages[i] = (PhnswKeptPage) {.lsn = PHNSW_LSN_UNKNOWN};
}

void
phnsw_keep_forget(void)
{
	forget_pages(0);
}

static void
drop(void)
{
	File		file = kept.file;

	kept.busy = true;
	phnsw_merge_nodes_destroy(kept.nodes);
	kept.nodes = NULL;
	kept.file = -1;
	kept.file_bytes = 0;
	kept.serial = 0;
	kept.busy = false;
	/* At last: it may be logged (log_temp_files), where a cancel takes effect. */
	if (file >= 0)
		FileClose(file);
}

static void
on_transaction(XactEvent event, void *arg)
{
	if (kept.busy || (event != XACT_EVENT_ABORT && event != XACT_EVENT_COMMIT))
		return;
	/* Errors stop all timers. */
	if (event == XACT_EVENT_ABORT && !kept.discarded)
		discard();
	/* A file has holes by now, for which the disk may have no blocks. */
	if (kept.discarded && kept.file >= 0)
		drop();
}

/* Room for so many pages. */
static void
grow(uint32 pages)
{
	uint32		before = kept.room;

	if (pages <= before)
		return;
	pages += pages / 8;
	if (kept.pages == NULL)
		kept.pages = MemoryContextAllocHuge(TopMemoryContext, pages * sizeof(PhnswKeptPage));
	else
		kept.pages = repalloc_huge(kept.pages, pages * sizeof(PhnswKeptPage));
	kept.room = pages;
	forget_pages(before);
}

/* Has something that a copy is good for happened to the index within the last second? */
static bool
is_recent(const PhnswIndex *pi)
{
	return kept.serial == pi->serial && !TimestampDifferenceExceeds(kept.last, GetCurrentTimestamp(), PHNSW_KEEP_MS);
}

/* Rows go one by one from now on, and are counted. */
static void
wait_anew(const PhnswIndex *pi)
{
	kept.waiting = 0;
	kept.limit = pi->meta.nodes.limit;
}

/*
 * Have others inserted half as many rows as this session while it waited?
 * Who inserts into reused slots is not seen here.
 */
static bool
is_crowded(const PhnswIndex *pi)
{
	return pi->meta.nodes.limit - kept.limit > kept.waiting + kept.waiting / 2 + PHNSW_KEEP_CROWD_SLACK;
}

bool
phnsw_keep_wanted(const PhnswIndex *pi, uint64 rows, uint64 cost)
{
	if (!is_recent(pi))
	{
		wait_anew(pi);
		kept.crowded = 0;
	}
	else if (kept.crowded > 0)
	{
		kept.crowded -= Min(kept.crowded, rows);
		wait_anew(pi);
	}
	else if (kept.nodes != NULL && !kept.discarded)
		return true;
	else if (kept.waiting >= cost)
	{
		if (!is_crowded(pi))
			return true;
		wait_anew(pi);
	}
	if (kept.serial != pi->serial)
		drop();
	kept.waiting += rows;
	kept.serial = pi->serial;
	kept.last = GetCurrentTimestamp();
	return false;
}

/* The kept copy will do for a merge of so many points, of which spill says what may be memory if there is a file. */
static bool
is_good(const PhnswIndex *pi, uint64 points, const phnsw_merge_spill *spill)
{
	if (kept.serial != pi->serial || points > phnsw_merge_nodes_room(kept.nodes) ||
		(kept.file >= 0) != (spill->file_bytes > 0))
		return false;
	/* maintenance_work_mem may have become less, and what else a merge needs grows with the index. */
	return kept.file < 0 ||
		(!kept.discarded &&
		 kept.memory_bytes <= spill->memory_bytes + (uint64) maintenance_work_mem * 1024 / PHNSW_KEEP_SLACK);
}

/* A file for so many rows more, behind the copy's memory.  false: there is none. */
static bool
extend_file(const PhnswIndex *pi, uint32 rows)
{
	uint64		bytes = phnsw_merge_file_bytes(&pi->meta.codec, pi->meta.nodes.limit, rows, kept.memory_bytes);

	/* It outlives the transaction. */
	if (kept.file < 0)
		kept.file = OpenTemporaryFile(true);
	if (bytes > kept.file_bytes && !phnsw_spill_try(&kept.file, &kept.file_bytes, bytes + PHNSW_KEEP_FILE_STEP))
		return false;
	return FileSize(kept.file) >= (off_t) bytes;	/* and so it is open */
}

/* A new copy, or none for want of memory or disk: then this merge makes one of its own, or does without. */
static void
create(const PhnswIndex *pi, uint64 points, const phnsw_merge_spill *spill)
{
	phnsw_error error;

	kept.memory_bytes = spill->memory_bytes;
	if (phnsw_merge_nodes_create(pi->codec, (uint32) Min(points, PHNSW_NONE - 1), spill, &kept.nodes,
								 &error) != PHNSW_OK)
		kept.nodes = NULL;
}

phnsw_merge_nodes *
phnsw_keep_begin(PhnswMerging *merging, uint32 rows)
{
	PhnswIndex *pi = merging->pi;
	uint64		points = (uint64) pi->meta.nodes.limit + rows;
	phnsw_merge_spill spill = {0};
	bool		keeps = phnsw_merge_fits(merging, rows) || phnsw_merge_place_kept(pi, rows, &spill);
	bool		again = keeps && is_recent(pi);

	if (timer == MAX_TIMEOUTS)
	{
		timer = RegisterTimeout(USER_TIMEOUT, discard);
		RegisterXactCallback(on_transaction, NULL);
	}
	/* Before a copy is found good: from here on the handler puts no holes into its file. */
	kept.busy = true;
	if (kept.nodes != NULL && (!keeps || !is_good(pi, points, &spill)))
		drop();
	kept.busy = true;
	grow(pi->meta.nodes.limit / pi->slots_per_page + 1);
	kept.fresh = kept.discarded || kept.nodes == NULL;
	if (kept.fresh)
		phnsw_keep_forget();
	kept.discarded = false;
	kept.turn++;
	kept.wide = false;
	kept.serial = pi->serial;
	merging->pages = kept.pages;
	if (again && kept.nodes == NULL)
		create(pi, points, &spill);
	if (kept.nodes != NULL && spill.file_bytes > 0)
	{
		if (extend_file(pi, rows))
			phnsw_merge_nodes_file(kept.nodes, kept.file_bytes, FileGetRawDesc(kept.file));
		else
		{
			drop();
			kept.busy = true;
			kept.serial = pi->serial;
			phnsw_keep_forget();
		}
	}
	return kept.nodes;
}

/* failed: nobody knows what is in the copy. */
void
phnsw_keep_end(const PhnswMerging *merging, bool failed)
{
	/* A relation may become a logged one, with the same LSNs. */
	if (failed || kept.nodes == NULL || !RelationNeedsWAL(merging->index))
		phnsw_keep_forget();
	kept.last = GetCurrentTimestamp();
	if (!kept.fresh && merging->loaded > (uint64) merging->n * PHNSW_KEEP_NODES_PER_ROW)
		kept.crowded = merging->pi->meta.nodes.limit / PHNSW_KEEP_NODES_PER_CROWDED_ROW;
	if (failed)
		drop();
	kept.busy = false;
	if (kept.nodes != NULL)
		enable_timeout_after(timer, PHNSW_KEEP_MS);
}

bool
phnsw_keep_before(PhnswMerging *merging, Buffer buffer, uint32 page, uint64 stale)
{
	PhnswKeptPage *entry;

	if (page >= kept.room)
		return false;
	entry = &merging->pages[page];
	entry->stale |= stale;
	phnsw_keep_compare(entry, PageGetLSN(BufferGetPage(buffer)));
	return entry->lsn == PageGetLSN(BufferGetPage(buffer));
}

void
phnsw_keep_after(PhnswMerging *merging, Buffer buffer, uint32 page, bool known)
{
	if (page < kept.room)
		merging->pages[page].lsn = known ? PageGetLSN(BufferGetPage(buffer)) : PHNSW_LSN_UNKNOWN;
}

void
phnsw_keep_forget_page(const PhnswMerging *merging, uint32 page)
{
	if (page < kept.room)
		merging->pages[page].lsn = PHNSW_LSN_UNKNOWN;
}

uint32
phnsw_keep_turn(uint32 page)
{
	if (kept.wide)
		return 1;
	return page % PHNSW_KEEP_SHARE == kept.turn % PHNSW_KEEP_SHARE ? PHNSW_KEEP_SHARE : 0;
}

void
phnsw_keep_compare(const PhnswKeptPage *page, XLogRecPtr lsn)
{
	kept.changed |= page->lsn != PHNSW_LSN_UNKNOWN && page->lsn != lsn;
}

bool
phnsw_keep_look_wider(void)
{
	if (!kept.changed)
		return false;
	kept.changed = false;
	if (kept.wide)
		return false;
	kept.wide = true;
	return true;
}

/*
 * At a glance if that will do: an LSN that is old by then is that of a page
 * that is about to change, as after a read just now.
 */
XLogRecPtr
phnsw_keep_lsn(const PhnswMerging *merging, BlockNumber block, uint32 step)
{
	PhnswGlance glance;
	XLogRecPtr	lsn;
	Buffer		buffer = phnsw_glance_where(merging->pi, block + step * PHNSW_KEEP_AHEAD);

	if (buffer != InvalidBuffer)
	{
		__builtin_prefetch(GetBufferDescriptor(buffer - 1));
		__builtin_prefetch(BufferGetPage(buffer));
	}
	if (phnsw_glance_begin(&glance, merging->index, merging->pi, block))
	{
		lsn = PageGetLSN(glance.page);
		if (phnsw_glance_end(&glance))
			return lsn;
	}
	buffer = phnsw_pin(merging->index, merging->pi, block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	lsn = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return lsn;
}
