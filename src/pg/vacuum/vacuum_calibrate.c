/*
 * vacuum_calibrate.c
 *    ef against recall, measured again when an index has grown.
 *
 * A build measures what recall each ef gives, and a scan chooses its ef by that (cost.c).  Rows inserted
 * one by one make the graph larger and other than it was, so at the end of a vacuum an index that is a
 * fifth larger than when it was measured is measured again: as in the build, nodes drawn evenly are the
 * queries, each searched as if it were not in the graph, and the distances are those between codes.  Inner
 * products are asked for with the vector that a node's code stands for.
 *
 * Everything is read as a search reads it, one page at a time and without locks across pages; the result is one record
 * of the meta page.  Inserts may go on meanwhile: a few neighbours more or less do not matter.
 *
 * Cost: one pass over the node pages with so many distances for each node as there are queries, and the searches.
 */
#include "vacuum/vacuum.h"

#include "commands/vacuum.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "search/nearest.h"
#include "utils/float.h"
#include "utils/memutils.h"

#define CALIBRATE_QUERIES 100
#define CALIBRATE_WANTED  10
/* Smaller indexes are swept (scan.c). */
#define CALIBRATE_NODES_MIN 2000
#define CALIBRATE_ENOUGH  0.999

static const uint32 calibrate_widths[] = {10, 16, 24, 40, 64, 100, 160, 256, 400, 640};

StaticAssertDecl(lengthof(calibrate_widths) <= PHNSW_CALIBRATION_MAX, "the meta page holds every measurement");

typedef struct CalibrateQuery
{
	uint32		id;
	phnsw_slot *slot;
	phnsw_query *product;		/* inner product: what is searched for; otherwise NULL, and it is the slot's code */
	Nearest		truth;
} CalibrateQuery;

typedef struct Calibrate
{
	IndexVacuumInfo *info;
	Relation	index;
	PhnswIndex *pi;
	MemoryContext context;
	uint32		limit;
	uint32		n;
	CalibrateQuery queries[CALIBRATE_QUERIES];
	phnsw_search *search;
	char	   *hop;			/* copies of one hop's nodes */
	uint64		hops;
	uint64		touches;
} Calibrate;

/* ---- queries and their true neighbours ------------------------------------------------------- */

/* Takes a node for a query; false unless it is live.  *told: its code tells what to search for. */
static bool
take_node(Calibrate *c, CalibrateQuery *query, uint32 id, bool *told)
{
	phnsw_error error;

	phnsw_touch_copy(c->index, c->pi, &id, 1, (char *) query->slot);
	if (query->slot->state != PHNSW_SLOT_LIVE)
		return false;
	query->id = id;
	*told = true;
	if (query->product != NULL)
		phnsw_ensure(phnsw_query_set_decoded(query->product, query->slot, told, &error), &error);
	return true;
}

/*
 * A live node out of each of as many equal parts of the ids, the first near the place drawn that tells what to
 * search for, or the first; none where a part has no live one there.
 */
static void
draw(Calibrate *c)
{
	for (uint32 i = 0; i < CALIBRATE_QUERIES; i++)
	{
		CalibrateQuery *query = &c->queries[c->n];
		uint32		begin = (uint64) c->limit * i / CALIBRATE_QUERIES;
		uint32		end = (uint64) c->limit * (i + 1) / CALIBRATE_QUERIES;
		uint32		id = begin + murmurhash32(i) % (end - begin);
		uint32		first = PHNSW_NONE;
		bool		told = false;

		if (query->slot == NULL)
		{
			query->slot = palloc(c->pi->slot_bytes);
			query->truth.distances = palloc(CALIBRATE_WANTED * sizeof(double));
			if (c->pi->meta.codec.metric == PHNSW_IP)
				query->product = phnsw_query_borrow(c->pi, c->context);
		}
		for (uint32 tries = 0; tries < 16 && id < end && !told; tries++, id++)
		{
			if (take_node(c, query, id, &told) && first == PHNSW_NONE)
				first = id;
		}
		if (told || (first != PHNSW_NONE && take_node(c, query, first, &told)))
			c->n++;
	}
}

static void
distances(const Calibrate *c, const CalibrateQuery *query, const phnsw_slot *const *slots, uint32 n, float *result)
{
	if (query->product != NULL)
		phnsw_query_score(query->product, slots, n, result);
	else
		phnsw_codec_distances(c->pi->codec, query->slot, slots, n, result);
}

