/*
 * vacuum_repair.c
 *    Lists that name dead nodes get others in their place, from what the lists themselves offer.
 *
 * The live links of such a list stay; the places of the dead go to the dead nodes' own live links, by
 * HNSW's heuristic: whoever was near a dead neighbour is likely to be near.  No search.  A list that
 * would stay thinner than M/2 also gets its neighbours' neighbours.
 *
 * The unit of work is a page: its lists need much the same nodes, which are copied into a pool, in one
 * batch per round.  The lists of the next pages need most of them again, so the pool is kept until it
 * takes half of maintenance_work_mem: head and code of a live node do not change, and one that has been
 * freed or used again meanwhile is a stale link like any other.
 *
 *    copy the page (share lock)
 *    round 1: copy the dead nodes that its lists name, with their links
 *    round 2: copy the candidates; distances; for thin lists round 3 with the candidates' links
 *    choose (no lock)
 *    exclusive lock: lists unchanged? write all of them in one WAL record; the changed ones once more from the start
 *
 * Lists of level 0 stand in slots, those of upper levels in aux records; both are "jobs" here.
 */
#include "vacuum/vacuum_repair.h"

#include "commands/vacuum.h"
#include "miscadmin.h"

/* Beside the slot: id, stamp, up to four places in the table. */
#define POOL_NODE_BYTES     24

/* ---- candidates ------------------------------------------------------------------------------ */

static inline bool
is_gone(const PhnswVacuum *v, uint32 id)
{
	return id < v->limit && phnsw_bit(v->gone, id);
}

static void
add_candidate(PhnswRepair *r, PhnswRepairJob *job, uint32 id, uint32 max)
{
	uint32		index;

	if (job->n >= max || id == job->owner || id >= r->v->pi->meta.nodes.limit || phnsw_is_dead(r->v, id))
		return;
	index = phnsw_pool_add(&r->pool, id);
	if (r->pool.stamps[index] == r->stamp)
		return;
	r->pool.stamps[index] = r->stamp;
	job->candidates[job->n++] = index;
}

/* A dead node's links on the job's level, nearest first as far as the list knows. */
static uint32
links_of_dead(PhnswRepair *r, const PhnswRepairJob *job, uint32 id, uint32 *links)
{
	PhnswIndex *pi = r->v->pi;
	phnsw_slot *slot;
	uint32		n;

	if (job->level > 0)
		return phnsw_links(r->v->index, pi, id, job->level, links);
	slot = phnsw_pool_slot(&r->pool, phnsw_pool_add(&r->pool, id));
	n = Min(slot->count, 2 * pi->m);
	memcpy(links, phnsw_slot_links(slot, pi->code_bytes), n * sizeof(uint32));
	return n;
}

/* Round 2: the live links, then some links of each dead one. */
static void
collect(PhnswRepair *r, PhnswRepairJob *job)
{
	uint32		links[PHNSW_LINKS_MAX];
	uint32		max;

	r->stamp++;
	job->n = 0;
	for (uint32 i = 0; i < job->count; i++)
	{
		if (!phnsw_is_dead(r->v, job->links[i]))
			add_candidate(r, job, job->links[i], CANDIDATES_MAX);
	}
	job->n_live = job->n;
	max = job->n + DEAD_CANDIDATES;
	for (uint32 i = 0; i < job->count && job->n < max; i++)
	{
		uint32		n;
		uint32		end = Min(job->n + CANDIDATES_PER_DEAD, max);

		if (!phnsw_is_dead(r->v, job->links[i]))
			continue;
		n = links_of_dead(r, job, job->links[i], links);
		for (uint32 j = 0; j < n && job->n < end; j++)
			add_candidate(r, job, links[j], end);
	}
}

/* Round 3: candidates of the candidates.  Returns whether there were any. */
static bool
collect_more(PhnswRepair *r, PhnswRepairJob *job)
{
	uint32		links[PHNSW_LINKS_MAX];
	uint32		before = job->n;
	uint32		max = Min(before + THIN_CANDIDATES, CANDIDATES_MAX);
	uint32		usable = 0;

	for (uint32 i = 0; i < before; i++)
		usable += phnsw_is_usable(r, job, job->candidates[i]);
	if (usable >= Max(r->v->pi->m / 2, 1))
		return false;
	r->stamp++;
	for (uint32 i = 0; i < before; i++)
		r->pool.stamps[job->candidates[i]] = r->stamp;
	for (uint32 i = 0; i < before && job->n < max; i++)
	{
		uint32		n;

		if (!phnsw_is_usable(r, job, job->candidates[i]))
			continue;
		n = phnsw_links(r->v->index, r->v->pi, r->pool.ids[job->candidates[i]], job->level, links);
		for (uint32 j = 0; j < n; j++)
			add_candidate(r, job, links[j], max);
	}
	return job->n > before;
}

