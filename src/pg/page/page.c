/*
 * page.c
 *    Pages: headers, identity, and the arithmetic from ids to places.
 *
 * Nothing here takes a lock or writes WAL.  Whatever comes from disk is validated; a fault is ERRCODE_INDEX_CORRUPTED
 * that names block and offset.
 */
#include "phnsw.h"

void
phnsw_corrupt(Relation index, BlockNumber block, uint32 offset, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" is corrupted at block %u, offset %u: %s", RelationGetRelationName(index), block,
					offset, what),
			 errhint("REINDEX the index; its table is not affected.")));
}

void
phnsw_page_init(Page page, phnsw_page_kind kind, uint16 count, Size content)
{
	phnsw_opaque *opaque;

	Assert(content <= PHNSW_PAGE_CONTENT);
	PageInit(page, BLCKSZ, PHNSW_PAGE_SPECIAL);
	((PageHeader) page)->pd_lower = PHNSW_PAGE_HEADER + content;

	opaque = phnsw_page_opaque(page);
	opaque->kind = kind;
	opaque->count = count;
	opaque->unused = 0;
	opaque->page_id = PHNSW_PAGE_ID;
}

Size
phnsw_page_content_bytes(const phnsw_meta *meta, phnsw_page_kind kind, uint16 count)
{
	switch (kind)
	{
		case PHNSW_PAGE_META:
			return sizeof(phnsw_meta);
		case PHNSW_PAGE_CENTRE:
			return count * sizeof(float);
		case PHNSW_PAGE_NODE:
			return (Size) count * meta->slot_bytes;
		case PHNSW_PAGE_AUX:
			return (Size) count * meta->aux_bytes;
	}
	elog(ERROR, "unknown phnsw page kind %d", (int) kind);
}

void
phnsw_page_finish(Page page, const phnsw_meta *meta)
{
	PageHeader	header = (PageHeader) page;
	phnsw_opaque *opaque = phnsw_page_opaque(page);

	memset(header, 0, PHNSW_PAGE_HEADER);
	header->pd_lower = PHNSW_PAGE_HEADER + phnsw_page_content_bytes(meta, opaque->kind, opaque->count);
	header->pd_upper = BLCKSZ - PHNSW_PAGE_SPECIAL;
	header->pd_special = BLCKSZ - PHNSW_PAGE_SPECIAL;
	PageSetPageSizeAndVersion(page, BLCKSZ, PG_PAGE_LAYOUT_VERSION);
}

void
phnsw_page_check(Relation index, BlockNumber block, Page page, phnsw_page_kind kind)
{
	const phnsw_opaque *opaque = phnsw_page_opaque(page);

	if (PageIsNew(page))
		phnsw_corrupt(index, block, 0, "a page in use was never initialised");
	if (PageGetSpecialSize(page) != PHNSW_PAGE_SPECIAL || opaque->page_id != PHNSW_PAGE_ID)
		phnsw_corrupt(index, block, 0, "a page is not a phnsw page");
	if (opaque->kind != kind)
		phnsw_corrupt(index, block, 0, "a page is of another kind than its place says");
}

/* Where an id lives; one refresh of the meta page when the backend's copy does not know it yet. */
static BlockNumber
locate(Relation index, PhnswIndex *pi, bool node, uint32 id, uint32 *place)
{
	const phnsw_space *space = node ? &pi->meta.nodes : &pi->meta.aux;
	uint32		per_page = node ? pi->slots_per_page : pi->aux_per_page;
	BlockNumber block = 0;

	if (id >= space->limit)
		phnsw_index_refresh(index, pi);
	if (id < space->limit)
		block = phnsw_locate(space, per_page, id, place);
	if (block == 0)
		phnsw_corrupt(index, 0, id,
					  node ? "a node id beyond the end of the index" : "an aux id beyond the end of the index");
	return block;
}

BlockNumber
phnsw_new_node_block(Relation index, PhnswIndex *pi, uint32 id, uint32 *slot_index)
{
	return locate(index, pi, true, id, slot_index);
}

BlockNumber
phnsw_aux_block(Relation index, PhnswIndex *pi, uint32 id, uint32 *aux_index)
{
	return locate(index, pi, false, id, aux_index);
}

uint32
phnsw_first_id(const phnsw_space *space, uint32 per_page, BlockNumber block)
{
	for (uint32 i = 0; i < space->extents; i++)
	{
		const phnsw_extent *extent = &space->extent[i];

		if (block >= extent->first_block && block - extent->first_block < extent->pages)
		{
			uint32		id = extent->first_id + (block - extent->first_block) * per_page;

			return id < space->limit ? id : PHNSW_NONE;
		}
	}
	return PHNSW_NONE;
}