/* The distances of every query's nearest other nodes. */
static void
find_truth(Calibrate *c)
{
	PhnswPassPages pages = {.space = &c->pi->meta.nodes, .per_page = c->pi->slots_per_page, .limit = c->limit};
	PhnswPass  *pass = phnsw_pass_begin(c->index, c->info->strategy, phnsw_pass_pages, &pages);
	const phnsw_slot **slots = palloc(c->pi->slots_per_page * sizeof(phnsw_slot *));
	uint32	   *ids = palloc(c->pi->slots_per_page * sizeof(uint32));
	float	   *found = palloc(c->pi->slots_per_page * sizeof(float));
	Buffer		buffer;

	for (uint32 first = 0; (buffer = phnsw_pass_next(pass)) != InvalidBuffer; first += c->pi->slots_per_page)
	{
		uint32		count = Min(c->pi->slots_per_page, c->limit - first);
		uint32		n = 0;
		Page		page = BufferGetPage(buffer);

		for (uint32 i = 0; i < count; i++)
		{
			slots[n] = phnsw_page_slot(c->pi, page, i);
			ids[n] = first + i;
			n += slots[n]->state == PHNSW_SLOT_LIVE;
		}
		for (uint32 q = 0; q < c->n; q++)
		{
			CalibrateQuery *query = &c->queries[q];

			distances(c, query, slots, n, found);
			for (uint32 i = 0; i < n; i++)
			{
				if (nearest_wants(&query->truth, CALIBRATE_WANTED, found[i]) && query->id != ids[i])
					nearest_add(&query->truth, CALIBRATE_WANTED, found[i]);
			}
		}
		ReleaseBuffer(buffer);
		PhnswVacuumDelay();
	}
	phnsw_pass_end(pass);
}

/* ---- searches -------------------------------------------------------------------------------- */

static void
score(Calibrate *c, const CalibrateQuery *query, const uint32 *ids, uint32 n, float *scores, uint32 *versions)
{
	phnsw_touch_copy(c->index, c->pi, ids, n, c->hop);
	c->touches += n;
	for (uint32 i = 0; i < n; i++)
	{
		const phnsw_slot *slot = (phnsw_slot *) (c->hop + (Size) i * c->pi->slot_bytes);

		distances(c, query, &slot, 1, &scores[i]);
		if (slot->state != PHNSW_SLOT_LIVE)
			scores[i] = get_float4_infinity();
		versions[i] = slot->version;
	}
}

/*
 * Searches one level from the machine's entries on, past the query's own
 * node; leaves the result in the machine's window.
 */
static void
search_level(Calibrate *c, const CalibrateQuery *query, uint32 level)
{
	uint32		links[PHNSW_LINKS_MAX];
	uint32		fresh[PHNSW_LINKS_MAX];
	float		scores[PHNSW_LINKS_MAX];
	uint32		versions[PHNSW_LINKS_MAX];
	uint32		node;
	uint32		n;
	phnsw_error error;

	/* Seen already: nothing leads to it, unless the graph begins there. */
	if (c->pi->meta.entry != query->id)
		phnsw_ensure(phnsw_search_fresh(c->search, &query->id, 1, fresh, &n, &error), &error);
	while (phnsw_search_pop(c->search, &node))
	{
		n = phnsw_links(c->index, c->pi, node, level, links);
		c->hops++;
		phnsw_ensure(phnsw_search_fresh(c->search, links, n, fresh, &n, &error), &error);
		if (n == 0)
			continue;
		score(c, query, fresh, n, scores, versions);
		phnsw_ensure(phnsw_search_offer(c->search, fresh, scores, versions, n, &error), &error);
	}
}

static uint32
count_found(const Calibrate *c, const CalibrateQuery *query)
{
	uint32		n;
	uint32		found = 0;
	const phnsw_candidate *window = phnsw_search_window(c->search, &n);

	for (uint32 i = 0; i < n && window[i].score <= query->truth.distances[0]; i++)
		found += window[i].id != query->id;
	return Min(found, query->truth.n);
}

/*
 * One query with one ef: what a search finds that is stopped by the smallest slack, goes on to the next, and
 * so on to its end.  Touches and hops are those of the descent, too.
 */
static void
measure_query(Calibrate *c, const CalibrateQuery *query, uint32 ef, phnsw_tallies *tallies)
{
	phnsw_candidate entries[PHNSW_DESCENT_EF] = {{.id = c->pi->meta.entry}};
	uint32		n = 1;
	phnsw_error error;

	c->hops = c->touches = 0;
	score(c, query, &entries[0].id, 1, &entries[0].score, &entries[0].version);
	for (uint32 level = c->pi->meta.entry_level; level > 0; level--)
	{
		phnsw_descent_begin(c->search, query->product, c->pi->meta.nodes.limit, entries, n);
		search_level(c, query, level);
		n = phnsw_descent_end(c->search, entries);
	}
	phnsw_ensure(phnsw_search_begin(c->search, ef, c->pi->meta.nodes.limit, false, &error), &error);
	phnsw_ensure(phnsw_search_offer(c->search, &entries[0].id, &entries[0].score, &entries[0].version, 1, &error),
				 &error);
	for (uint32 slack = 0; slack <= PHNSW_STOP_SLACKS; slack++)
	{
		bool		whole = slack == PHNSW_STOP_SLACKS;
		phnsw_tally *tally = whole ? &tallies->whole : &tallies->stopped[slack];

		phnsw_search_stop_beyond(c->search, whole ? 0 : PHNSW_STOP_RANK, whole ? 0 : phnsw_stop_slack(slack),
								 query->product != NULL ? phnsw_query_offset(query->product) : 0);
		search_level(c, query, 0);
		tally->found += count_found(c, query);
		tally->touches += c->touches;
		tally->hops += c->hops;
	}
}

