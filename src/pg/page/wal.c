/*
 * wal.c
 *    Changes of pages, logged: one record for up to four pages.
 *
 * The records are PostgreSQL's generic ones, byte for byte what generic_redo() replays, so that a standby and crash
 * recovery need no module of ours.  What makes them is ours, because GenericXLogFinish() copies every page twice and
 * compares it byte by byte: here a caller says which parts of a page it is going to change, and only their 64-byte
 * blocks are copied, compared and written back (README.md, WAL, has the numbers).
 *
 *    wal = phnsw_wal_start(index)
 *    image = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS)     # buffer: pinned, locked exclusively
 *    slot = phnsw_wal_part(wal, phnsw_page_slot(pi, image, place), pi->slot_bytes)
 *    change *slot                                                 # errors are still allowed
 *    phnsw_wal_finish(wal)                                        # page and WAL, in a critical section
 *
 * Nothing has happened to a page until phnsw_wal_finish(); a record that is not finished, because of an error or
 * because the caller thought better of it, is forgotten.  One record is under construction at a time; it lives in
 * static memory, since the images would otherwise be allocated and freed for every change.
 */
#include "phnsw.h"

#include "access/xloginsert.h"
#include "miscadmin.h"
#include "page/delta.h"
#include "port/pg_bitutils.h"

typedef struct WalPage
{
	Buffer		buffer;
	PhnswWalMode mode;
	uint64		copied[PHNSW_DELTA_BLOCKS / 64];	/* blocks of the image that are valid */
	phnsw_delta delta;
} WalPage;

struct PhnswWal
{
	PGAlignedBlock images[PHNSW_WAL_PAGES];
	WalPage		pages[PHNSW_WAL_PAGES];
	uint32		n;
	Relation	index;
};

static PhnswWal the_record;

StaticAssertDecl(PHNSW_DELTA_PAGE == BLCKSZ, "a delta is that of a page");
StaticAssertDecl(sizeof(OffsetNumber) == sizeof(uint16), "generic records count in two bytes");

PhnswWal *
phnsw_wal_start(Relation index)
{
	the_record.n = 0;
	the_record.index = index;
	return &the_record;
}

static inline bool
is_copied(const WalPage *entry, uint32 block)
{
	return (entry->copied[block / 64] >> (block % 64)) & 1;
}

/* What a record carries is all that lies outside the hole, so the hole has to be where the header says. */
static void
check_header(Relation index, Buffer buffer)
{
	PageHeader	header = (PageHeader) BufferGetPage(buffer);

	if (header->pd_lower < PHNSW_PAGE_HEADER || header->pd_lower > header->pd_upper ||
		header->pd_upper > BLCKSZ - PHNSW_PAGE_SPECIAL)
		phnsw_corrupt(index, BufferGetBlockNumber(buffer), 0, "bounds of a page's content");
}

Page
phnsw_wal_register(PhnswWal *wal, Buffer buffer, PhnswWalMode mode)
{
	WalPage    *entry = wal->pages;
	char	   *image;

	for (; entry < wal->pages + wal->n; entry++)
	{
		if (entry->buffer == buffer)
		{
			Assert(entry->mode == mode);
			return wal->images[entry - wal->pages].data;
		}
	}
	if (wal->n == PHNSW_WAL_PAGES)
		elog(ERROR, "a WAL record takes %d pages at most", PHNSW_WAL_PAGES);
	image = wal->images[wal->n++].data;
	entry->buffer = buffer;
	entry->mode = mode;
	if (mode != PHNSW_WAL_FRESH)
		check_header(wal->index, buffer);
	if (mode == PHNSW_WAL_PARTS)
	{
		memset(entry->copied, 0, sizeof(entry->copied));
#ifdef USE_ASSERT_CHECKING
		/* So that phnsw_wal_finish() notices a change outside the parts. */
		memcpy(image, BufferGetPage(buffer), BLCKSZ);
#endif
	}
	else
	{
		memset(entry->copied, 0xFF, sizeof(entry->copied));
		memcpy(image, BufferGetPage(buffer), BLCKSZ);
	}
	return image;
}

