/*
 * check.c
 *    phnsw_check(index regclass, heap_check boolean, strict boolean): is the index what it should be?
 *
 * Every page of the file is read and compared with the place it has, every slot and aux record field by
 * field; then what several pages say together: each chain of aux records belongs to the node that names
 * it, no heap row is named twice, free records are on the free list, the entry point exists, and a walk
 * from there finds every live node.  With heap_check each visible row of the table is looked up and
 * encoded again, and no other visible row may be in the index.
 *
 * Not faults: a link to a node that is free or was reused (links are hints), DEAD nodes and aux records that
 * nobody refers to (a vacuum or insert was interrupted; the space comes back later, or with REINDEX:
 * vacuum/README.md), and live nodes that cannot be reached (a WARNING, since a crash within an insert leaves such
 * a node; an ERROR if the index has not changed since it was built, or with strict).
 *
 * Locks: ShareLock on the table, so that nobody writes meanwhile; during recovery, where that cannot be had,
 * AccessShareLock, and faults between pages count only if nothing was replayed meanwhile and recovery has not ended.
 * Pages are share-locked one at a time and copied.  Memory: 12 bytes per row and half a byte per node.
 */
#include "inspect/check.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "vacuum/vacuum.h"

PG_FUNCTION_INFO_V1(phnsw_check);

/* ---- opening --------------------------------------------------------------------------------- */

static void
reject_others(Relation rel)
{
	const char *name = RelationGetRelationName(rel);

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a partitioned index", name),
				 errhint("Name the indexes of its partitions, one by one; pg_partition_tree() lists them.")));
	if (rel->rd_rel->relkind != RELKIND_INDEX || rel->rd_indam == NULL || rel->rd_indam->ambuild != phnsw_ambuild)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a phnsw index", name)));
	if (RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot read the temporary index \"%s\" of another session", name)));
	if (!rel->rd_index->indisvalid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is not valid", name),
				 errhint("Its CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY failed or is still running.")));
	if (!RelationNeedsWAL(rel) && RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" is unlogged and not here during recovery", name)));
}

Relation
phnsw_open_to_read(Oid relid, LOCKMODE mode, Relation *heap)
{
	Oid			heapid = IndexGetRelation(relid, true);
	Relation	index;

	/* The table first, as everybody does. */
	*heap = OidIsValid(heapid) ? table_open(heapid, mode) : NULL;
	index = relation_open(relid, AccessShareLock);
	reject_others(index);
	if (*heap == NULL || IndexGetRelation(relid, false) != heapid)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("could not open the table of index \"%s\"", RelationGetRelationName(index))));
	return index;
}

/*
 * Has nobody written to the index since the check began?  A record counts as soon as its
 * replay begins, since it may have been applied before it is counted as replayed.  Recovery
 * is asked about last: while it lasts, replay alone writes.
 */
static bool
is_undisturbed(const PhnswCheck *check)
{
	return check->locked || (GetCurrentReplayRecPtr(NULL) == check->replayed && RecoveryInProgress());
}

void
phnsw_check_fault(const PhnswCheck *check, BlockNumber block, uint32 offset, const char *what)
{
	if (is_undisturbed(check))
		phnsw_corrupt(check->index, block, offset, what);
}

/* ---- pages ----------------------------------------------------------------------------------- */

/* Header and special space, as page.c writes them. */
static void
check_identity(const PhnswCheck *check, BlockNumber block, phnsw_page_kind kind, uint32 count_min, uint32 count_max)
{
	const PageHeader header = (PageHeader) check->page;
	const phnsw_opaque *opaque = phnsw_page_opaque(check->page);

	phnsw_page_check(check->index, block, check->page, kind);
	if (opaque->count < count_min || opaque->count > count_max)
		phnsw_corrupt(check->index, block, 0, "a page does not hold as many entries as it should");
	if (header->pd_lower != PHNSW_PAGE_HEADER + phnsw_page_content_bytes(&check->pi->meta, kind, opaque->count) ||
		header->pd_upper != BLCKSZ - PHNSW_PAGE_SPECIAL || header->pd_special != BLCKSZ - PHNSW_PAGE_SPECIAL)
		phnsw_corrupt(check->index, block, 0, "a page header does not fit the content");
}

