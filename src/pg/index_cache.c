/*
 * index_cache.c
 *    What a backend knows of the indexes it uses: meta page copy, codec, block-to-buffer map, idle machines.
 *
 * One PhnswIndex per index and file, in a list that lives as long as the backend.  The immutable part (codec,
 * centre) is tied to the build by meta.build_id; the rest of the meta page is copied again whenever its change
 * counter has moved, which costs a glance at block 0 per phnsw_index_open().
 *
 * Lifetime: a description that became invalid (REINDEX, TRUNCATE, DROP) is freed at the end of the transaction, because
 * an open scan may still hold it.  Core handles are owned by the description's memory context; borrowed ones by the
 * borrower's, whose reset callback gives them back if the description still exists.
 */
#include "phnsw.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/index.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "search/glance.h"

/* A backend's map takes at most 64 MB; blocks beyond go through the buffer table. */
#define PHNSW_MAP_BLOCKS_MAX (64 * 1024 * 1024 / sizeof(Buffer))

static PhnswIndex *known_indexes = NULL;
static bool callbacks_registered = false;
static bool any_stale = false;
static uint64 last_serial = 0;

static void
destroy_codec(void *codec)
{
	phnsw_codec_destroy(codec);
}

static void
destroy_search(void *search)
{
	phnsw_search_destroy(search);
}

static void
destroy_query(void *query)
{
	phnsw_query_destroy(query);
}

static void
mark_stale(Datum arg, Oid relid)
{
	for (PhnswIndex *pi = known_indexes; pi != NULL; pi = pi->next)
	{
		if (relid == InvalidOid || pi->relid == relid)
		{
			pi->stale = true;
			any_stale = true;
		}
	}
}

static void
free_description(PhnswIndex *pi)
{
	phnsw_search_destroy(pi->idle_search);
	phnsw_query_destroy(pi->idle_query);
	phnsw_buffer_map_clear(&pi->rows);
	MemoryContextDelete(pi->context);
}

/* End of a transaction: no scan is open any more. */
static void
free_stale(XactEvent event, void *arg)
{
	PhnswIndex **link = &known_indexes;

	if (!any_stale || event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PARALLEL_PRE_COMMIT ||
		event == XACT_EVENT_PRE_PREPARE)
		return;
	while (*link != NULL)
	{
		PhnswIndex *pi = *link;

		if (pi->stale)
		{
			*link = pi->next;
			free_description(pi);
		}
		else
			link = &pi->next;
	}
	any_stale = false;
}

phnsw_metric
phnsw_index_metric(Relation index)
{
	return (phnsw_metric) DatumGetInt32(OidFunctionCall0(index_getprocid(index, 1, PHNSW_PROC_METRIC)));
}

/* Copies the meta page under a share lock; validates it. */
static void
read_meta(Relation index, phnsw_meta *meta)
{
	Buffer		buffer = ReadBuffer(index, 0);
	Page		page = BufferGetPage(buffer);
	const char *what = "";

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	phnsw_page_check(index, 0, page, PHNSW_PAGE_META);
	memcpy(meta, phnsw_page_meta(page), sizeof(phnsw_meta));
	UnlockReleaseBuffer(buffer);

	if (meta->magic == PHNSW_MAGIC && meta->format_version != PHNSW_FORMAT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" has phnsw format version %u, this server's phnsw reads version %d",
						RelationGetRelationName(index), meta->format_version, PHNSW_FORMAT_VERSION),
				 errhint("REINDEX the index.")));
	if (!phnsw_meta_validate(meta, RelationGetNumberOfBlocks(index), &what))
		phnsw_corrupt(index, 0, 0, what);
}

/* Centre pages to floats; palloc'd, or NULL when the centre is the origin. */
static float *
read_centre(Relation index, const phnsw_meta *meta)
{
	uint32		n = meta->codec.space_dims;
	float	   *centre;

	if (meta->centre_block == 0)
		return NULL;
	centre = palloc(n * sizeof(float));
	for (uint32 i = 0; i < meta->centre_pages; i++)
	{
		BlockNumber block = meta->centre_block + i;
		uint32		first = i * PHNSW_CENTRE_FLOATS;
		uint32		count = Min(n - first, (uint32) PHNSW_CENTRE_FLOATS);
		Buffer		buffer = ReadBuffer(index, block);
		Page		page = BufferGetPage(buffer);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		phnsw_page_check(index, block, page, PHNSW_PAGE_CENTRE);
		if (phnsw_page_opaque(page)->count != count)
			phnsw_corrupt(index, block, 0, "a centre page does not hold the coordinates it should");
		memcpy(centre + first, (char *) page + PHNSW_PAGE_HEADER, count * sizeof(float));
		UnlockReleaseBuffer(buffer);
	}
	for (uint32 i = 0; i < n; i++)
	{
		if (!isfinite(centre[i]))
			phnsw_corrupt(index, meta->centre_block + i / PHNSW_CENTRE_FLOATS, i % PHNSW_CENTRE_FLOATS,
						  "a coordinate of the centre is not finite");
	}
	return centre;
}

