/*
 * check_heap.c
 *    The part of phnsw_check that concerns heap rows: each is named once, and
 *    with the code of its vector, and no others are.
 *
 * The table is read as CREATE INDEX CONCURRENTLY reads it, with an MVCC snapshot, so that partial and expression
 * indexes are evaluated and members of a HOT chain come with the TID of their root.  Entries without a visible row
 * are dead rows that vacuum has not removed yet, or rows that the snapshot does not see.  An entry that leads to a
 * visible row, as a scan of the index would follow it, must have met that row in the table's scan: one without a
 * vector (NULL, zero under cosine) or outside the predicate has none.
 */
#include "inspect/check.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "types/type_vector.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Rounding that another machine's encoding may differ by. */
#define SAME_CODE_TOLERANCE 1.001

static int
compare_entries(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) &((const PhnswEntry *) a)->tid,
							  (ItemPointer) &((const PhnswEntry *) b)->tid);
}

void
phnsw_check_entries(PhnswCheck *check)
{
	if (check->entries_n == 0)
		return;
	pg_qsort(check->entries, check->entries_n, sizeof(PhnswEntry), compare_entries);
	for (uint64 i = 1; i < check->entries_n; i++)
	{
		if (compare_entries(&check->entries[i - 1], &check->entries[i]) == 0)
		{
			uint32		place;
			BlockNumber block = phnsw_node_block(check->index, check->pi, check->entries[i].node, &place);

			phnsw_check_fault(check, block, place, "a heap row is in the index twice");
			return;
		}
	}
}

typedef struct HeapCheck
{
	PhnswCheck *check;
	MemoryContext row_context;
	phnsw_slot *expected;		/* the code that the row's vector gives */
	phnsw_slot *found;
	bool		ended;			/* a fault that only replay explains: look no further */
} HeapCheck;

/* Replay goes on between the reading of pages and that of rows, so faults here are such that several pages show. */
static void
row_fault(HeapCheck *state, ItemPointer tid, uint32 node, const char *what)
{
	PhnswCheck *check = state->check;
	uint32		place = 0;
	BlockNumber block = 0;
	char		text[256];

	if (node != PHNSW_NONE)
		block = phnsw_node_block(check->index, check->pi, node, &place);
	snprintf(text, sizeof(text), "%s (row (%u,%u) of the table)", what, ItemPointerGetBlockNumber(tid),
			 ItemPointerGetOffsetNumber(tid));
	phnsw_check_fault(check, block, place, text);
	state->ended = true;
}

/*
 * Encoding the same vector gives the same code, and the node's residual covers it.  Codes made by other instructions
 * may differ by rounding: then both are as near to the vector as their residuals say.
 */
static const char *
compare_codes(const HeapCheck *state)
{
	const phnsw_codec *codec = state->check->pi->codec;
	double		residuals = (double) state->found->head.residual + state->expected->head.residual;

	if (!phnsw_codec_equal(codec, state->found, state->expected) &&
		!(sqrt(phnsw_codec_distance(codec, state->found, state->expected)) <= residuals * SAME_CODE_TOLERANCE))
		return "a node's code is not that of its row";
	if (!(state->found->head.residual * SAME_CODE_TOLERANCE >= state->expected->head.residual))
		return "a node's residual is less than that of its row";
	return NULL;
}

static void
check_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	HeapCheck  *state = arg;
	PhnswCheck *check = state->check;
	MemoryContext caller = MemoryContextSwitchTo(state->row_context);
	PhnswEntry	key;
	PhnswEntry *entry;
	PhnswCoordinates vector;
	const char *what;
	phnsw_status status;
	phnsw_error error;

	MemoryContextReset(state->row_context);
	CHECK_FOR_INTERRUPTS();
	if (isnull[0] || state->ended)
		goto done;
	phnsw_coordinates_open(check->pi->element, values[0], &vector);
	if (vector.dims != check->pi->meta.codec.dims)
	{
		row_fault(state, tid, PHNSW_NONE, "the index is for vectors of another dimension");
		goto done;
	}
	status = phnsw_codec_encode(check->pi->codec, vector.x, state->expected, &error);
	if (status == PHNSW_NOT_INDEXED)
		goto done;
	phnsw_ensure(status, &error);

	memcpy(&key.tid, tid, sizeof(phnsw_tid));
	entry = check->entries_n == 0 ? NULL :
		bsearch(&key, check->entries, check->entries_n, sizeof(PhnswEntry), compare_entries);
	if (entry == NULL)
	{
		row_fault(state, tid, PHNSW_NONE, "a row is missing");
		goto done;
	}
	entry->met = true;
	phnsw_touch_copy(check->index, check->pi, &entry->node, 1, (char *) state->found);
	what = compare_codes(state);
	if (what != NULL)
		row_fault(state, tid, entry->node, what);
done:
	MemoryContextSwitchTo(caller);
}

static void
check_surplus(HeapCheck *state, Snapshot snapshot)
{
	PhnswCheck *check = state->check;
	BlockNumber blocks = RelationGetNumberOfBlocks(check->heap);
	IndexFetchTableData *fetch = table_index_fetch_begin(check->heap);
	TupleTableSlot *slot = table_slot_create(check->heap, NULL);

	for (uint64 i = 0; i < check->entries_n && !state->ended; i++)
	{
		const PhnswEntry *entry = &check->entries[i];
		ItemPointerData tid;
		bool		call_again = false;

		CHECK_FOR_INTERRUPTS();
		if (entry->met)
			continue;
		memcpy(&tid, &entry->tid, sizeof(tid));
		if (ItemPointerGetBlockNumberNoCheck(&tid) >= blocks)
			row_fault(state, (ItemPointer) &entry->tid, entry->node, "an entry leads beyond the end of the table");
		else if (table_index_fetch_tuple(fetch, &tid, snapshot, slot, &call_again, NULL))
			row_fault(state, (ItemPointer) &entry->tid, entry->node,
					  "an entry leads to a row that does not belong in the index");
	}
	ExecDropSingleTupleTableSlot(slot);
	table_index_fetch_end(fetch);
}

void
phnsw_check_heap(PhnswCheck *check)
{
	IndexInfo  *info = BuildIndexInfo(check->index);
	Snapshot	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	HeapCheck	state = {.check = check};
	TableScanDesc scan;

	/* Rows that an old snapshot sees may have been updated in ways that a younger index does not reflect. */
	if (IsolationUsesXactSnapshot() && check->index->rd_index->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(check->index->rd_indextuple->t_data), snapshot->xmin))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("index \"%s\" cannot be compared with its table in this transaction's snapshot",
						RelationGetRelationName(check->index))));

	state.row_context = AllocSetContextCreate(CurrentMemoryContext, "phnsw_check row", ALLOCSET_DEFAULT_SIZES);
	state.expected = palloc0(check->pi->slot_bytes);
	state.found = palloc0(check->pi->slot_bytes);
	scan = table_beginscan_strat(check->heap, snapshot, 0, NULL, true, true);
	/* As a concurrent build does, so that the scan keeps to the snapshot. */
	info->ii_Concurrent = true;
	table_index_build_scan(check->heap, check->index, info, true, false, check_row, &state, scan);
	check_surplus(&state, snapshot);
	UnregisterSnapshot(snapshot);
}
