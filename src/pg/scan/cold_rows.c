/*
 * cold_rows.c
 *    Pages of the table are asked of the disk before they are waited for: those of the rows to come.
 *
 * As search/cold.c does it for blocks of the index.  In memory none of this runs.
 */
#include "scan/scan.h"

#include "catalog/pg_am_d.h"
#include "utils/spccache.h"

/* Rows whose pages are asked for before the first is returned: those that a query for ten reads, and a few. */
#define PHNSW_ASK_FIRST 14
/* Later: as many as have been returned, within these; again when half of them have been returned. */
#define PHNSW_ASK_LEAST 16
#define PHNSW_ASK_MOST  32

bool
phnsw_rows_cold(const PhnswScan *so)
{
	/* The TIDs of another kind of table need not name blocks. */
	return so->pi->cold_rows > 0 && so->heap->rd_rel->relam == HEAP_TABLE_AM_OID &&
		get_tablespace_io_concurrency(so->heap->rd_rel->reltablespace) > 0;
}

/* The pages of the nearest hits, n <= PHNSW_ASK_MOST, that have not been asked for in this scan. */
static void
ask_for_nearest(PhnswScan *so, uint32 n)
{
	const PhnswHit *nearest[PHNSW_ASK_MOST];

	n = phnsw_hits_nearest(so, nearest, n);
	for (uint32 i = 0; i < n; i++)
	{
		ItemPointerData tid;
		BlockNumber block;

		memcpy(&tid, &nearest[i]->tid, sizeof(tid));
		block = ItemPointerGetBlockNumber(&tid);
		if (BlockNumberIsValid(block) && !phnsw_asked(so->asked, PHNSW_ASKED_ROWS, block))
			PrefetchBuffer(so->heap, MAIN_FORKNUM, block);
	}
}

void
phnsw_ask_for_candidates(PhnswScan *so, const phnsw_candidate *candidates, uint32 n)
{
	Assert(so->n_hits == 0);
	phnsw_look_at(so, candidates, n);
	ask_for_nearest(so, n);
	so->n_hits = 0;
}

void
phnsw_ask_for_rows(PhnswScan *so)
{
	uint32		n = PHNSW_ASK_FIRST;

	if (so->returned < so->ask_at || !phnsw_rows_cold(so))
		return;
	if (so->returned < PHNSW_ASK_FIRST)
		so->ask_at = PHNSW_ASK_FIRST;
	else
	{
		n = (uint32) Min(Max(so->returned, PHNSW_ASK_LEAST), PHNSW_ASK_MOST);
		so->ask_at = so->returned + n / 2;
	}
	ask_for_nearest(so, n);
}