/* After every change of pi->meta. */
static void
make_finder(PhnswIndex *pi)
{
	const phnsw_space *nodes = &pi->meta.nodes;
	uint32		extent = 0;

	StaticAssertStmt(PHNSW_EXTENTS_MAX <= PG_UINT8_MAX + 1, "the finder's entries are bytes");
	pi->finder_shift = 0;
	while (nodes->limit > 0 && (nodes->limit - 1) >> pi->finder_shift >= PHNSW_FINDER)
		pi->finder_shift++;
	for (uint32 i = 0; i < PHNSW_FINDER; i++)
	{
		while (extent + 1 < nodes->extents && nodes->extent[extent + 1].first_id <= (uint64) i << pi->finder_shift)
			extent++;
		pi->finder[i] = extent;
	}
}

static PhnswIndex *
describe(Relation index)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext, "phnsw index", ALLOCSET_SMALL_SIZES);
	PhnswIndex *pi;
	void	  **codec;
	float	   *centre;
	phnsw_error error;

	pi = MemoryContextAllocZero(context, sizeof(PhnswIndex));
	pi->context = context;
	pi->serial = ++last_serial;
	pi->relid = RelationGetRelid(index);
	pi->file = PhnswRelationFile(index);
	pi->open_page = InvalidBlockNumber;

	/* A throw from here on leaves the context to the cache context: give it to the transaction until all is well. */
	MemoryContextSetParent(context, CurTransactionContext);
	read_meta(index, &pi->meta);
	centre = read_centre(index, &pi->meta);
	codec = phnsw_own(context, destroy_codec);
	phnsw_ensure(phnsw_codec_create(&pi->meta.codec, centre, &pi->codec, &error), &error);
	*codec = pi->codec;
	if (centre != NULL)
		pfree(centre);

	pi->code_bytes = phnsw_code_bytes(pi->meta.codec.code_dims, pi->meta.codec.bits);
	pi->slot_bytes = pi->meta.slot_bytes;
	pi->element = phnsw_index_element(index);
	pi->slots_per_page = pi->meta.slots_per_page;
	pi->aux_bytes = pi->meta.aux_bytes;
	pi->aux_per_page = pi->meta.aux_per_page;
	pi->m = pi->meta.codec.m;
	make_finder(pi);
	MemoryContextSetParent(context, CacheMemoryContext);
	return pi;
}

/* Makes the map cover the index as it is now. */
static void
grow_map(Relation index, PhnswIndex *pi)
{
	BlockNumber blocks = RelationGetNumberOfBlocks(index);
	BlockNumber size;
	Buffer	   *map;

	if (blocks <= pi->map_size || pi->map_size >= PHNSW_MAP_BLOCKS_MAX)
		return;
	size = Min((uint64) blocks + blocks / 8 + 64, PHNSW_MAP_BLOCKS_MAX);
	map = MemoryContextAllocZero(pi->context, size * sizeof(Buffer));
	if (pi->map != NULL)
	{
		memcpy(map, pi->map, pi->map_size * sizeof(Buffer));
		pfree(pi->map);
	}
	pi->map = map;
	pi->map_size = size;
}

/*
 * The meta copy is as its page, by a look without lock or pin: every statement takes it, and
 * all sessions would write to the lock and wait while one that adds a page has lost its
 * processor.  What committed before our snapshot is there to be seen.
 */
static bool
is_current(Relation index, const PhnswIndex *pi)
{
	PhnswGlance glance;
	const phnsw_meta *meta;
	bool		same;

	if (!phnsw_glance_begin(&glance, index, pi, 0))
		return false;
	meta = phnsw_page_meta(glance.page);
	same = meta->build_id == pi->meta.build_id && meta->magic == PHNSW_MAGIC && meta->change == pi->meta.change;
	return phnsw_glance_end(&glance) && same;
}

