/*
 * build_wal.c
 *    What the WAL of a build costs beside its bytes, off the way of the backend that logs the pages.
 *
 * Segments.  Where no checkpoint has left old ones to be used again, every segment of WAL begins as a file of
 * zeros that is written and synced by whoever comes to it first: a third of the time of writing an index.
 * While the team computes the graph, this thread has nothing to do and knows how much it is going to log, so it
 * makes the segments then, with PostgreSQL's own function and as the checkpointer would: a segment that exists
 * already is left alone, one that is not needed after all waits for the WAL to come.  Only as many as may be
 * filled before the next checkpoint (half of max_wal_size from its redo pointer), and none where the server is
 * told not to care (wal_init_zero, wal_recycle: file systems that never write in place).  A full disk is an
 * ordinary error here; while a record is inserted it would be a PANIC.
 *
 * Writing.  A backend that logs much fills the WAL buffers and then writes them out page by page, to
 * make room for its next record, and syncs what is left at commit.  The WAL writer does that
 * meanwhile, in large pieces, if it is told that there is something.
 */
#include "build/build.h"

#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"

/* Making a larger one takes too long for a cancel to wait. */
#define PHNSW_SEGMENT_MAX (64 * 1024 * 1024)

/* Until the number of nodes is known, which takes a few milliseconds. */
#define PHNSW_POINTS_MS 5

/* About as much as the pages will be: all nodes on level 0, and a thirtieth for the levels above. */
static uint64
phnsw_wal_bytes(const PhnswBuild *build)
{
	const phnsw_build_params *params = &build->params;
	phnsw_error error = {0};
	phnsw_codec_params codec;
	uint64		pages;

	phnsw_ensure(phnsw_codec_choose(params->metric, params->dims, params->m, params->seed, &codec, &error), &error);
	pages = build->points / (PHNSW_PAGE_CONTENT / phnsw_slot_bytes(codec.code_dims, codec.bits, params->m)) + 1;
	return (pages + pages / 32) * BLCKSZ;
}

uint32
phnsw_build_wal_ahead(PhnswBuild *build)
{
	XLogRecPtr	insert;
	XLogSegNo	now;
	XLogSegNo	last;
	XLogSegNo	most;

	if (build->trial != NULL || !RelationNeedsWAL(build->index) || !wal_init_zero || !wal_recycle ||
		wal_segment_size > PHNSW_SEGMENT_MAX)
		return PHNSW_POLL_MS;
	if (build->points == 0)
		return PHNSW_POINTS_MS;

	insert = GetXLogInsertRecPtr();
	XLByteToSeg(insert, now, wal_segment_size);
	XLByteToSeg(insert + phnsw_wal_bytes(build), last, wal_segment_size);
	XLByteToSeg(GetRedoRecPtr() + (uint64) max_wal_size_mb * (1024 * 1024 / 2), most, wal_segment_size);
	if (Max(build->wal_segment, now) >= Min(last, most))
		return PHNSW_POLL_MS;
	if (build->wal_segment < now)
	{
		/*
		 * It may stand in WAL buffers only: who writes them out must not find a disk
		 * that we have filled with those behind it.
		 */
		close(XLogFileInit(now, GetWALInsertionTimeLine()));
		build->wal_segment = now;
	}
	close(XLogFileInit(++build->wal_segment, GetWALInsertionTimeLine()));
	ereport(DEBUG1,
			(errmsg_internal("phnsw has seen to WAL segment " UINT64_FORMAT ", " UINT64_FORMAT " ahead of the WAL",
							 (uint64) build->wal_segment, (uint64) (build->wal_segment - now))));
	return 0;
}

void
phnsw_build_wal_nudge(void)
{
	XLogSetAsyncXactLSN(XactLastRecEnd);
}