static void
work(PhnswRepair *r)
{
	bool		more = false;

	phnsw_pool_fetch(&r->pool, true);
	for (uint32 i = 0; i < r->n_jobs; i++)
		collect(r, &r->jobs[i]);
	phnsw_pool_fetch(&r->pool, false);
	for (uint32 i = 0; i < r->n_jobs; i++)
		more |= collect_more(r, &r->jobs[i]);
	if (more)
		phnsw_pool_fetch(&r->pool, false);
	for (uint32 i = 0; i < r->n_jobs; i++)
		phnsw_choose_repaired(r, &r->jobs[i]);
}

/* ---- a page's lists -------------------------------------------------------------------------- */

/* Makes a job of a list that names a node that is gone; the dead ones enter the pool. */
static void
consider(PhnswRepair *r, uint32 owner, uint32 version, uint32 place, uint32 level, const uint32 *links, uint32 count,
		 const phnsw_slot *slot)
{
	PhnswRepairJob		   *job = &r->jobs[r->n_jobs];
	bool		named = false;

	for (uint32 i = 0; i < count; i++)
	{
		if (links[i] >= r->v->pi->meta.nodes.limit)
			phnsw_index_refresh(r->v->index, r->v->pi);
		if (!is_gone(r->v, links[i]))
			continue;
		named = true;
		if (phnsw_is_dead(r->v, links[i]) && level == 0)
			phnsw_pool_add(&r->pool, links[i]);
	}
	if (!named)
		return;
	job->owner = owner;
	job->version = version;
	job->place = place;
	job->level = level;
	job->count = count;
	job->links = links;
	job->slot = slot;
	r->n_jobs++;
}

static Buffer
copy_page(PhnswRepair *r, BlockNumber block, phnsw_page_kind kind)
{
	Buffer		buffer = phnsw_pin(r->v->index, r->v->pi, block);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(r->v->index, block, BufferGetPage(buffer), kind);
	memcpy(r->image, BufferGetPage(buffer), BLCKSZ);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	/* Whose an aux record is must be known as of now, not as of some page before. */
	if (kind == PHNSW_PAGE_AUX || r->pool.room - r->pool.n < r->page_nodes)
		phnsw_pool_clear(&r->pool);
	r->n_jobs = 0;
	return buffer;
}

/* Writes the chosen lists; returns how many had changed since they were copied. */
static uint32
write_lists(PhnswRepair *r, Buffer buffer)
{
	PhnswIndex *pi = r->v->pi;
	PhnswWal   *wal;
	Page		page;
	uint32		changed = 0;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	wal = phnsw_wal_start(r->v->index);
	page = phnsw_wal_register(wal, buffer, PHNSW_WAL_PARTS);
	for (uint32 i = 0; i < r->n_jobs; i++)
	{
		PhnswRepairJob		   *job = &r->jobs[i];
		uint32	   *links;
		uint16	   *count;
		bool		same;

		if (job->slot != NULL)
		{
			phnsw_slot *slot = phnsw_wal_slot(wal, pi, page, job->place);

			links = phnsw_slot_links(slot, pi->code_bytes);
			count = &slot->count;
			same = slot->state == PHNSW_SLOT_LIVE && slot->version == job->version;
		}
		else
		{
			phnsw_aux  *aux = phnsw_wal_aux(wal, pi, page, job->place);

			links = phnsw_aux_links(aux);
			count = &aux->count;
			same = aux->kind == PHNSW_AUX_UPPER && aux->node == job->owner && aux->version == job->version &&
				aux->level == job->level;
		}
		if (!same)
			continue;			/* another node's list by now */
		if (*count != job->count || memcmp(links, job->links, job->count * sizeof(uint32)) != 0)
		{
			changed++;
			continue;
		}
		memcpy(links, job->chosen, job->chosen_count * sizeof(uint32));
		if (job->chosen_count < job->count)
			memset(links + job->chosen_count, 0, (job->count - job->chosen_count) * sizeof(uint32));
		*count = job->chosen_count;
		r->v->lists_repaired++;
	}
	phnsw_wal_finish(wal);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return changed;
}

