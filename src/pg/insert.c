/*
 * insert.c
 *    One row into the graph (README.md, Insert).
 *
 * The search runs without any lock that outlives a page access.  The node is written complete, with its own links, before
 * anything leads to it; back links and a higher entry point follow in records of their own.  So every state between two
 * records, which a crash may leave and a standby shows, is an index that works: at worst a node lacks links to it, which
 * costs some recall until vacuum repairs it.
 *
 * Levels are drawn from a hash of the heap TID, so that the same rows inserted in the same order give the same graph.
 */
#include "insert.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "type_vector.h"

/* Searches again when all that was found was freed meanwhile. */
#define PHNSW_INSERT_ATTEMPTS 3
/* Candidates of the search for a vector that the index is known to have. */
#define PHNSW_EF_UNCHANGED 16
/* Squared distance of equal codes as it comes out of float32 arithmetic, by their squared norm. */
#define PHNSW_EQUAL_DISTANCE 1e-6f

/* splitmix64's output function. */
static uint64
mix(uint64 x)
{
	x += UINT64CONST(0x9E3779B97F4A7C15);
	x = (x ^ (x >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

/* P(level >= l) = M^-l. */
static uint32
draw_level(const PhnswIndex *pi, ItemPointer tid)
{
	uint64		row = ((uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16) | ItemPointerGetOffsetNumberNoCheck(tid);
	double		uniform = ((mix(pi->meta.level_seed ^ mix(row)) >> 11) + 1) * 0x1.0p-53;
	double		level = floor(-log(uniform) / log(pi->m));

	return (uint32) Min(level, PHNSW_LEVEL_MAX);
}

/* ---- search ---------------------------------------------------------------------------------------------------------------- */

/* The search of a level begins at the nodes found on the level above. */
static void
begin_search(PhnswInsert *ins, uint32 ef)
{
	const PhnswCopies *found = &ins->near;
	phnsw_error error;

	phnsw_ensure(phnsw_search_begin(ins->search, ef, ins->pi->meta.nodes.limit, false, &error), &error);
	phnsw_ensure(phnsw_search_offer(ins->search, found->ids, found->distances, found->versions, found->n, &error), &error);
}

/* ins->near: copies of the nearest nodes found, at most n of them. */
static void
take_nearest(PhnswInsert *ins, uint32 n)
{
	PhnswCopies *found = &ins->near;
	const phnsw_candidate *window = phnsw_search_window(ins->search, &found->n);

	found->n = Min(found->n, n);
	for (uint32 i = 0; i < found->n; i++)
	{
		found->ids[i] = window[i].id;
		found->distances[i] = window[i].score;
		found->versions[i] = window[i].version;
	}
	phnsw_touch_heads(ins->index, ins->pi, found->ids, found->n, found->slots);
}

/* The start of the search on a level; false: the index is empty. */
static bool
descend(PhnswInsert *ins, uint32 level)
{
	PhnswCopies *near = &ins->near;
	phnsw_candidate entry;

	if (phnsw_descend(ins->index, ins->pi, ins->search, ins->query, level, &entry) == 0)
		return false;
	near->n = 1;
	near->ids[0] = entry.id;
	near->distances[0] = entry.score;
	near->versions[0] = entry.version;
	return true;
}

/* Finds the new node's surroundings; chooses its links above level 0.  false: the index is empty. */
bool
phnsw_insert_search(PhnswInsert *ins)
{
	uint32		level = Min(ins->slot->level, ins->pi->meta.entry_level);
	uint32		ef = ins->pi->meta.ef_construction;

	Assert(ef <= PHNSW_SELECT_MAX);
	if (!descend(ins, level))
		return false;
	for (;; level--)
	{
		begin_search(ins, ef);
		phnsw_search_level(ins->index, ins->pi, ins->search, ins->query, level);
		take_nearest(ins, ef);
		if (level == 0)
			return true;
		phnsw_choose_links(ins, &ins->near, level);
	}
}

/*
 * A row whose vector an older version of it has brought into the index: a small search will do, and it ends where it meets
 * the node.  Codes that differ in a unit of a long vector may be that near as well: then the search goes on.
 */
static bool
join_unchanged(PhnswInsert *ins)
{
	uint32		ef = Min(PHNSW_EF_UNCHANGED, ins->pi->meta.ef_construction);
	float		equal = ins->slot->head.norm2 * PHNSW_EQUAL_DISTANCE;

	if (!descend(ins, 0))
		return false;
	if (ins->near.distances[0] <= equal)
	{
		phnsw_touch_heads(ins->index, ins->pi, ins->near.ids, 1, ins->near.slots);
		if (phnsw_join_equal(ins))
			return true;
	}
	begin_search(ins, ef);
	if (phnsw_search_until(ins->index, ins->pi, ins->search, ins->query, 0, equal))
	{
		take_nearest(ins, 1);
		if (phnsw_join_equal(ins))
			return true;
		phnsw_search_level(ins->index, ins->pi, ins->search, ins->query, 0);
	}
	take_nearest(ins, ef);
	return phnsw_join_equal(ins);
}

/* ---- the node ---------------------------------------------------------------------------------------------------------------- */

/* An aux record for the links on one level, and its place. */
typedef struct UpperRecord
{
	uint32		id;
	uint32		level;
	BlockNumber block;
	uint32		place;
} UpperRecord;

/* Takes aux records for levels 1 ... level and sorts them by block; *chain: the records by level. */
static UpperRecord *
take_upper_records(PhnswInsert *ins, uint32 *chain)
{
	uint32		n = ins->slot->level;
	UpperRecord *records = palloc(n * sizeof(UpperRecord));

	phnsw_alloc_aux(ins->index, ins->pi, PHNSW_AUX_UPPER, n, chain);
	for (uint32 i = 0; i < n; i++)
	{
		UpperRecord record = {.id = chain[i], .level = i + 1};
		uint32		j = i;

		record.block = phnsw_aux_block(ins->index, ins->pi, record.id, &record.place);
		for (; j > 0 && records[j - 1].block > record.block; j--)
			records[j] = records[j - 1];
		records[j] = record;
	}
	return records;
}

static void
fill_upper_record(PhnswInsert *ins, phnsw_aux *aux, uint32 level, uint32 next)
{
	const PhnswNewLinks *links = &ins->links[level];

	aux->kind = PHNSW_AUX_UPPER;
	aux->node = ins->id;
	aux->version = ins->version;
	aux->next = next;
	aux->level = level;
	aux->count = links->n;
	memcpy(phnsw_aux_links(aux), links->ids, links->n * sizeof(uint32));
}

/* How many of the n records lie on the first `pages` pages. */
static uint32
records_on_pages(const UpperRecord *records, uint32 n, uint32 pages)
{
	uint32		i = 0;

	for (; i < n; i++)
	{
		if (i == 0 || records[i].block != records[i - 1].block)
		{
			if (pages == 0)
				break;
			pages--;
		}
	}
	return i;
}

/* Locks, registers and fills the pages of n records; the buffers are added to held[]. */
static void
write_upper_records(PhnswInsert *ins, PhnswWal *wal, const UpperRecord *records, uint32 n,
					const uint32 *chain, Buffer *held, uint32 *n_held)
{
	Page		page = NULL;

	for (uint32 i = 0; i < n; i++)
	{
		uint32		level = records[i].level;
		uint32		next = level < ins->slot->level ? chain[level] : PHNSW_NONE;

		if (i == 0 || records[i].block != records[i - 1].block)
		{
			Buffer		buffer = phnsw_pin(ins->index, ins->pi, records[i].block);

			LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
			phnsw_page_check(ins->index, records[i].block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
			held[(*n_held)++] = buffer;
			page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
		}
		fill_upper_record(ins, phnsw_wal_aux(wal, ins->pi, page, records[i].place), level, next);
	}
}

static void
release(Buffer *held, uint32 n_held)
{
	for (uint32 i = 0; i < n_held; i++)
		UnlockReleaseBuffer(held[i]);
}

/* The node that was found and freed while this one looked for a slot may be this very slot. */
static void
drop_own_id(PhnswInsert *ins)
{
	for (uint32 level = 0; level <= ins->slot->level; level++)
	{
		PhnswNewLinks *links = &ins->links[level];
		uint32		kept = 0;

		for (uint32 i = 0; i < links->n; i++)
		{
			if (links->ids[i] == ins->id)
				continue;
			links->ids[kept] = links->ids[i];
			links->distances[kept++] = links->distances[i];
		}
		links->n = kept;
	}
}

static void
fill_slot(PhnswInsert *ins, phnsw_slot *slot, uint32 upper)
{
	const PhnswNewLinks *links = &ins->links[0];

	memcpy(slot, ins->slot, offsetof(phnsw_slot, code) + ins->pi->code_bytes);
	slot->state = PHNSW_SLOT_LIVE;
	slot->version = ins->version;
	slot->upper = upper;
	slot->tids = PHNSW_NONE;
	slot->count = links->n;
	slot->unused = 0;
	memcpy(phnsw_slot_links(slot, ins->pi->code_bytes), links->ids, links->n * sizeof(uint32));
}

/* README.md, Insert, step 1.  Upper records that do not fit into the node's WAL record are written before it. */
static void
write_node(PhnswInsert *ins)
{
	PhnswIndex *pi = ins->pi;
	uint32		chain[PHNSW_LEVEL_MAX];
	uint32		n = ins->slot->level;
	UpperRecord *records = n > 0 ? take_upper_records(ins, chain) : NULL;
	Buffer		held[PHNSW_WAL_PAGES];
	uint32		n_held = 0;
	uint32		part;
	uint32		place = 0;
	Buffer		buffer = phnsw_alloc_slot(ins->index, pi, &ins->id);
	PhnswWal   *wal;
	phnsw_slot *slot;

	/* The slot is the page's first free one; to compute its place might need the meta page, which comes before this one. */
	while ((slot = phnsw_page_slot(pi, BufferGetPage(buffer), place))->state != PHNSW_SLOT_FREE)
		place++;
	ins->version = slot->version;
	drop_own_id(ins);

	while ((part = records_on_pages(records, n, PHNSW_WAL_PAGES - 1)) < n)
	{
		wal = phnsw_wal_start(ins->index);
		write_upper_records(ins, wal, records, part, chain, held, &n_held);
		phnsw_wal_finish(wal);
		release(held, n_held);
		n_held = 0;
		records += part;
		n -= part;
	}
	wal = phnsw_wal_start(ins->index);
	slot = phnsw_wal_slot(wal, pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), place);
	fill_slot(ins, slot, ins->slot->level > 0 ? chain[0] : PHNSW_NONE);
	write_upper_records(ins, wal, records, n, chain, held, &n_held);
	phnsw_wal_finish(wal);
	release(held, n_held);
	UnlockReleaseBuffer(buffer);
}

/*
 * Takes back a node that nothing leads to, but for stale links to the slot's former node.  If another row has come by one of
 * those and joined it, the node stays, with that row only, and vacuum links it.
 */
static void
withdraw_node(PhnswInsert *ins)
{
	uint32		place;
	BlockNumber block = phnsw_node_block(ins->index, ins->pi, ins->id, &place);
	Buffer		buffer = phnsw_pin(ins->index, ins->pi, block);
	PhnswWal   *wal;
	phnsw_slot *slot;
	bool		joined;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	wal = phnsw_wal_start(ins->index);
	slot = phnsw_wal_slot_head(wal, ins->pi, phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS), place);
	memset(&slot->tid, 0, sizeof(slot->tid));
	joined = slot->tids != PHNSW_NONE;
	if (!joined)
	{
		slot->state = PHNSW_SLOT_FREE;
		slot->version++;
		slot->count = 0;
	}
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);
	if (!joined)
		phnsw_page_has_room(ins->index, ins->pi, block, true);
}

/* ---- entry point ----------------------------------------------------------------------------------------------------------- */

/*
 * Makes the new node the entry point if it is higher than the present one, or if that is `stale` (PHNSW_NONE: if there is
 * none).  false: it stays as it is.
 */
static bool
raise_entry(PhnswInsert *ins, uint32 stale)
{
	Buffer		buffer = ReadBuffer(ins->index, 0);
	const phnsw_meta *meta = phnsw_page_meta(BufferGetPage(buffer));
	bool		wanted;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(ins->index, 0, BufferGetPage(buffer), PHNSW_PAGE_META);
	wanted = meta->entry == PHNSW_NONE || meta->entry == stale || ins->slot->level > meta->entry_level;
	if (wanted)
	{
		PhnswWal   *wal = phnsw_wal_start(ins->index);
		phnsw_meta *image = phnsw_page_meta(phnsw_wal_register(wal, buffer, PHNSW_WAL_WHOLE));

		image->entry = ins->id;
		image->entry_version = ins->version;
		image->entry_level = ins->slot->level;
		image->change++;
		phnsw_wal_finish(wal);
	}
	UnlockReleaseBuffer(buffer);
	return wanted;
}

/* The first node of an index.  false: another backend's was faster, and the row goes the ordinary way. */
static bool
insert_first(PhnswInsert *ins)
{
	uint32		stale = ins->pi->meta.entry;

	ins->slot->level = 0;		/* then there are no aux records to take back */
	ins->links[0].n = 0;
	write_node(ins);
	if (raise_entry(ins, stale))
		return true;
	withdraw_node(ins);
	phnsw_index_refresh(ins->index, ins->pi);
	return false;
}

/* ---- the row ------------------------------------------------------------------------------------------------------------------ */

static void
insert_row(PhnswInsert *ins)
{
	for (int attempt = 0;; attempt++)
	{
		bool		empty = !phnsw_insert_search(ins);

		CHECK_FOR_INTERRUPTS();
		if (!empty && phnsw_join_equal(ins))
			return;
		if (!empty)
		{
			phnsw_choose_links(ins, &ins->near, 0);
			if (ins->links[0].n > 0)
				break;
			if (attempt < PHNSW_INSERT_ATTEMPTS)
			{
				/* Vacuum has freed all that was found: it has put another entry point in place before. */
				phnsw_index_refresh(ins->index, ins->pi);
				continue;
			}
		}
		if (insert_first(ins))
			return;
	}
	phnsw_plan_back_links(ins);
	phnsw_test_point(PHNSW_POINT_INSERT_PLANNED);
	write_node(ins);
	phnsw_test_point(PHNSW_POINT_INSERT_WRITTEN);
	if (!phnsw_write_back_links(ins))
		phnsw_relink(ins);
	if (ins->slot->level > ins->pi->meta.entry_level)
		raise_entry(ins, PHNSW_NONE);
}

static void
insert_vector(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid, bool unchanged)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "phnsw insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PhnswInsert *ins = palloc0(sizeof(PhnswInsert));
	uint32		ef = pi->meta.ef_construction;
	phnsw_status status;
	phnsw_error error;

	phnsw_stats_charge(NULL);
	ins->index = index;
	ins->pi = pi;
	ins->context = context;
	ins->slot = palloc0(pi->slot_bytes);
	status = phnsw_codec_encode(pi->codec, vector, ins->slot, &error);
	if (status != PHNSW_NOT_INDEXED)
	{
		phnsw_ensure(status, &error);
		memcpy(&ins->slot->tid, heap_tid, sizeof(phnsw_tid));
		ins->slot->level = draw_level(pi, heap_tid);
		ins->links = palloc0((ins->slot->level + 1) * sizeof(PhnswNewLinks));
		ins->near.ids = palloc(ef * sizeof(uint32));
		ins->near.distances = palloc(ef * sizeof(float));
		ins->near.versions = palloc(ef * sizeof(uint32));
		ins->near.slots = palloc((Size) ef * pi->slot_bytes);
		ins->search = phnsw_search_borrow(pi, context);
		ins->query = phnsw_query_borrow(pi, context);
		phnsw_query_set(ins->query, vector, PHNSW_FOR_INSERT);
		if (!unchanged || !join_unchanged(ins))
			insert_row(ins);
		phnsw_stats_of(RelationGetRelid(index))->inserts++;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

void
phnsw_insert_vector(Relation index, PhnswIndex *pi, const float *vector, ItemPointer heap_tid)
{
	insert_vector(index, pi, vector, heap_tid, false);
}

bool
phnsw_aminsert(Relation index, Datum *values, bool *isnull, ItemPointer heap_tid, Relation heap,
			   IndexUniqueCheck check_unique, bool index_unchanged, IndexInfo *info)
{
	PhnswIndex *pi;
	Vector	   *vector;

	if (isnull[0])
		return false;
	pi = phnsw_index_open(index);
	vector = DatumGetVector(values[0]);
	phnsw_check_expected_dim(pi->meta.codec.dims, vector->dim);
	if (!phnsw_batch_add(index, pi, vector->x, heap_tid, heap, info->ii_Concurrent))
	{
		if (pi->meta.nodes.limit == 0)
			phnsw_insert_now(index, vector->x, heap_tid);
		else
			insert_vector(index, pi, vector->x, heap_tid, index_unchanged);
	}
	if ((Pointer) vector != DatumGetPointer(values[0]))
		pfree(vector);
	return false;
}
