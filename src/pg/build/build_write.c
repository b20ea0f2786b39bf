/*
 * build_write.c
 *    The end of a build: page images to the file and to the WAL.
 *
 * Pages go through smgr, past the shared buffers, in ascending order; the file is new and nobody else can see it.  Two
 * buffers: while this thread logs, checksums and writes one, the core's threads format the other.  In the time that
 * remains to them they calibrate; the meta page, which has the result, is written last.
 *
 * WAL.  Full page images in records of up to 32 pages, where the relation needs any (wal_level = minimal lets a file
 * created in the same transaction do without: PostgreSQL then syncs it at commit by itself).
 *
 * Durability.  Replay starts at a checkpoint's redo pointer, so whatever was logged before it must be on disk when
 * that checkpoint ends, but a checkpoint knows only of shared buffers and of files registered for sync.  The last
 * page of every segment is written with registration, after all others of the segment (of the first: the meta page).
 * If no checkpoint has begun since the first record, then the next one finds the registration and syncs the file, and
 * until it is complete replay covers all of our records.  If one has begun, it may have missed us: the file is synced
 * here and now.  So a build does not wait for the disk unless a checkpoint happened to begin during its last seconds.
 * (nbtree always syncs; PostgreSQL 17's bulk_write.c does it as here.)
 */
#include "build/build.h"

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "access/xlogrecord.h"
#include "miscadmin.h"
#include "storage/smgr.h"
#include "utils/memutils.h"

#define PHNSW_WRITE_PAGES 512	/* 4 MB a buffer */
#define PHNSW_WRITE_ALIGN 4096	/* for direct I/O */

typedef struct PhnswWriter
{
	/* immutable */
	Relation	index;
	ForkNumber	fork;
	BlockNumber blocks;			/* of the whole fork */
	const phnsw_meta *meta;
	bool		wal;
	bool		sync;			/* not temporary: must be on disk some day */
	XLogRecPtr	redo;			/* as of before the first record */

	BlockNumber blocks_in_file; /* phnsw_put_buffers() */
} PhnswWriter;

static void
phnsw_writer_begin(PhnswWriter *writer, Relation index, ForkNumber fork, BlockNumber blocks, const phnsw_meta *meta)
{
	writer->index = index;
	writer->fork = fork;
	writer->blocks = blocks;
	writer->meta = meta;
	/* An init fork is logged though its relation is not: it must exist after crash recovery. */
	writer->wal = RelationNeedsWAL(index) || fork == INIT_FORKNUM;
	writer->sync = index->rd_rel->relpersistence != RELPERSISTENCE_TEMP;
	writer->redo = GetRedoRecPtr();
}

/* Logs and writes consecutive pages that the core has filled. */
static void
phnsw_writer_put(PhnswWriter *writer, BlockNumber first, uint32 n, char *pages)
{
	BlockNumber blocks[XLR_MAX_BLOCK_ID];
	Page		batch[XLR_MAX_BLOCK_ID];

	for (uint32 begin = 0; begin < n; begin += XLR_MAX_BLOCK_ID)
	{
		uint32		count = Min(n - begin, XLR_MAX_BLOCK_ID);

		CHECK_FOR_INTERRUPTS();
		for (uint32 i = 0; i < count; i++)
		{
			blocks[i] = first + begin + i;
			batch[i] = pages + (Size) (begin + i) * BLCKSZ;
			phnsw_page_finish(batch[i], writer->meta);
		}
		if (writer->wal)
			log_newpages(&PhnswRelationFile(writer->index), writer->fork, count, blocks, batch, true);
		for (uint32 i = 0; i < count; i++)
		{
			bool		last = blocks[i] + 1 == writer->blocks || (blocks[i] + 1) % RELSEG_SIZE == 0;

			PageSetChecksumInplace(batch[i], blocks[i]);
			smgrextend(RelationGetSmgr(writer->index), writer->fork, blocks[i], batch[i], !(writer->sync && last));
		}
		if (writer->wal)
			phnsw_build_wal_nudge();
	}
}

