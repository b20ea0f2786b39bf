/*
 * batch_keep.c
 *    The copy of level 0 that a merge has made, kept for the next merge of this session (README.md, Bulk insert).
 *
 * Statements of some hundred rows, one after the other, each end with a merge; copying the whole level for each would cost
 * more than their rows.  A page whose LSN has not moved is as it was when it was copied, so only the others are read again.
 * What is not logged does not move the LSN, and is read again whole.
 *
 * One index at a time, the last; from the second merge within a second on.  A second after the last one, or when a
 * transaction aborts, the memory goes back to the system: the timer's handler does nothing else, in a session that may
 * be idle, and nothing at all while a merge has the copy.
 */
#include "batch.h"
#include "glance.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define PHNSW_KEEP_MS 1000
/* What is copied again for a row at most: four fifths of what a row gains. */
#define PHNSW_KEEP_NODES_PER_ROW 800

typedef struct Kept
{
	uint64		serial;			/* of the index's description: of one file and one build */
	TimestampTz last;			/* when a merge into it ended, or might have begun */
	bool		fresh;			/* the copy is being made, not mended */
	phnsw_merge_nodes *nodes;	/* or NULL */
	PhnswKeptPage *pages;		/* in TopMemoryContext */
	uint32		room;			/* for so many */
	volatile sig_atomic_t busy; /* a merge has it: hands off, handler */
	volatile sig_atomic_t discarded;
} Kept;

static Kept kept;
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
on_transaction(XactEvent event, void *arg)
{
	/* Errors stop all timers. */
	if (event == XACT_EVENT_ABORT && !kept.busy && !kept.discarded)
		discard();
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
	kept.busy = true;
	phnsw_merge_nodes_destroy(kept.nodes);
	kept.nodes = NULL;
	kept.serial = 0;
	kept.busy = false;
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

bool
phnsw_keep_wanted(const PhnswIndex *pi)
{
	if (is_recent(pi))
		return true;
	if (kept.serial != pi->serial)
		drop();
	kept.serial = pi->serial;
	kept.last = GetCurrentTimestamp();
	return false;
}

phnsw_merge_nodes *
phnsw_keep_begin(PhnswMerging *merging, uint32 rows)
{
	PhnswIndex *pi = merging->pi;
	uint64		points = (uint64) pi->meta.nodes.limit + rows;
	bool		again = is_recent(pi);

	if (timer == MAX_TIMEOUTS)
	{
		timer = RegisterTimeout(USER_TIMEOUT, discard);
		RegisterXactCallback(on_transaction, NULL);
	}
	if (kept.nodes != NULL && (kept.serial != pi->serial || points > phnsw_merge_nodes_room(kept.nodes) || merging->file >= 0))
		drop();
	kept.busy = true;
	grow(pi->meta.nodes.limit / pi->slots_per_page + 1);
	kept.fresh = kept.discarded || kept.nodes == NULL;
	if (kept.fresh)
		phnsw_keep_forget();
	kept.discarded = false;
	kept.serial = pi->serial;
	merging->pages = kept.pages;
	if (again && kept.nodes == NULL && merging->file < 0)
	{
		phnsw_error error;

		/* No memory, no copy: this merge makes one of its own, or does without. */
		if (phnsw_merge_nodes_create(pi->codec, (uint32) Min(points, PHNSW_NONE - 1), &kept.nodes, &error) != PHNSW_OK)
			kept.nodes = NULL;
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
	/* Others change so much meanwhile that the next few rows had better go one by one. */
	if (!kept.fresh && merging->loaded > (uint64) merging->n * PHNSW_KEEP_NODES_PER_ROW)
		kept.last = 0;
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
	return entry->lsn == PageGetLSN(BufferGetPage(buffer));
}

void
phnsw_keep_after(PhnswMerging *merging, Buffer buffer, uint32 page, bool known)
{
	if (page < kept.room)
		merging->pages[page].lsn = known ? PageGetLSN(BufferGetPage(buffer)) : PHNSW_LSN_UNKNOWN;
}

/* At a glance if that will do: an LSN that is old by then is that of a page that is about to change, as after a read just now. */
XLogRecPtr
phnsw_keep_lsn(const PhnswMerging *merging, BlockNumber block)
{
	PhnswGlance glance;
	XLogRecPtr	lsn;
	Buffer		buffer;

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
