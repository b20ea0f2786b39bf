/*
 * inspect.c
 *    phnsw_index_info(index regclass): what an index consists of, in one row.
 *
 * Reads every page in use once, under share locks and one at a time, so that nobody is held up.
 * While others write, the counts are those of slightly different moments.  Faults are
 * phnsw_check's business; here only the page's identity is looked at.
 */
#include "inspect/check.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(phnsw_index_info);

typedef struct Counts
{
	uint64		live;
	uint64		rowless;		/* of them, whose rows scans have taken out */
	uint64		dead;
	uint64		free;
	uint64		rows;
	uint64		links;			/* of live nodes on level 0 */
	uint64		nodes[PHNSW_LEVEL_MAX + 1]; /* live ones, by their highest level */
	uint64		aux_used;
	uint64		aux_free;
	BlockNumber node_pages;
	BlockNumber aux_pages;
} Counts;

static void
count_slots(const PhnswIndex *pi, Page page, uint32 n, Counts *counts)
{
	for (uint32 i = 0; i < n; i++)
	{
		const phnsw_slot *slot = phnsw_page_slot(pi, page, i);

		if (slot->state == PHNSW_SLOT_FREE)
			counts->free++;
		else if (slot->state == PHNSW_SLOT_DEAD)
			counts->dead++;
		else
		{
			counts->live++;
			counts->links += slot->count;
			counts->rows += slot->tid.offset != 0;
			counts->rowless += slot->tid.offset == 0 && slot->tids == PHNSW_NONE;
			counts->nodes[Min(slot->level, PHNSW_LEVEL_MAX)]++;
		}
	}
}

static void
count_records(const PhnswIndex *pi, Page page, uint32 n, Counts *counts)
{
	for (uint32 i = 0; i < n; i++)
	{
		const phnsw_aux *aux = phnsw_page_aux(pi, page, i);

		if (aux->kind == PHNSW_AUX_FREE)
			counts->aux_free++;
		else
		{
			counts->aux_used++;
			if (aux->kind == PHNSW_AUX_TIDS)
				counts->rows += aux->count;
		}
	}
}

static void
count_pages(Relation index, PhnswIndex *pi, phnsw_page_kind kind, Counts *counts)
{
	const phnsw_space *space = kind == PHNSW_PAGE_NODE ? &pi->meta.nodes : &pi->meta.aux;
	uint32		per_page = kind == PHNSW_PAGE_NODE ? pi->slots_per_page : pi->aux_per_page;
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	PhnswPassPages pages = {.space = space, .per_page = per_page, .limit = space->limit};
	PhnswPass  *pass = phnsw_pass_begin(index, strategy, phnsw_pass_pages, &pages);
	Buffer		buffer;

	for (uint32 first = 0; (buffer = phnsw_pass_next(pass)) != InvalidBuffer; first += per_page)
	{
		uint32		n = Min(per_page, pages.limit - first);
		Page		page = BufferGetPage(buffer);

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		phnsw_page_check(index, BufferGetBlockNumber(buffer), page, kind);
		if (kind == PHNSW_PAGE_NODE)
		{
			count_slots(pi, page, n, counts);
			counts->node_pages++;
		}
		else
		{
			count_records(pi, page, n, counts);
			counts->aux_pages++;
		}
		UnlockReleaseBuffer(buffer);
	}
	phnsw_pass_end(pass);
	FreeAccessStrategy(strategy);
}

static const char *
metric_name(uint16 metric)
{
	switch (metric)
	{
		case PHNSW_L2:
			return "l2";
		case PHNSW_IP:
			return "inner product";
		case PHNSW_COSINE:
			return "cosine";
		default:
			return "unknown";
	}
}