/* Returns whether a list changed under our hands: worth another try. */
static bool
repair_node_page(PhnswRepair *r, BlockNumber block, uint32 first)
{
	PhnswIndex *pi = r->v->pi;
	uint32		count = Min(pi->slots_per_page, r->v->limit - first);
	Buffer		buffer = copy_page(r, block, PHNSW_PAGE_NODE);
	uint32		changed = 0;

	for (uint32 i = 0; i < count; i++)
	{
		phnsw_slot *slot = phnsw_page_slot(pi, r->image, i);

		if (slot->state != PHNSW_SLOT_LIVE)
			continue;
		if (slot->count > 2 * pi->m)
			phnsw_corrupt(r->v->index, block, i, "a list has more links than 2M");
		consider(r, first + i, slot->version, i, 0, phnsw_slot_links(slot, pi->code_bytes), slot->count, slot);
	}
	if (r->n_jobs > 0)
	{
		work(r);
		changed = write_lists(r, buffer);
	}
	ReleaseBuffer(buffer);
	return changed > 0;
}

/*
 * Upper lists of one aux page.  A record whose node has moved on to another version belongs to nobody: versions only
 * grow, and a record gets its node and version in the WAL record that makes the slot LIVE with them.
 */
static bool
repair_aux_page(PhnswRepair *r, BlockNumber block, uint32 first, uint32 count, bool reclaim)
{
	PhnswIndex *pi = r->v->pi;
	Buffer		buffer = copy_page(r, block, PHNSW_PAGE_AUX);
	/* As of now: consider() may learn of more nodes, whose slots have not been fetched. */
	const uint32 limit = pi->meta.nodes.limit;
	uint32		changed = 0;

	for (uint32 i = 0; i < count; i++)
	{
		phnsw_aux  *aux = phnsw_page_aux(pi, r->image, i);

		if (aux->kind != PHNSW_AUX_FREE && aux->node < limit)
			phnsw_pool_add(&r->pool, aux->node);
	}
	phnsw_pool_fetch(&r->pool, true);
	for (uint32 i = 0; i < count; i++)
	{
		phnsw_aux  *aux = phnsw_page_aux(pi, r->image, i);
		const phnsw_slot *owner;

		if (aux->kind == PHNSW_AUX_FREE || aux->node >= limit)
			continue;
		owner = phnsw_pool_slot(&r->pool, phnsw_pool_add(&r->pool, aux->node));
		if (owner->version != aux->version)
		{
			if (reclaim)
				phnsw_vacuum_free_aux(r->v, first + i);
		}
		else if (aux->kind == PHNSW_AUX_UPPER && owner->state == PHNSW_SLOT_LIVE)
		{
			if (aux->count > pi->m)
				phnsw_corrupt(r->v->index, block, i, "an upper level list has more links than M");
			consider(r, aux->node, aux->version, i, aux->level, phnsw_aux_links(aux), aux->count, NULL);
		}
	}
	if (r->n_jobs > 0)
	{
		work(r);
		changed = write_lists(r, buffer);
	}
	ReleaseBuffer(buffer);
	return changed > 0;
}

void
phnsw_vacuum_repair(PhnswVacuum *v)
{
	PhnswIndex *pi = v->pi;
	uint32		jobs = Max(pi->slots_per_page, pi->aux_per_page);
	uint32		aux_limit;
	Size		room;
	PhnswRepair *r = palloc0(sizeof(PhnswRepair));

	r->v = v;
	r->image = palloc(BLCKSZ);
	r->jobs = palloc_extended(jobs * sizeof(PhnswRepairJob), MCXT_ALLOC_HUGE);
	r->page_nodes = jobs * (1 + 2 * pi->m + 2 * pi->m + DEAD_CANDIDATES + THIN_CANDIDATES);
	room = (Size) maintenance_work_mem * 512 / (pi->slot_bytes + POOL_NODE_BYTES);
	phnsw_pool_init(&r->pool, v->index, pi, Max(r->page_nodes, Min(Min(room, pi->meta.nodes.limit), PHNSW_POOL_MAX)));

	phnsw_index_refresh(v->index, pi);
	aux_limit = pi->meta.aux.limit;
	for (uint32 first = 0; first < v->limit; first += pi->slots_per_page)
	{
		uint32		place;
		BlockNumber block = phnsw_node_block(v->index, pi, first, &place);

		PhnswVacuumDelay();
		if (repair_node_page(r, block, first))
			repair_node_page(r, block, first);
	}
	phnsw_test_point(PHNSW_POINT_VACUUM_AUX);
	for (uint32 first = 0; first < aux_limit; first += pi->aux_per_page)
	{
		uint32		place;
		BlockNumber block = phnsw_aux_block(v->index, pi, first, &place);
		uint32		count = Min(pi->aux_per_page, aux_limit - first);

		PhnswVacuumDelay();
		/* Only once: what was noted for freeing might be in use again before a second note is acted on. */
		if (repair_aux_page(r, block, first, count, true))
			repair_aux_page(r, block, first, count, false);
	}
	phnsw_vacuum_flush_aux(v);
}
