/*
 * vacuum_free.c
 *    What vacuum gives back: the slots of dead nodes, their aux records, and
 *    those that nothing refers to (README.md, pass 3).
 *
 * A slot that becomes FREE gets another version, by which whoever kept its id notices.  Its aux records are freed
 * behind it; a crash in between leaves records of a version that no node has, which the next vacuum reclaims.
 *
 * Locks: one node page, or one aux page under the meta page.
 */
#include "vacuum/vacuum.h"

#include "commands/vacuum.h"

/* ---- aux records to be freed ----------------------------------------------------------------- */

static int
compare_ids(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

void
phnsw_vacuum_flush_aux(PhnswVacuum *v)
{
	qsort(v->batch, v->batch_n, sizeof(uint32), compare_ids);
	for (uint32 i = 0; i < v->batch_n;)
	{
		uint32		place;
		BlockNumber block = phnsw_aux_block(v->index, v->pi, v->batch[i], &place);
		uint32		n = 1;

		while (i + n < v->batch_n && phnsw_aux_block(v->index, v->pi, v->batch[i + n], &place) == block)
			n++;
		phnsw_free_aux(v->index, v->pi, block, v->batch + i, n);
		i += n;
	}
	v->batch_n = 0;
}

void
phnsw_vacuum_free_aux(PhnswVacuum *v, uint32 aux)
{
	if (v->batch_n == PHNSW_AUX_BATCH)
		phnsw_vacuum_flush_aux(v);
	v->batch[v->batch_n++] = aux;
}

/* ---- slots ----------------------------------------------------------------------------------- */

/* The records of a chain that is no longer referred to: those that still name the node's old version. */
static void
free_chain(PhnswVacuum *v, phnsw_aux_kind kind, uint32 node, uint32 version, uint32 aux)
{
	for (uint32 step = 0; aux != PHNSW_NONE && step <= v->pi->meta.aux.limit; step++)
	{
		uint32		place;
		BlockNumber block = phnsw_aux_block(v->index, v->pi, aux, &place);
		Buffer		buffer = phnsw_pin(v->index, v->pi, block);
		const phnsw_aux *record;
		bool		ours;
		uint32		next;

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		phnsw_page_check(v->index, block, BufferGetPage(buffer), PHNSW_PAGE_AUX);
		record = phnsw_page_aux(v->pi, BufferGetPage(buffer), place);
		ours = record->kind == kind && record->node == node && record->version == version;
		next = record->next;
		UnlockReleaseBuffer(buffer);
		if (!ours)
			break;
		phnsw_vacuum_free_aux(v, aux);
		aux = next;
	}
}

typedef struct Freed
{
	uint32		node;
	uint32		version;
	uint32		upper;
	uint32		tids;
} Freed;

static void
free_slots_of_page(PhnswVacuum *v, BlockNumber block, uint32 first)
{
	Freed		freed[PHNSW_SLOTS_MAX];
	uint32		n = 0;
	uint32		count = Min(v->pi->slots_per_page, v->limit - first);
	uint32		used = 0;
	Buffer		buffer = phnsw_vacuum_page(v, block);
	Page		page = BufferGetPage(buffer);
	PhnswWal   *wal;
	Page		image;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	phnsw_page_check(v->index, block, page, PHNSW_PAGE_NODE);
	wal = phnsw_wal_start(v->index);
	image = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	for (uint32 i = 0; i < count; i++)
	{
		phnsw_slot *slot = phnsw_page_slot(v->pi, page, i);

		if (slot->state == PHNSW_SLOT_DEAD && phnsw_bit(v->dead, first + i))
		{
			slot = phnsw_wal_slot_head(wal, v->pi, image, i);
			freed[n++] = (Freed) {
				.node = first + i, .version = slot->version, .upper = slot->upper, .tids = slot->tids
			};
			memset(&slot->tid, 0, sizeof(phnsw_tid));
			slot->state = PHNSW_SLOT_FREE;
			slot->level = 0;
			slot->version++;
			slot->upper = PHNSW_NONE;
			slot->tids = PHNSW_NONE;
			slot->count = 0;
		}
		used += slot->state != PHNSW_SLOT_FREE;
	}
	phnsw_wal_finish(wal);
	UnlockReleaseBuffer(buffer);

	for (uint32 i = 0; i < n; i++)
	{
		free_chain(v, PHNSW_AUX_UPPER, freed[i].node, freed[i].version, freed[i].upper);
		free_chain(v, PHNSW_AUX_TIDS, freed[i].node, freed[i].version, freed[i].tids);
	}
	if (n > 0)
		phnsw_page_has_room(v->index, v->pi, block, true);
	if (n > 0 && used == 0)
		v->stats->pages_newly_deleted++;
}

static bool
any_dead_on_page(const PhnswVacuum *v, uint32 first)
{
	uint32		end = first + Min(v->pi->slots_per_page, v->limit - first);

	for (uint32 id = first; id < end; id++)
	{
		if (phnsw_bit(v->dead, id))
			return true;
	}
	return false;
}

void
phnsw_vacuum_free_slots(PhnswVacuum *v)
{
	for (uint32 first = 0; first < v->limit; first += v->pi->slots_per_page)
	{
		uint32		place;

		if (!any_dead_on_page(v, first))
			continue;
		PhnswVacuumDelay();
		free_slots_of_page(v, phnsw_node_block(v->index, v->pi, first, &place), first);
	}
	phnsw_test_point(PHNSW_POINT_VACUUM_FREED);
	phnsw_vacuum_flush_aux(v);
}