/* Nodes on level 0, 1, ... (a node of level 2 is on three). */
static Datum
levels_array(const Counts *counts)
{
	Datum		values[PHNSW_LEVEL_MAX + 1];
	uint64		above = 0;
	int			n = 0;

	for (int level = PHNSW_LEVEL_MAX; level >= 0; level--)
	{
		above += counts->nodes[level];
		values[level] = Int64GetDatum(above);
		if (above > 0 && n == 0)
			n = level + 1;
	}
	return PointerGetDatum(construct_array(values, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Datum
calibration_json(const phnsw_meta *meta)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (uint32 i = 0; i < meta->calibrations; i++)
	{
		const phnsw_calibration *c = &meta->calibration[i];

		appendStringInfo(&json, "%s{\"ef\": %u, \"recall\": %.4f, \"touches\": %.1f, \"hops\": %.1f",
						 i > 0 ? ", " : "", c->ef, c->recall, c->touches, c->hops);
		if (meta->stop[i].slack > 0)
			appendStringInfo(&json, ", \"stop\": {\"wider\": %.3f, \"slack\": %.4f}", meta->stop[i].wider,
							 meta->stop[i].slack);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
require_privilege(Relation index)
{
	if (!has_privs_of_role(GetUserId(), index->rd_rel->relowner) && !has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for index \"%s\"", RelationGetRelationName(index)),
				 errdetail("Only its owner and members of pg_monitor may read its structure.")));
}

Datum
phnsw_index_info(PG_FUNCTION_ARGS)
{
	Relation	heap;
	Relation	index = phnsw_open_to_read(PG_GETARG_OID(0), AccessShareLock, &heap);
	PhnswIndex *pi;
	const phnsw_meta *meta;
	Counts		counts = {0};
	BlockNumber blocks;
	uint64		duplicates;
	TupleDesc	desc;
	Datum		values[26];
	bool		nulls[26] = {0};
	int			n = 0;

	require_privilege(index);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "phnsw_index_info does not return the row that it was written for");
	phnsw_batch_flush(index);
	pi = phnsw_index_open(index);
	meta = &pi->meta;
	count_pages(index, pi, PHNSW_PAGE_NODE, &counts);
	count_pages(index, pi, PHNSW_PAGE_AUX, &counts);
	blocks = RelationGetNumberOfBlocks(index);
	/* Where scans have emptied a whole chain (kill.c) a node without rows may count as one with. */
	duplicates = counts.rows - Min(counts.rows, counts.live - counts.rowless);

	values[n++] = CStringGetTextDatum(metric_name(meta->codec.metric));
	values[n++] = Int32GetDatum(meta->codec.dims);
	values[n++] = Int32GetDatum(meta->codec.m);
	values[n++] = Int32GetDatum(meta->ef_construction);
	values[n++] = Int32GetDatum(meta->format_version);
	values[n++] = Int32GetDatum(meta->codec.bits);
	values[n++] = Int32GetDatum(meta->codec.code_dims);
	values[n++] = Int64GetDatum(counts.rows);
	values[n++] = Int64GetDatum(counts.live);
	values[n++] = Int64GetDatum(counts.dead);
	values[n++] = Int64GetDatum(counts.free);
	values[n++] = Int64GetDatum((int64) duplicates);
	nulls[n] = counts.rows == 0;
	values[n++] = Float8GetDatum(counts.rows > 0 ? (double) duplicates / counts.rows : 0);
	values[n++] = levels_array(&counts);
	values[n++] = Float8GetDatum(counts.live > 0 ? (double) counts.links / counts.live : 0);
	nulls[n] = nulls[n + 1] = meta->entry == PHNSW_NONE;
	values[n++] = Int64GetDatum(meta->entry);
	values[n++] = Int32GetDatum(meta->entry_level);
	values[n++] = Int64GetDatum(counts.aux_used);
	values[n++] = Int64GetDatum(counts.aux_free);
	values[n++] = Int64GetDatum(meta->centre_pages);
	values[n++] = Int64GetDatum(counts.node_pages);
	values[n++] = Int64GetDatum(counts.aux_pages);
	values[n++] = Int64GetDatum((int64) blocks - 1 - meta->centre_pages - counts.node_pages - counts.aux_pages);
	values[n++] = Int64GetDatum((int64) blocks * BLCKSZ);
	nulls[n] = counts.rows == 0;
	values[n++] = Float8GetDatum(counts.rows > 0 ? (double) blocks * BLCKSZ / counts.rows : 0);
	values[n++] = calibration_json(meta);
	Assert(n == lengthof(values));

	relation_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
