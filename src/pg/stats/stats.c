/*
 * stats.c
 *    Counting: what this backend's scans, inserts and vacuums have done, per index.
 *
 * The hot paths increment one global, phnsw_counters.  Whose work that is, phnsw_charged says: whenever
 * another scan goes on, or an insert begins, the difference since the last change is added to the account
 * that was charged until then.  A scan's account is closed at its end and added to the index's statistics
 * in this backend; a hash table in TopMemoryContext holds them, a few hundred bytes per index.  From there
 * they go to the server's sums, if there are any (stats_shared.c).
 *
 * Cost: two or three readings of the clock, and some forty additions per scan; nothing per row but the comparison in
 * phnsw_stats_charge().  No memory is allocated at the end of a scan, which may be the abort of its transaction.
 */
#include "stats/stats.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PhnswCounters phnsw_counters;
PhnswAccount *phnsw_charged = NULL;
PhnswLastScan phnsw_last_scan_done;

static PhnswCounters mark;		/* phnsw_counters when phnsw_charged was last changed */
static HTAB *table = NULL;
static PhnswLocalStats *last = NULL;	/* entry used last */
static uint64 uses = 0;

/* ---- statistics of an index ------------------------------------------------------------------ */

static void
forget_oldest(void)
{
	HASH_SEQ_STATUS all;
	PhnswLocalStats *entry;
	PhnswLocalStats *oldest = NULL;

	hash_seq_init(&all, table);
	while ((entry = hash_seq_search(&all)) != NULL)
	{
		if (oldest == NULL || entry->used < oldest->used)
			oldest = entry;
	}
	last = NULL;
	hash_search(table, &oldest->relid, HASH_REMOVE, NULL);
}

static PhnswLocalStats *
make_entry(Oid relid)
{
	PhnswLocalStats *entry;
	bool		found;

	if (table == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(Oid), .entrysize = sizeof(PhnswLocalStats), .hcxt = TopMemoryContext
		};

		table = hash_create("phnsw statistics", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		phnsw_shared_enlist();
	}
	if (hash_get_num_entries(table) >= PHNSW_STATS_INDEXES_MAX && hash_search(table, &relid, HASH_FIND, NULL) == NULL)
	{
		phnsw_shared_send();
		forget_oldest();
	}
	entry = hash_search(table, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) entry + sizeof(Oid), 0, sizeof(PhnswLocalStats) - sizeof(Oid));
		entry->since = GetCurrentTimestamp();
	}
	entry->used = ++uses;
	return entry;
}

PhnswIndexStats *
phnsw_stats_of(Oid index)
{
	if (last == NULL || last->relid != index)
		last = make_entry(index);
	return &last->sum;
}

void
phnsw_stats_visit(PhnswLocalVisitor visitor, void *arg)
{
	HASH_SEQ_STATUS all;
	PhnswLocalStats *entry;

	if (table == NULL)
		return;
	hash_seq_init(&all, table);
	while ((entry = hash_seq_search(&all)) != NULL)
		visitor(entry, arg);
}

static void
forget_entry(PhnswLocalStats *entry, void *relid)
{
	if (*(Oid *) relid == InvalidOid || *(Oid *) relid == entry->relid)
		hash_search(table, &entry->relid, HASH_REMOVE, NULL);
}

void
phnsw_stats_forget(Oid relid)
{
	last = NULL;
	phnsw_stats_visit(forget_entry, &relid);
}

/* ---- accounts of scans ----------------------------------------------------------------------- */

void
phnsw_stats_switch(PhnswAccount *account)
{
	if (phnsw_charged != NULL)
		phnsw_stats_add_difference(&phnsw_charged->work, &phnsw_counters, &mark, sizeof(PhnswCounters));
	mark = phnsw_counters;
	phnsw_charged = account;
}

static void
end_account(void *account)
{
	phnsw_stats_end(account);
}

void
phnsw_stats_attach(PhnswAccount *account, MemoryContext context)
{
	account->open = false;
	memset(&account->sum, 0, sizeof(account->sum));
	account->callback.func = end_account;
	account->callback.arg = account;
	MemoryContextRegisterResetCallback(context, &account->callback);
}

void
phnsw_stats_begin(PhnswAccount *account, Oid index, uint32 ef)
{
	phnsw_stats_end(account);
	phnsw_stats_of(index);		/* so that there is an entry at the end */
	account->relid = index;
	account->ef = ef;
	account->open = true;
	account->answered = false;
	memset(&account->work, 0, sizeof(account->work));
	INSTR_TIME_SET_CURRENT(account->begun);
	phnsw_stats_charge(account);
	phnsw_counters.scans++;
}

void
phnsw_stats_first_row(PhnswAccount *account)
{
	INSTR_TIME_SET_CURRENT(account->first_row);
	account->answered = true;
}

void
phnsw_stats_end(PhnswAccount *account)
{
	static const PhnswCounters nothing;
	PhnswLocalStats *entry = last;
	instr_time	now;

	if (!account->open)
		return;
	account->open = false;
	if (phnsw_charged == account)
		phnsw_stats_switch(NULL);
	INSTR_TIME_SET_CURRENT(now);
	if (!account->answered)
		account->first_row = now;
	phnsw_stats_add_difference(&account->sum, &account->work, &nothing, sizeof(PhnswCounters));
	INSTR_TIME_SUBTRACT(now, account->begun);
	INSTR_TIME_SUBTRACT(account->first_row, account->begun);

	phnsw_last_scan_done.relid = account->relid;
	phnsw_last_scan_done.ef = account->ef;
	phnsw_last_scan_done.work = account->work;
	phnsw_last_scan_done.first_row_ms = INSTR_TIME_GET_MILLISEC(account->first_row);
	phnsw_last_scan_done.total_ms = INSTR_TIME_GET_MILLISEC(now);

	if (entry == NULL || entry->relid != account->relid)
		entry = hash_search(table, &account->relid, HASH_FIND, NULL);
	/* A scan that was open during a reset counts for nothing. */
	if (entry != NULL)
		phnsw_stats_add_difference(&entry->sum.scan, &account->work, &nothing, sizeof(PhnswCounters));
}

void
phnsw_stats_init(void)
{
	phnsw_shared_init();
}