static void
check_slot(PhnswCheck *check, BlockNumber block, uint32 place, uint32 id)
{
	const phnsw_slot *slot = phnsw_page_slot(check->pi, check->page, place);
	const char *what = "";

	if (!phnsw_slot_validate(&check->pi->meta, id, slot, &what))
	{
		/* On a standby the index may have grown since its size was read. */
		phnsw_index_refresh(check->index, check->pi);
		if (!phnsw_slot_validate(&check->pi->meta, id, slot, &what))
			phnsw_corrupt(check->index, block, place, what);
	}
	check->pristine &= slot->version == 0;
	if (slot->state == PHNSW_SLOT_FREE)
		return;
	if (!phnsw_codec_validate(check->pi->codec, slot, &what))
		phnsw_corrupt(check->index, block, place, what);
	if (slot->state == PHNSW_SLOT_LIVE)
	{
		phnsw_bit_set(check->live, id);
		check->live_nodes++;
		if (slot->tid.offset != 0)
			phnsw_check_add_entry(check, &slot->tid, id);
	}
	else
		check->dead_nodes++;
	phnsw_check_chains(check, block, place, id, slot);
}

static void
check_node_page(PhnswCheck *check, BlockNumber block, uint32 first)
{
	uint32		n = Min(check->pi->slots_per_page, check->limit - first);

	check_identity(check, block, PHNSW_PAGE_NODE, n, check->pi->slots_per_page);
	for (uint32 i = 0; i < n; i++)
		check_slot(check, block, i, first + i);
}

/* A block that is reserved at most: nothing has been written there, unless by a bulk insert that failed. */
static void
check_unused(const PhnswCheck *check, BlockNumber block)
{
	if (!PageIsNew((Page) check->page) && (PageGetSpecialSize((Page) check->page) != PHNSW_PAGE_SPECIAL ||
										   phnsw_page_opaque(check->page)->page_id != PHNSW_PAGE_ID))
		phnsw_check_fault(check, block, 0, "a page beyond those in use is not empty");
}

static void
check_block(PhnswCheck *check, BlockNumber block, Buffer buffer)
{
	const phnsw_meta *meta = &check->pi->meta;
	uint32		first;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(check->page, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);

	if (block == 0)
	{
		const char *what = "";

		check_identity(check, block, PHNSW_PAGE_META, 0, 0);
		if (!phnsw_meta_validate(phnsw_page_meta(check->page), RelationGetNumberOfBlocks(check->index), &what))
			phnsw_corrupt(check->index, block, 0, what);
		/* The backend's copy need not know: the free list is not for caches, so its changes are not announced. */
		check->free_list = phnsw_page_meta(check->page)->aux_free;
	}
	else if (meta->centre_block != 0 && block - meta->centre_block < meta->centre_pages)
	{
		uint32		done = (block - meta->centre_block) * PHNSW_CENTRE_FLOATS;
		uint32		count = Min(meta->codec.space_dims - done, (uint32) PHNSW_CENTRE_FLOATS);

		check_identity(check, block, PHNSW_PAGE_CENTRE, count, count);
	}
	else if ((first = phnsw_first_id(&meta->nodes, check->pi->slots_per_page, block)) < check->limit)
		check_node_page(check, block, first);
	else if ((first = phnsw_first_id(&meta->aux, check->pi->aux_per_page, block)) < check->aux_limit)
	{
		check_identity(check, block, PHNSW_PAGE_AUX, Min(check->pi->aux_per_page, check->aux_limit - first),
					   check->pi->aux_per_page);
		phnsw_check_aux_page(check, block, first);
	}
	else
		check_unused(check, block);
}

/* ---- the graph ------------------------------------------------------------------------------- */

