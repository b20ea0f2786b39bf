/*
 * insert_node.c
 *    The new node on its pages, and the entry point of the index (README.md).
 *
 * The node is written complete, with its own links, before anything leads to it: its slot, and for a node of a higher
 * level its aux records, in one WAL record where they fit.  A bulk insert writes nodes of higher levels as nodes of
 * level 0 first, and they are raised later: the same record, but for what the slot has already.
 */
#include "insert/insert.h"

/* ---- the node -------------------------------------------------------------------------------- */

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

/* A new entry point leads to the one before, in place of `spare` if need be.  false: it has no room. */
static bool
lead_to(const PhnswIndex *pi, phnsw_slot *slot, uint32 entry, uint32 spare)
{
	uint32	   *links = phnsw_slot_links(slot, pi->code_bytes);

	if (phnsw_contains(links, slot->count, entry))
		return true;
	if (slot->count < 2 * pi->m)
	{
		links[slot->count++] = entry;
		return true;
	}
	for (uint32 i = 0; i < slot->count; i++)
	{
		if (links[i] != spare)
			continue;
		links[i] = entry;
		return true;
	}
	return false;
}

/* The slot of a node that stands on level 0 already. */
static void
raise_slot(PhnswInsert *ins, phnsw_slot *slot, uint32 upper)
{
	const phnsw_meta *meta = &ins->pi->meta;

	slot->level = ins->slot->level;
	slot->upper = upper;
	if (slot->level > meta->entry_level && meta->entry != PHNSW_NONE && meta->entry != ins->id)
		ins->no_entry = !lead_to(ins->pi, slot, meta->entry, ins->spare);
}

Buffer
phnsw_lock_self(PhnswInsert *ins, int mode, phnsw_slot **slot, uint32 *place)
{
	BlockNumber block = phnsw_node_block(ins->index, ins->pi, ins->id, place);
	Buffer		buffer = phnsw_pin(ins->index, ins->pi, block);

	LockBuffer(buffer, mode);
	phnsw_page_check(ins->index, block, BufferGetPage(buffer), PHNSW_PAGE_NODE);
	*slot = phnsw_page_slot(ins->pi, BufferGetPage(buffer), *place);
	if ((*slot)->state == PHNSW_SLOT_LIVE && (*slot)->version == ins->version)
		return buffer;
	UnlockReleaseBuffer(buffer);
	return InvalidBuffer;
}

/* The page of the node that is to be raised, locked exclusively; InvalidBuffer: it has gone. */
static Buffer
lock_node(PhnswInsert *ins, uint32 *place)
{
	phnsw_slot *slot;
	Buffer		buffer = phnsw_lock_self(ins, BUFFER_LOCK_EXCLUSIVE, &slot, place);

	if (buffer == InvalidBuffer || (slot->level == 0 && slot->count <= 2 * ins->pi->m))
		return buffer;
	UnlockReleaseBuffer(buffer);
	return InvalidBuffer;
}

/* The page for the node, locked exclusively, and the place on it. */
static Buffer
lock_slot(PhnswInsert *ins, uint32 *place)
{
	Buffer		buffer;

	if (ins->raised)
		return lock_node(ins, place);
	buffer = phnsw_alloc_slot(ins->index, ins->pi, &ins->id);
	/*
	 * The slot is the page's first free one; to compute its place might need
	 * the meta page, which comes before this one.
	 */
	*place = 0;
	while (phnsw_page_slot(ins->pi, BufferGetPage(buffer), *place)->state != PHNSW_SLOT_FREE)
		(*place)++;
	ins->version = phnsw_page_slot(ins->pi, BufferGetPage(buffer), *place)->version;
	return buffer;
}

/* Upper records that do not fit into the node's WAL record are written before it. */
bool
phnsw_write_node(PhnswInsert *ins)
{
	PhnswIndex *pi = ins->pi;
	uint32		chain[PHNSW_LEVEL_MAX];
	uint32		n = ins->slot->level;
	UpperRecord *records = n > 0 ? take_upper_records(ins, chain) : NULL;
	Buffer		held[PHNSW_WAL_PAGES];
	uint32		n_held = 0;
	uint32		part;
	uint32		place;
	Buffer		buffer = lock_slot(ins, &place);
	PhnswWal   *wal;
	phnsw_slot *slot;

	if (buffer == InvalidBuffer)
	{
		for (uint32 i = 0; i < n; i++)
			phnsw_free_aux(ins->index, pi, records[i].block, &records[i].id, 1);
		return false;
	}
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
	if (ins->raised)
		raise_slot(ins, slot, chain[0]);
	else
		fill_slot(ins, slot, ins->slot->level > 0 ? chain[0] : PHNSW_NONE);
	write_upper_records(ins, wal, records, n, chain, held, &n_held);
	phnsw_wal_finish(wal);
	release(held, n_held);
	UnlockReleaseBuffer(buffer);
	return true;
}

/* ---- entry point ----------------------------------------------------------------------------- */

bool
phnsw_raise_entry(PhnswInsert *ins)
{
	Buffer		buffer = phnsw_lock_meta(ins->index);
	const phnsw_meta *meta = phnsw_page_meta(BufferGetPage(buffer));
	bool		is_entry = meta->entry == ins->id;

	if (meta->entry == PHNSW_NONE || ins->slot->level > meta->entry_level)
	{
		PhnswWal   *wal = phnsw_wal_start(ins->index);
		phnsw_meta *image = phnsw_page_meta(phnsw_wal_register(wal, buffer, PHNSW_WAL_WHOLE));

		image->entry = ins->id;
		image->entry_version = ins->version;
		image->entry_level = ins->slot->level;
		image->change++;
		phnsw_wal_finish(wal);
		is_entry = true;
	}
	UnlockReleaseBuffer(buffer);
	return is_entry;
}
