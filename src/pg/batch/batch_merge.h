/*
 * batch_merge.h
 *    What the end of a merge is written with: batch_merge_write.c (pages),
 *    batch_merge_single.c (node by node, row by row).
 */
#ifndef PHNSW_BATCH_MERGE_H
#define PHNSW_BATCH_MERGE_H

#include "batch/batch.h"

#include "miscadmin.h"

/* What becomes of a place. */
#define PHNSW_PLACE_LOST   0	/* nothing leads to it yet */
#define PHNSW_PLACE_LINKED 1	/* a list does */
#define PHNSW_PLACE_VOID   2	/* somebody else has taken its slot */

/*
 * Between two records.  A cancel waits for the last, since it would leave open which rows are in
 * the index; the end of the session need not: the rows are dead then, as after a crash here.  Of
 * an index that shared buffers do not hold each page is read.
 */
static inline void
phnsw_merge_end_if_told(void)
{
	if (likely(!ProcDiePending))
		return;
	RESUME_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
	HOLD_INTERRUPTS();
}

/* ---- batch_merge_write.c --------------------------------------------------------------------- */

/* The slot of a place, as a node of level 0, but for version and state. */
extern void phnsw_merge_fill_place(PhnswMerging *merging, uint32 place, phnsw_slot *slot);
/* The claim of the slot with that id, at the index of its place; NULL: no new node has it. */
extern PhnswClaim *phnsw_merge_claim_of(const PhnswMerging *merging, uint32 id);

/* ---- batch_merge_single.c -------------------------------------------------------------------- */

/*
 * New nodes that nothing leads to: others have filled, or vacuum has freed, all that was to.  Each
 * finds other links, in place of those by which it might have led to more of them.  Hence no search
 * tells whether one is lost: what it comes by may be such a list.
 */
extern void phnsw_merge_relink_nodes(PhnswMerging *merging);
/*
 * Nodes of higher levels get their upper lists when it is known what leads to them: such a node is found by descents
 * even if nothing on level 0 leads to it, and so would never be linked again.
 */
extern void phnsw_merge_raise_nodes(PhnswMerging *merging);
/* All rows, where there is nothing to link to: whatever was in the index is dead. */
extern void phnsw_merge_write_one_by_one(PhnswMerging *merging);
/* Rows that share a node, and rows whose slot somebody else has taken. */
extern void phnsw_merge_write_others(PhnswMerging *merging);

#endif							/* PHNSW_BATCH_MERGE_H */