static uint32
measure(Calibrate *c, phnsw_calibration *calibration, phnsw_stop *stops)
{
	phnsw_tallies *tallies = palloc0(lengthof(calibrate_widths) * sizeof(phnsw_tallies));
	uint32		wanted = 0;
	uint32		n = 0;

	for (uint32 q = 0; q < c->n; q++)
		wanted += c->queries[q].truth.n;
	do
	{
		const phnsw_tally *whole = &tallies[n].whole;

		for (uint32 q = 0; q < c->n; q++)
		{
			PhnswVacuumDelay();
			measure_query(c, &c->queries[q], calibrate_widths[n], &tallies[n]);
		}
		calibration[n].ef = calibrate_widths[n];
		calibration[n].recall = (float) whole->found / wanted;
		calibration[n].touches = (float) whole->touches / c->n;
		calibration[n].hops = (float) whole->hops / c->n;
	} while (calibration[n++].recall < CALIBRATE_ENOUGH && n < lengthof(calibrate_widths));
	phnsw_find_stops(calibration, tallies, n, wanted, stops);
	return n;
}

/* ---- the meta page --------------------------------------------------------------------------- */

static void
write_calibration(Calibrate *c, const phnsw_calibration *calibration, const phnsw_stop *stops, uint32 n)
{
	Buffer		buffer = phnsw_lock_meta(c->index);
	phnsw_meta *meta = phnsw_page_meta(BufferGetPage(buffer));

	if (meta->build_id == c->pi->meta.build_id)
	{
		PhnswWal   *wal = phnsw_wal_start(c->index);

		meta = phnsw_page_meta(phnsw_wal_register(wal, buffer, PHNSW_WAL_WHOLE));
		meta->calibrations = n;
		memcpy(meta->calibration, calibration, n * sizeof(phnsw_calibration));
		memcpy(meta->stop, stops, n * sizeof(phnsw_stop));
		meta->calibrated_nodes = c->limit;
		meta->calibrated_by = c->pi->meta.codec.metric == PHNSW_IP ? PHNSW_BY_QUERIES : PHNSW_BY_POINTS;
		meta->change++;
		phnsw_wal_finish(wal);
	}
	UnlockReleaseBuffer(buffer);
}

void
phnsw_vacuum_calibrate(IndexVacuumInfo *info)
{
	PhnswIndex *pi = phnsw_index_open(info->index);
	uint32		measured = Max(pi->meta.built_nodes, pi->meta.calibrated_nodes);
	phnsw_calibration calibration[PHNSW_CALIBRATION_MAX];
	phnsw_stop	stops[PHNSW_CALIBRATION_MAX];
	MemoryContext context;
	MemoryContext caller;
	Calibrate  *c;

	if (pi->meta.entry == PHNSW_NONE || pi->meta.nodes.limit <= CALIBRATE_NODES_MIN ||
		pi->meta.nodes.limit <= (uint64) measured + measured / 5)
		return;

	context = AllocSetContextCreate(CurrentMemoryContext, "phnsw calibration", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	c = palloc0(sizeof(Calibrate));
	c->info = info;
	c->index = info->index;
	c->pi = pi;
	c->context = context;
	c->limit = pi->meta.nodes.limit;
	c->search = phnsw_search_borrow(pi, context);
	c->hop = palloc(PHNSW_LINKS_MAX * (Size) pi->slot_bytes);
	draw(c);
	find_truth(c);
	if (c->n > 0 && c->queries[0].truth.n == CALIBRATE_WANTED)
	{
		uint32		n = measure(c, calibration, stops);

		write_calibration(c, calibration, stops, n);
		phnsw_index_refresh(info->index, pi);
		ereport(DEBUG1,
				(errmsg("phnsw index \"%s\" was calibrated for %u nodes: recall %.3f at ef %u",
						RelationGetRelationName(info->index), c->limit, calibration[n - 1].recall,
						calibration[n - 1].ef),
				 errhidestmt(true)));
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
