/*
 * ahead.c
 *    The rows of the next hits, on their way into the processor's caches before the executor asks for them.
 *
 * A row that is rechecked costs a chain of cache misses, each of which has to be waited for before the next one
 * is known: the buffer's descriptor, the line pointer, the tuple, the leaf of the TOAST index, the chunks' line
 * pointers, the chunks. The scan knows the next rows, so it walks the chains of several of them side by side,
 * step by step; what a step needs was asked for in the step before.
 *
 * Everything is read at a glance (glance.h), nothing is pinned, locked or read from disk, and nothing that is read
 * here is believed: whatever is wrong makes the executor wait as it would have anyway.  The chunks' places are left
 * with detoast.c, as hints.  The row that is returned next is another matter: its page is pinned, for the executor.
 */
#include "scan/scan.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_am_d.h"
#include "pgstat.h"
#include "search/glance.h"
#include "toast/detoast.h"
#include "toast/toast_tree.h"

/*
 * Rows that are looked at together: a query for ten reads a dozen or so, and those that it does not need are a waste.
 */
#define PHNSW_AHEAD_ROWS 8

/* Every so many pages are left to the heap's fetch, by which they count as used. */
#define PHNSW_ROW_USAGE_PERIOD 16

typedef struct Row
{
	ItemPointerData tid;
	Buffer		buffer;
	PhnswGlance glance;
	const HeapTupleHeaderData *tuple;
	bool		out_of_line;		/* its vector */
	PhnswAhead	look;
} Row;

/* A descriptor and the line pointer on its page. */
static inline void
ask_for_item(Buffer buffer, OffsetNumber offset)
{
	const char *page = BufferGetPage(buffer);

	phnsw_prefetch((const char *) GetBufferDescriptor(buffer - 1), 1);
	phnsw_prefetch(page, 1);
	phnsw_prefetch(page + SizeOfPageHeaderData + (offset - 1) * sizeof(ItemIdData), 1);
}

/* The bytes of an item, as far as they can be some; NULL: it has none. */
static inline const char *
item_bytes(const char *page, OffsetNumber offset, uint32 bytes_min, uint32 *bytes)
{
	ItemIdData	item;

	if (offset < FirstOffsetNumber || offset > MaxHeapTuplesPerPage)
		return NULL;
	memcpy(&item, page + SizeOfPageHeaderData + (offset - 1) * sizeof(ItemIdData), sizeof(item));
	__asm__ volatile("" : "+r" (item));
	if (item.lp_flags == LP_REDIRECT && item.lp_off >= FirstOffsetNumber && item.lp_off <= MaxHeapTuplesPerPage)
	{
		/* The root of a chain of versions, all of which have the same vector. */
		memcpy(&item, page + SizeOfPageHeaderData + (item.lp_off - 1) * sizeof(ItemIdData), sizeof(item));
		__asm__ volatile("" : "+r" (item));
	}
	if (item.lp_flags != LP_NORMAL || item.lp_off + bytes_min > BLCKSZ || item.lp_off % MAXIMUM_ALIGNOF != 0)
		return NULL;
	*bytes = Min(item.lp_len, BLCKSZ - item.lp_off);
	return page + item.lp_off;
}

