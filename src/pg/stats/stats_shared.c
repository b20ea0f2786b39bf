/*
 * stats_shared.c
 *    The server's sums of the statistics: a hash table in shared memory.
 *
 * It exists only when shared_preload_libraries names the library, for only the postmaster can ask for shared memory of
 * that kind.  A backend adds what it has counted after a transaction, at most once a second, and when it ends; so a sum
 * lacks at most what happened since the last transaction of each session.
 *
 * Lock: an LWLock, shared to find entries, exclusive to make or remove them; a spinlock per entry
 * for its numbers.  The table has a fixed size: a new index takes the place of the one that was not
 * used for longest.  The sums start at zero with the server.
 *
 * phnsw_shared_send() runs where a transaction ends and may not fail: it allocates nothing and raises nothing.
 */
#include "stats/stats.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#define PHNSW_SEND_INTERVAL_MS 1000

typedef struct SharedKey
{
	Oid			database;
	Oid			relid;
} SharedKey;

typedef struct SharedStats
{
	SharedKey	key;

	/* protected by the spinlock */
	slock_t		mutex;
	TimestampTz since;
	TimestampTz used;
	PhnswIndexStats sum;
} SharedStats;

static HTAB *table = NULL;		/* NULL: no shared memory */
static LWLock *lock = NULL;
static TimestampTz last_sent = 0;
static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

/* ---- start of the server --------------------------------------------------------------------- */

static void
request_memory(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(hash_estimate_size(PHNSW_STATS_INDEXES_MAX, sizeof(SharedStats)));
	RequestNamedLWLockTranche("phnsw_stats", 1);
}

static void
make_table(void)
{
	HASHCTL		control = {.keysize = sizeof(SharedKey), .entrysize = sizeof(SharedStats)};

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	table = ShmemInitHash("phnsw statistics", PHNSW_STATS_INDEXES_MAX, PHNSW_STATS_INDEXES_MAX, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	lock = &GetNamedLWLockTranche("phnsw_stats")->lock;
	LWLockRelease(AddinShmemInitLock);
}

void
phnsw_shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = make_table;
}

bool
phnsw_shared_exists(void)
{
	return table != NULL;
}

/* ---- from a backend -------------------------------------------------------------------------- */

/* REQUIRES: the lock, exclusive. */
static void
remove_oldest(void)
{
	HASH_SEQ_STATUS all;
	SharedStats *entry;
	SharedStats *oldest = NULL;

	hash_seq_init(&all, table);
	while ((entry = hash_seq_search(&all)) != NULL)
	{
		if (oldest == NULL || entry->used < oldest->used)
			oldest = entry;
	}
	if (oldest != NULL)
		hash_search(table, &oldest->key, HASH_REMOVE, NULL);
}

/* REQUIRES: the lock, exclusive. */
static SharedStats *
enter(const SharedKey *key, TimestampTz since)
{
	SharedStats *entry;
	bool		found;

	if (hash_get_num_entries(table) >= PHNSW_STATS_INDEXES_MAX && hash_search(table, key, HASH_FIND, NULL) == NULL)
		remove_oldest();
	entry = hash_search(table, key, HASH_ENTER_NULL, &found);
	if (entry != NULL && !found)
	{
		SpinLockInit(&entry->mutex);
		entry->since = since;
		entry->used = since;
		memset(&entry->sum, 0, sizeof(entry->sum));
	}
	return entry;
}

/* PhnswLocalVisitor; arg: the time. */
static void
send_entry(PhnswLocalStats *local, void *arg)
{
	TimestampTz now = *(TimestampTz *) arg;
	SharedKey	key = {.database = MyDatabaseId, .relid = local->relid};
	SharedStats *shared;

	if (memcmp(&local->sum, &local->sent, sizeof(local->sum)) == 0)
		return;
	LWLockAcquire(lock, LW_SHARED);
	shared = hash_search(table, &key, HASH_FIND, NULL);
	if (shared == NULL)
	{
		LWLockRelease(lock);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		shared = enter(&key, now);
	}
	if (shared != NULL)
	{
		SpinLockAcquire(&shared->mutex);
		phnsw_stats_add_difference(&shared->sum, &local->sum, &local->sent, sizeof(PhnswIndexStats));
		shared->used = now;
		SpinLockRelease(&shared->mutex);
		local->sent = local->sum;
	}
	LWLockRelease(lock);
}

void
phnsw_shared_send(void)
{
	TimestampTz now;

	if (table == NULL)
		return;
	now = GetCurrentTimestamp();
	last_sent = now;
	phnsw_stats_visit(send_entry, &now);
}

static void
send_after_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			/* PostgreSQL's own statistics want this reading of the clock as well. */
			if (TimestampDifferenceExceeds(last_sent, GetCurrentTransactionStopTimestamp(), PHNSW_SEND_INTERVAL_MS))
				phnsw_shared_send();
			break;
		default:
			break;
	}
}

static void
send_at_exit(int code, Datum arg)
{
	phnsw_shared_send();
}

void
phnsw_shared_enlist(void)
{
	if (table == NULL)
		return;
	RegisterXactCallback(send_after_transaction, NULL);
	before_shmem_exit(send_at_exit, (Datum) 0);
}

uint32
phnsw_shared_read(PhnswSharedRow *rows)
{
	HASH_SEQ_STATUS all;
	SharedStats *entry;
	uint32		n = 0;

	LWLockAcquire(lock, LW_SHARED);
	hash_seq_init(&all, table);
	while ((entry = hash_seq_search(&all)) != NULL)
	{
		if (entry->key.database != MyDatabaseId)
			continue;
		rows[n].relid = entry->key.relid;
		SpinLockAcquire(&entry->mutex);
		rows[n].since = entry->since;
		rows[n].sum = entry->sum;
		SpinLockRelease(&entry->mutex);
		n++;
	}
	LWLockRelease(lock);
	return n;
}

void
phnsw_shared_reset(Oid relid)
{
	HASH_SEQ_STATUS all;
	SharedStats *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&all, table);
	while ((entry = hash_seq_search(&all)) != NULL)
	{
		if (relid == InvalidOid || (entry->key.relid == relid && entry->key.database == MyDatabaseId))
			hash_search(table, &entry->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(lock);
}
