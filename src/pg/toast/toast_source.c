/*
 * toast_source.c
 *    The TOAST tables that a backend reads, and the locks that make it safe to remember things of them.
 *
 * PostgreSQL opens and locks a TOAST table and its index for every value and lets go of them again.  Here both
 * are locked once in a transaction, until its end, as the table that they belong to is; and nothing is held
 * open: no relation is pinned, no buffer, no scan, so there is nothing that an error, a savepoint or a cursor
 * could leave behind.  While the locks are held the files stay what they are unless this transaction itself
 * changes them (TRUNCATE, CLUSTER), which the relation cache tells us.
 *
 * The locks belong to the subtransaction that took them, like those of the table: if a savepoint that is
 * rolled back let go of the table but not of its TOAST table, whoever locks the table next (TRUNCATE)
 * would wait for us to let go of the latter, and we for the former.  A rollback to a savepoint forgets
 * all locks, and "locked" remains one comparison of transaction ids.
 */
#include "postgres.h"

#include "toast/toast_source.h"

#include "access/relation.h"
#include "access/toast_internals.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class_d.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

typedef struct SourceEntry
{
	Oid			relid;
	PhnswToastSource *source;
	char		status;
} SourceEntry;

#define SH_PREFIX phnsw_sources
#define SH_ELEMENT_TYPE SourceEntry
#define SH_KEY_TYPE Oid
#define SH_KEY relid
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static phnsw_sources_hash *sources = NULL;
static PhnswToastSource *last = NULL;	/* asked for */
static uint64 changes = 0;		/* that the relation cache told us of */

/* Looks at a table that changes while it is looked at.  More than once only with debug_discard_caches. */
#define PHNSW_SOURCE_LOOKS 3

/* Reads that the statistics hear of together, at the beginning of a transaction. */
#define PHNSW_SOURCE_HITS 64

/* Relation cache callback: a file, a name or anything else has changed. */
static void
mark_invalid(Datum arg, Oid relid)
{
	phnsw_sources_iterator iterator;
	SourceEntry *entry;

	changes++;
	phnsw_sources_start_iterate(sources, &iterator);
	while ((entry = phnsw_sources_iterate(sources, &iterator)) != NULL)
	{
		if (relid == InvalidOid || relid == entry->source->table.relid || relid == entry->source->tree.relid)
			entry->source->valid = false;
	}
}

/* Subtransaction callback: a rollback may have dropped locks. */
static void
forget_locks(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	phnsw_sources_iterator iterator;
	SourceEntry *entry;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	phnsw_sources_start_iterate(sources, &iterator);
	while ((entry = phnsw_sources_iterate(sources, &iterator)) != NULL)
		entry->source->locked = InvalidLocalTransactionId;
}

static void
lock_until_end(Oid relid)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	LockRelationOid(relid, AccessShareLock);
	CurrentResourceOwner = owner;
}

/* Looks at both relations.  REQUIRES: both are locked. */
static void
describe(PhnswToastSource *source, Oid relid, Oid treeid)
{
	Relation	table = relation_open(relid, NoLock);
	Relation	tree = relation_open(treeid, NoLock);

	source->usable = table->rd_rel->relkind == RELKIND_TOASTVALUE &&
		table->rd_rel->relam == HEAP_TABLE_AM_OID && tree->rd_rel->relam == BTREE_AM_OID &&
		!RelationUsesLocalBuffers(table);
	phnsw_buffer_map_set(&source->table, relid, PhnswRelationFile(table));
	phnsw_buffer_map_set(&source->tree, treeid, PhnswRelationFile(tree));
	relation_close(tree, NoLock);
	relation_close(table, NoLock);
}

/*
 * Frees what is known of tables that have changed and that this transaction
 * does not use: most of them have been dropped.
 */
static void
sweep_sources(void)
{
	phnsw_sources_iterator iterator;
	SourceEntry *entry;

	phnsw_sources_start_iterate(sources, &iterator);
	while ((entry = phnsw_sources_iterate(sources, &iterator)) != NULL)
	{
		PhnswToastSource *source = entry->source;

		if (source->valid || source->locked == PhnswTransaction())
			continue;
		phnsw_buffer_map_clear(&source->table);
		phnsw_buffer_map_clear(&source->tree);
		phnsw_sources_delete_item(sources, entry);
		pfree(source);
	}
}

static PhnswToastSource *
find_source(Oid relid)
{
	SourceEntry *entry;
	PhnswToastSource *source;
	bool		found;

	if (sources == NULL)
	{
		sources = phnsw_sources_create(TopMemoryContext, 16, NULL);
		CacheRegisterRelcacheCallback(mark_invalid, (Datum) 0);
		RegisterSubXactCallback(forget_locks, NULL);
	}
	entry = phnsw_sources_lookup(sources, relid);
	if (entry != NULL)
		return entry->source;

	last = NULL;
	sweep_sources();
	source = MemoryContextAllocZero(TopMemoryContext, sizeof(PhnswToastSource));
	source->table.relid = relid;
	entry = phnsw_sources_insert(sources, relid, &found);
	entry->source = source;
	return source;
}

/* Once in a while, since it takes as long as reading a page or two. */
static void
tell_statistics(PhnswToastSource *source)
{
	if (source->table.hits >= PHNSW_SOURCE_HITS)
		phnsw_buffer_map_tell(&source->table);
	if (source->tree.hits >= PHNSW_SOURCE_HITS)
		phnsw_buffer_map_tell(&source->tree);
}

/* Waiting for a lock lets us hear of what others have changed, so nothing is believed before both are held. */
static void
lock_source(PhnswToastSource *source, Oid relid)
{
	source->locked = InvalidLocalTransactionId;
	source->table.blocks = source->tree.blocks = 0;
	lock_until_end(relid);
	if (source->valid)
		lock_until_end(source->tree.relid);
	for (int look = 0; !source->valid && look < PHNSW_SOURCE_LOOKS; look++)
	{
		uint64		before = changes;
		Oid			treeid = toast_get_valid_index(relid, AccessShareLock);

		lock_until_end(treeid);
		describe(source, relid, treeid);
		source->valid = changes == before;
	}
	source->locked = PhnswTransaction();
	if (source->valid)
		tell_statistics(source);
}

PhnswToastSource *
phnsw_toast_source(Oid relid)
{
	PhnswToastSource *source = last;

	if (source == NULL || source->table.relid != relid)
		source = last = find_source(relid);
	if (unlikely(!source->valid || source->locked != PhnswTransaction()))
		lock_source(source, relid);
	return source->valid && source->usable ? source : NULL;
}