static void
check_entry_point(PhnswCheck *check)
{
	const phnsw_meta *meta = &check->pi->meta;
	phnsw_slot *slot = palloc(check->pi->slot_bytes);

	if (meta->entry != PHNSW_NONE)
	{
		phnsw_touch_copy(check->index, check->pi, &meta->entry, 1, (char *) slot);
		if (slot->state == PHNSW_SLOT_FREE || slot->version != meta->entry_version)
			phnsw_check_fault(check, 0, meta->entry, "the entry point is no node");
		else if (slot->level != meta->entry_level)
			phnsw_check_fault(check, 0, meta->entry, "the entry point is on another level than the meta page says");
	}
	pfree(slot);
}

static void
check_reach(PhnswCheck *check, bool strict)
{
	const phnsw_meta *meta = &check->pi->meta;
	PhnswReach	reach;
	uint64		lost = 0;
	uint32		first_lost = 0;
	uint32		place;
	BlockNumber block;
	bool		fresh = check->pristine && check->dead_nodes == 0 && check->live_nodes == meta->built_nodes;

	phnsw_reach_init(&reach, check->limit, NULL, 0);
	if (meta->entry != PHNSW_NONE)
		phnsw_reach_from(check->index, check->pi, &reach, meta->entry);
	for (uint32 id = 0; id < check->limit; id++)
	{
		if (phnsw_bit(check->live, id) && !phnsw_bit(reach.reached, id) && lost++ == 0)
			first_lost = id;
	}
	if (lost == 0 || !is_undisturbed(check))
		return;
	block = phnsw_node_block(check->index, check->pi, first_lost, &place);
	ereport(strict || fresh ? ERROR : WARNING,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\": " UINT64_FORMAT " of " UINT64_FORMAT " nodes cannot be reached from the entry point",
					RelationGetRelationName(check->index), lost, check->live_nodes),
			 errdetail("The first is at block %u, offset %u.", block, place),
			 errhint("Searches miss their rows.  A VACUUM that removes rows links them again; so does REINDEX.")));
}

/* ---- SQL ------------------------------------------------------------------------------------- */

Datum
phnsw_check(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	bool		heap_check = PG_GETARG_BOOL(1);
	bool		strict = PG_GETARG_BOOL(2);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw_check", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PhnswCheck *check = palloc0(sizeof(PhnswCheck));
	PhnswPassRange range = {0};
	PhnswPass  *pass;
	Buffer		buffer;

	check->locked = !RecoveryInProgress();
	check->index = phnsw_open_to_read(relid, check->locked ? ShareLock : AccessShareLock, &check->heap);
	check->replayed = check->locked ? InvalidXLogRecPtr : GetXLogReplayRecPtr(NULL);
	phnsw_batch_flush(check->index);
	check->pi = phnsw_index_open(check->index);

	check->strategy = GetAccessStrategy(BAS_BULKREAD);
	check->limit = check->pi->meta.nodes.limit;
	check->aux_limit = check->pi->meta.aux.limit;
	check->page = palloc(BLCKSZ);
	check->aux = palloc(check->pi->aux_bytes);
	check->live = phnsw_bits_make(check->limit);
	check->aux_used = phnsw_bits_make(check->aux_limit);
	check->pristine = true;

	range.end = RelationGetNumberOfBlocks(check->index);
	pass = phnsw_pass_begin(check->index, check->strategy, phnsw_pass_range, &range);
	while ((buffer = phnsw_pass_next(pass)) != InvalidBuffer)
	{
		CHECK_FOR_INTERRUPTS();
		check_block(check, BufferGetBlockNumber(buffer), buffer);
	}
	phnsw_pass_end(pass);
	phnsw_test_point(PHNSW_POINT_CHECK_READ);
	phnsw_check_free_list(check);
	phnsw_check_entries(check);
	check_entry_point(check);
	check_reach(check, strict);
	if (heap_check)
		phnsw_check_heap(check);

	FreeAccessStrategy(check->strategy);
	relation_close(check->index, AccessShareLock);
	table_close(check->heap, check->locked ? ShareLock : AccessShareLock);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	PG_RETURN_VOID();
}