/* The out-of-line vector in a tuple on the page, or NULL.  A walk over the attributes that stays inside the page. */
static const struct varlena *
find_vector(const Row *row, TupleDesc desc, AttrNumber number)
{
	const char *end = (const char *) row->glance.page + BLCKSZ;
	const HeapTupleHeaderData *tuple = row->tuple;
	const char *data = (const char *) tuple + tuple->t_hoff;
	bool		nulls = (tuple->t_infomask & HEAP_HASNULL) != 0;
	Size		at = 0;

	if (number > HeapTupleHeaderGetNatts(tuple) ||
		(nulls && (const char *) tuple->t_bits + BITMAPLEN(number) > end))
		return NULL;
	for (AttrNumber i = 1; i <= number; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i - 1);

		if (nulls && att_isnull(i - 1, tuple->t_bits))
		{
			if (i == number)
				return NULL;
			continue;
		}
		/* The longest length word and tag of a value out of line. */
		if (data + at + VARHDRSZ_EXTERNAL + sizeof(varatt_external) > end)
			return NULL;
		at = att_align_pointer(at, attribute->attalign, attribute->attlen, data + at);
		if (data + at + VARHDRSZ_EXTERNAL + sizeof(varatt_external) > end)
			return NULL;
		if (i == number)
			return VARATT_IS_EXTERNAL_ONDISK(data + at) ? (const struct varlena *) (data + at) : NULL;
		if (attribute->attlen == -1 && VARATT_IS_EXTERNAL(data + at) && !VARATT_IS_EXTERNAL_ONDISK(data + at))
			return NULL;		/* not a tuple any more: no other tag is on disk */
		else if (attribute->attlen == -1)
			at += VARSIZE_ANY(data + at);
		else if (attribute->attlen > 0)
			at += attribute->attlen;
		else
			return NULL;
	}
	return NULL;
}

/* The table's pages. */
static void
ask_for_pages(PhnswScan *so, Row *rows, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		BlockNumber block = ItemPointerGetBlockNumberNoCheck(&rows[i].tid);

		rows[i].buffer = phnsw_buffer_map_look(&so->pi->rows, block);
		if (rows[i].buffer == InvalidBuffer)
			rows[i].buffer = phnsw_buffer_map_find(&so->pi->rows, block);
		if (rows[i].buffer > InvalidBuffer)
			ask_for_item(rows[i].buffer, ItemPointerGetOffsetNumberNoCheck(&rows[i].tid));
	}
}

/* The tuples. */
static void
ask_for_tuples(PhnswScan *so, Row *rows, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		Row		   *row = &rows[i];
		BlockNumber block = ItemPointerGetBlockNumberNoCheck(&row->tid);
		uint32		bytes;

		row->tuple = NULL;
		if (!phnsw_glance_open(&row->glance, &so->pi->rows.file, row->buffer, block))
		{
			/* The map is out of date. */
			row->buffer = phnsw_buffer_map_find(&so->pi->rows, block);
			if (!phnsw_glance_open(&row->glance, &so->pi->rows.file, row->buffer, block))
				continue;
		}
		row->tuple = (const HeapTupleHeaderData *)
			item_bytes(row->glance.page, ItemPointerGetOffsetNumberNoCheck(&row->tid), SizeofHeapTupleHeader, &bytes);
		if (row->tuple != NULL)
			phnsw_prefetch((const char *) row->tuple, bytes);
	}
}

/* The leaves of the TOAST index. */
static void
ask_for_leaves(PhnswScan *so, Row *rows, uint32 n, AttrNumber number)
{
	for (uint32 i = 0; i < n; i++)
	{
		Row		   *row = &rows[i];
		const struct varlena *vector;
		varatt_external pointer;
		struct
		{
			varattrib_1b_e head;
			varatt_external pointer;
		}			copy;

		row->out_of_line = false;
		vector = row->tuple != NULL ? find_vector(row, RelationGetDescr(so->heap), number) : NULL;
		if (vector == NULL)
			continue;
		memcpy(&copy, vector, VARHDRSZ_EXTERNAL + sizeof(varatt_external));
		pg_read_barrier();

		/*
		 * The page may be compacted while it is looked at, and anything be taken for the
		 * vector: only its own TOAST table is opened.
		 */
		VARATT_EXTERNAL_GET_POINTER(pointer, &copy);
		row->out_of_line = phnsw_glance_holds(&row->glance) &&
			pointer.va_toastrelid == so->heap->rd_rel->reltoastrelid &&
			phnsw_ahead_leaf((const struct varlena *) &copy, &row->look);
	}
	for (uint32 i = 0; i < n; i++)
	{
		if (rows[i].out_of_line)
			phnsw_toast_ask_keys(&rows[i].look.source->tree, rows[i].look.leaf);
	}
}