void *
phnsw_wal_part(PhnswWal *wal, void *at, Size bytes)
{
	Size		place = (char *) at - wal->images[0].data;
	WalPage    *entry = &wal->pages[place / BLCKSZ];
	char	   *image = wal->images[place / BLCKSZ].data;
	Page		page = BufferGetPage(entry->buffer);
	Size		first = place % BLCKSZ;

	Assert(place / BLCKSZ < wal->n && bytes > 0);
	if (first + bytes > ((PageHeader) page)->pd_lower && entry->mode != PHNSW_WAL_FRESH)
		phnsw_corrupt(wal->index, BufferGetBlockNumber(entry->buffer), first,
					  "a change behind the end of a page's content");
	for (uint32 block = first / PHNSW_DELTA_BLOCK; block <= (first + bytes - 1) / PHNSW_DELTA_BLOCK; block++)
	{
		if (is_copied(entry, block))
			continue;
		memcpy(image + block * PHNSW_DELTA_BLOCK, page + block * PHNSW_DELTA_BLOCK, PHNSW_DELTA_BLOCK);
		entry->copied[block / 64] |= UINT64CONST(1) << (block % 64);
	}
	return at;
}

/* Fills the delta of a page that is not FRESH. */
static void
compare(WalPage *entry, const char *page, const char *image)
{
	phnsw_delta_begin(&entry->delta);
	for (uint32 i = 0; i < lengthof(entry->copied); i++)
	{
		for (uint64 rest = entry->copied[i]; rest != 0; rest &= rest - 1)
			phnsw_delta_block(&entry->delta, page, image, i * 64 + pg_rightmost_one_pos64(rest));
	}
	phnsw_delta_end(&entry->delta, image);
#ifdef USE_ASSERT_CHECKING
	for (uint32 block = 0; block < PHNSW_DELTA_BLOCKS; block++)
		Assert(is_copied(entry, block) ||
			   memcmp(page + block * PHNSW_DELTA_BLOCK, image + block * PHNSW_DELTA_BLOCK, PHNSW_DELTA_BLOCK) == 0);
	Assert(memcmp(page, image, PHNSW_PAGE_HEADER) == 0);
#endif
}

/* Changes the page; REQUIRES: a critical section. */
static void
change(const WalPage *entry, const char *image)
{
	Page		page = BufferGetPage(entry->buffer);

	if (entry->mode == PHNSW_WAL_FRESH)
	{
		const PageHeaderData *header = (const PageHeaderData *) image;

		/* A full image is logged without the hole, and replayed with zeros there. */
		memcpy(page, image, header->pd_lower);
		memset((char *) page + header->pd_lower, 0, header->pd_upper - header->pd_lower);
		memcpy((char *) page + header->pd_upper, image + header->pd_upper, BLCKSZ - header->pd_upper);
	}
	else
		phnsw_delta_apply((char *) page, entry->delta.data, entry->delta.bytes);
	MarkBufferDirty(entry->buffer);
}

void
phnsw_wal_finish(PhnswWal *wal)
{
	bool		logged = RelationNeedsWAL(wal->index);
	bool		changed = false;
	XLogRecPtr	lsn;

	for (uint32 i = 0; i < wal->n; i++)
	{
		WalPage    *entry = &wal->pages[i];

		if (entry->mode != PHNSW_WAL_FRESH)
			compare(entry, BufferGetPage(entry->buffer), wal->images[i].data);
		changed |= entry->mode == PHNSW_WAL_FRESH || entry->delta.bytes > 0;
	}
	if (!changed)
		return;

	if (logged)
		XLogBeginInsert();
	START_CRIT_SECTION();
	for (uint32 i = 0; i < wal->n; i++)
	{
		WalPage    *entry = &wal->pages[i];
		bool		fresh = entry->mode == PHNSW_WAL_FRESH;

		change(entry, wal->images[i].data);
		if (!logged)
			continue;
		XLogRegisterBuffer(i, entry->buffer, REGBUF_STANDARD | (fresh ? REGBUF_FORCE_IMAGE : 0));
		if (!fresh && entry->delta.bytes > 0)
			XLogRegisterBufData(i, entry->delta.data, entry->delta.bytes);
	}
	if (logged)
	{
		lsn = XLogInsert(RM_GENERIC_ID, 0);
		for (uint32 i = 0; i < wal->n; i++)
			PageSetLSN(BufferGetPage(wal->pages[i].buffer), lsn);
	}
	END_CRIT_SECTION();
	if (logged)
		phnsw_test_point(PHNSW_POINT_RECORD);
}