/* Brings the meta copy up to date.  false: the file holds another build now. */
static bool
refresh(Relation index, PhnswIndex *pi)
{
	Buffer		buffer;
	const phnsw_meta *meta;
	bool		same_build;
	bool		moved;

	if (is_current(index, pi))
		return true;
	buffer = pi->map_size > 0 ? phnsw_pin(index, pi, 0) : ReadBuffer(index, 0);
	meta = phnsw_page_meta(BufferGetPage(buffer));
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	same_build = meta->build_id == pi->meta.build_id && meta->magic == PHNSW_MAGIC;
	moved = meta->change != pi->meta.change;
	UnlockReleaseBuffer(buffer);
	if (!same_build)
		return false;
	if (moved)
	{
		phnsw_meta	fresh;

		read_meta(index, &fresh);
		if (fresh.build_id != pi->meta.build_id)
			return false;
		pi->meta = fresh;
		make_finder(pi);
	}
	if (moved || pi->map_size == 0)
		grow_map(index, pi);
	return true;
}

void
phnsw_index_refresh(Relation index, PhnswIndex *pi)
{
	if (!refresh(index, pi))
		phnsw_corrupt(index, 0, 0, "the index was rebuilt while it was in use");
}

PhnswIndex *
phnsw_index_open(Relation index)
{
	PhnswIndex *pi;

	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(mark_stale, (Datum) 0);
		RegisterXactCallback(free_stale, NULL);
		callbacks_registered = true;
	}

	for (pi = known_indexes; pi != NULL; pi = pi->next)
	{
		if (pi->relid != RelationGetRelid(index))
			continue;
		if (PhnswFileEquals(pi->file, PhnswRelationFile(index)) && refresh(index, pi))
		{
			pi->stale = false;
			return pi;
		}
		pi->stale = true;
		any_stale = true;
	}

	pi = describe(index);
	grow_map(index, pi);
	pi->next = known_indexes;
	known_indexes = pi;
	return pi;
}

void
phnsw_index_forget(Oid relid)
{
	mark_stale((Datum) 0, relid);
	for (PhnswIndex *pi = known_indexes; pi != NULL; pi = pi->next)
	{
		/* A build id that no file has: the next open looks again. */
		if (pi->relid == relid)
			pi->meta.build_id = 0;
	}
}

/* ---- borrowed machines ----------------------------------------------------------------------- */

typedef struct Loan
{
	MemoryContextCallback callback;
	PhnswIndex *pi;
	uint64		serial;			/* of *pi, which may be gone and its memory used again */
	void	   *search;
	void	   *query;
} Loan;

static void
give_back(void *arg)
{
	Loan	   *loan = arg;

	for (PhnswIndex *pi = known_indexes; pi != NULL; pi = pi->next)
	{
		if (pi != loan->pi || pi->serial != loan->serial)
			continue;
		if (loan->search != NULL && pi->idle_search == NULL)
		{
			pi->idle_search = loan->search;
			loan->search = NULL;
		}
		if (loan->query != NULL && pi->idle_query == NULL)
		{
			pi->idle_query = loan->query;
			loan->query = NULL;
		}
	}
	destroy_search(loan->search);
	destroy_query(loan->query);
}

static Loan *
new_loan(PhnswIndex *pi, MemoryContext context)
{
	Loan	   *loan = MemoryContextAllocZero(context, sizeof(Loan));

	loan->pi = pi;
	loan->serial = pi->serial;
	loan->callback.func = give_back;
	loan->callback.arg = loan;
	MemoryContextRegisterResetCallback(context, &loan->callback);
	return loan;
}

phnsw_search *
phnsw_search_borrow(PhnswIndex *pi, MemoryContext context)
{
	Loan	   *loan = new_loan(pi, context);
	phnsw_search *search = pi->idle_search;
	phnsw_error error;

	pi->idle_search = NULL;
	if (search == NULL)
		phnsw_ensure(phnsw_search_create(&search, &error), &error);
	loan->search = search;
	return search;
}

phnsw_query *
phnsw_query_borrow(PhnswIndex *pi, MemoryContext context)
{
	Loan	   *loan = new_loan(pi, context);
	phnsw_query *query = pi->idle_query;
	phnsw_error error;

	pi->idle_query = NULL;
	if (query == NULL)
		phnsw_ensure(phnsw_query_create(pi->codec, &query, &error), &error);
	loan->query = query;
	return query;
}