/* The pages of vectors out of line. */
static void
ask_for_chunk_pages(Row *rows, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		PhnswAhead *look = &rows[i].look;

		if (!rows[i].out_of_line)
			continue;
		rows[i].out_of_line = phnsw_ahead_places(look);
		for (uint32 j = 0; rows[i].out_of_line && j < look->n; j++)
		{
			Buffer		buffer = phnsw_buffer_map_look(&look->source->table,
													   ItemPointerGetBlockNumberNoCheck(&look->places[j]));

			if (buffer > InvalidBuffer)
				ask_for_item(buffer, ItemPointerGetOffsetNumberNoCheck(&look->places[j]));
		}
	}
}

/* The chunks. */
static void
ask_for_chunks(Row *rows, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		const PhnswAhead *look = &rows[i].look;

		for (uint32 j = 0; rows[i].out_of_line && j < look->n; j++)
		{
			const ItemPointerData *place = &look->places[j];
			Buffer		buffer = phnsw_buffer_map_look(&look->source->table, ItemPointerGetBlockNumberNoCheck(place));
			const char *chunk;
			uint32		bytes;

			if (buffer <= InvalidBuffer)
				continue;
			chunk = item_bytes(BufferGetPage(buffer), ItemPointerGetOffsetNumberNoCheck(place), 1, &bytes);
			if (chunk != NULL)
				phnsw_prefetch(chunk, bytes);
		}
	}
}

uint32
phnsw_look_ahead_rows(PhnswScan *so)
{
	const PhnswHit *nearest[PHNSW_AHEAD_ROWS];
	Row			rows[PHNSW_AHEAD_ROWS];
	AttrNumber	number = so->index->rd_index->indkey.values[0];
	uint32		n;

	if (so->heap->rd_rel->relam != HEAP_TABLE_AM_OID || RelationUsesLocalBuffers(so->heap))
		return PHNSW_AHEAD_ROWS;
	n = phnsw_hits_nearest(so, nearest, PHNSW_AHEAD_ROWS);
	for (uint32 i = 0; i < n; i++)
		memcpy(&rows[i].tid, &nearest[i]->tid, sizeof(rows[i].tid));
	phnsw_buffer_map_set(&so->pi->rows, RelationGetRelid(so->heap), PhnswRelationFile(so->heap));
	ask_for_pages(so, rows, n);
	ask_for_tuples(so, rows, n);
	if (number > 0 && OidIsValid(so->heap->rd_rel->reltoastrelid))
	{
		ask_for_leaves(so, rows, n, number);
		ask_for_chunk_pages(rows, n);
		ask_for_chunks(rows, n);
	}
	return Max(n, 1);
}

/*
 * The heap's fetch keeps the page of the last row pinned, and reads another one by way of the
 * buffer table: a lock, and a chain of cache misses.  Here the page's buffer is known; the
 * fetch finds the page where it would have left it itself.
 */
void
phnsw_pin_row(PhnswScan *so, IndexScanDesc scan)
{
	static uint32 pins = 0;
	IndexFetchHeapData *fetch = (IndexFetchHeapData *) scan->xs_heapfetch;
	BlockNumber block = ItemPointerGetBlockNumber(&scan->xs_heaptid);
	Buffer		buffer;

	/* Under another access method `fetch` is something else. */
	if (fetch == NULL || so->heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		return;
	buffer = phnsw_buffer_map_look(&so->pi->rows, block);
	if (buffer <= InvalidBuffer || buffer == fetch->xs_cbuf || ++pins % PHNSW_ROW_USAGE_PERIOD == 0 ||
		!ReadRecentBuffer(PhnswRelationFile(so->heap), MAIN_FORKNUM, block, buffer))
		return;
	if (BufferIsValid(fetch->xs_cbuf))
		ReleaseBuffer(fetch->xs_cbuf);
	fetch->xs_cbuf = buffer;
	pgstat_count_buffer_read(so->heap);
	pgstat_count_buffer_hit(so->heap);
	heap_page_prune_opt(so->heap, buffer);
}