static void
phnsw_writer_end(PhnswWriter *writer)
{
	if (writer->wal && GetRedoRecPtr() != writer->redo)
		smgrimmedsync(RelationGetSmgr(writer->index), writer->fork);
}

static char *
phnsw_aligned_pages(uint32 n)
{
	char	   *memory = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * BLCKSZ + PHNSW_WRITE_ALIGN);

	return (char *) TYPEALIGN(PHNSW_WRITE_ALIGN, memory);
}

/* The same; NULL: there is no memory, and a bulk insert can do without. */
static char *
phnsw_pages_to_format(PhnswBuild *build, uint32 n)
{
	char	   *memory;

	if (!build->replace)
		return phnsw_aligned_pages(n);
	memory = MemoryContextAllocExtended(CurrentMemoryContext, (Size) n * BLCKSZ + PHNSW_WRITE_ALIGN,
										MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	return memory == NULL ? NULL : (char *) TYPEALIGN(PHNSW_WRITE_ALIGN, memory);
}

/* false, here and below: refused. */
static bool
phnsw_format_begin(PhnswBuild *build, BlockNumber first, uint32 n, char *pages)
{
	phnsw_error error = {0};

	return phnsw_build_goes_on(build, phnsw_build_format_begin(*build->core, first, n, pages, &error), &error);
}

static bool
phnsw_format_finish(PhnswBuild *build)
{
	phnsw_error error = {0};
	phnsw_status status;

	while ((status = phnsw_build_format_wait(*build->core, PHNSW_POLL_MS, &error)) == PHNSW_RUNNING)
		CHECK_FOR_INTERRUPTS();
	return phnsw_build_goes_on(build, status, &error);
}

/* Takes formatted pages away. */
typedef void (*PhnswPageSink) (PhnswWriter *writer, BlockNumber first, uint32 n, char *pages);

/* Has the pages from block `first` on formatted, and puts them while the next ones are. */
static bool
phnsw_write_pages(PhnswBuild *build, const phnsw_build_result *result, PhnswWriter *writer, BlockNumber first,
				  PhnswPageSink put)
{
	BlockNumber blocks = result->total_blocks;
	uint32		n = Min(blocks - first, PHNSW_WRITE_PAGES);
	char	   *ready = phnsw_pages_to_format(build, PHNSW_WRITE_PAGES);
	char	   *next = phnsw_pages_to_format(build, PHNSW_WRITE_PAGES);

	build->refused = ready == NULL || next == NULL;
	if (build->refused || (n > 0 && !phnsw_format_begin(build, first, n, ready)))
		return false;
	while (first < blocks)
	{
		uint32		following = Min(blocks - first - n, PHNSW_WRITE_PAGES);
		char	   *swap = ready;

		if (!phnsw_format_finish(build) || (following > 0 && !phnsw_format_begin(build, first + n, following, next)))
			return false;
		put(writer, first, n, ready);

		first += n;
		n = following;
		ready = next;
		next = swap;
		phnsw_build_report(build, PHNSW_PHASE_WRITE, (uint64) result->nodes * first / blocks, result->nodes);
	}
	return true;
}

/* The place of block 0, whose content is known last. */
static void
phnsw_writer_hold(PhnswWriter *writer)
{
	char	   *page = phnsw_aligned_pages(1);

	memset(page, 0, BLCKSZ);
	smgrextend(RelationGetSmgr(writer->index), writer->fork, 0, page, true);
}

/* Block 0, which the core has when it has calibrated.  Its segment is registered for sync once more, after this. */
static void
phnsw_writer_put_meta(PhnswWriter *writer, PhnswBuild *build)
{
	char	   *page = phnsw_aligned_pages(1);
	Page		batch[1] = {page};
	BlockNumber block = 0;

	phnsw_format_begin(build, 0, 1, page);
	phnsw_format_finish(build);
	phnsw_page_finish(page, writer->meta);
	if (writer->wal)
		log_newpages(&PhnswRelationFile(writer->index), writer->fork, 1, &block, batch, true);
	PageSetChecksumInplace(page, 0);
	smgrwrite(RelationGetSmgr(writer->index), writer->fork, 0, page, !writer->sync);
}

void
phnsw_build_write(PhnswBuild *build, const phnsw_build_result *result)
{
	PhnswWriter writer;

	phnsw_writer_begin(&writer, build->index, MAIN_FORKNUM, result->total_blocks, &result->meta);
	phnsw_writer_hold(&writer);
	phnsw_write_pages(build, result, &writer, 1, phnsw_writer_put);
	phnsw_writer_put_meta(&writer, build);
	phnsw_writer_end(&writer);
}

/* ---- into an index in use -------------------------------------------------------------------- */

/*
 * Consecutive pages into shared buffers.  Each is logged before it can reach the disk, so that a crash leaves none half
 * written: blocks that a failed bulk insert leaves behind are used again, and read for that.
 */
static void
phnsw_put_buffers(PhnswWriter *writer, BlockNumber first, uint32 n, char *pages)
{
	for (BlockNumber block = first; block < first + n; block++)
	{
		char	   *image = pages + (Size) (block - first) * BLCKSZ;
		bool		extend = block >= writer->blocks_in_file;
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		phnsw_page_finish(image, writer->meta);
		buffer = ReadBufferExtended(writer->index, MAIN_FORKNUM, extend ? P_NEW : block, RBM_ZERO_AND_LOCK, NULL);
		if (BufferGetBlockNumber(buffer) != block)
			elog(ERROR, "block %u of index \"%s\" is not where it was expected", block,
				 RelationGetRelationName(writer->index));

		START_CRIT_SECTION();
		memcpy(BufferGetPage(buffer), image, BLCKSZ);
		MarkBufferDirty(buffer);
		if (writer->wal)
			log_newpage_buffer(buffer, true);
		END_CRIT_SECTION();
		if (writer->wal)
			phnsw_test_point(PHNSW_POINT_RECORD);

		UnlockReleaseBuffer(buffer);
		if (writer->wal && (block - first) % XLR_MAX_BLOCK_ID == 0)
			phnsw_build_wal_nudge();
		if (extend)
			writer->blocks_in_file = block + 1;
	}
}

/*
 * Readers see an empty index meanwhile, to which no page but the first belongs.  So all other pages are written and
 * logged first; the meta page makes them the index, in one record.  The caller keeps other writers out.
 */
void
phnsw_build_write_over(PhnswBuild *build, const phnsw_build_result *result)
{
	Relation	index = build->index;
	PhnswWriter writer;
	PhnswWal   *wal;
	Buffer		buffer;
	Page		page;

	phnsw_writer_begin(&writer, index, MAIN_FORKNUM, result->total_blocks, &result->meta);
	writer.blocks_in_file = RelationGetNumberOfBlocks(index);
	if (!phnsw_write_pages(build, result, &writer, 1, phnsw_put_buffers))
		return;

	buffer = phnsw_lock_meta(index);
	wal = phnsw_wal_start(index);
	page = phnsw_wal_register(wal, buffer, PHNSW_WAL_FRESH);
	*phnsw_page_meta(page) = result->meta;
	phnsw_wal_finish(wal);
	*build->written = build->rows;
	UnlockReleaseBuffer(buffer);
}

void
phnsw_build_write_empty(Relation index, ForkNumber fork, const phnsw_meta *meta)
{
	PhnswWriter writer;
	char	   *page = phnsw_aligned_pages(1);

	memset(page, 0, BLCKSZ);
	phnsw_page_init(page, PHNSW_PAGE_META, 0, sizeof(phnsw_meta));
	memcpy(phnsw_page_meta(page), meta, sizeof(phnsw_meta));
	phnsw_writer_begin(&writer, index, fork, 1, meta);
	phnsw_writer_put(&writer, 0, 1, page);
	phnsw_writer_end(&writer);
}
