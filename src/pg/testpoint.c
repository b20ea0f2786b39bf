/*
 * testpoint.c
 *    Places where a test stops a backend, or lets it die (phnsw.test_point).
 *
 *    SET phnsw.test_point = 'wait vacuum-aux'        waits there for the advisory lock below
 *    SET phnsw.test_point = 'wait2 insert-planned'   waits there for the one after it: a test may stop two sessions
 *    SET phnsw.test_point = 'crash record 5'         kills itself behind its fifth WAL record of an index
 *    SET phnsw.test_point = ''                       goes on as usual
 *
 * A point acts once, the first time it is reached or the one that the number says, counted from the last SET.  Who
 * waits is seen by pg_blocking_pids(), and so by isolationtester; the test holds
 * pg_advisory_lock(x'70686e7377'::bigint) ("phnsw") and unlocks it.  A backend that dies has its WAL on disk up to
 * there, so that recovery ends in just this state; like any backend's death by a signal this restarts the server.
 *
 * Locks: a point where a backend may wait holds no content lock; PHNSW_POINT_RECORD holds those of its record.
 * Superusers only, who can kill backends anyway.  Costs one comparison with a global.
 */
#include "phnsw.h"

#include <signal.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/guc.h"

#define PHNSW_TEST_LOCK UINT64CONST(0x70686E7377)

static const char *const point_names[] = {
	[PHNSW_POINT_RECORD] = "record",
	[PHNSW_POINT_INSERT_FOUND] = "insert-found",
	[PHNSW_POINT_INSERT_PLANNED] = "insert-planned",
	[PHNSW_POINT_INSERT_WRITTEN] = "insert-written",
	[PHNSW_POINT_MERGE_CLAIMED] = "merge-claimed",
	[PHNSW_POINT_MERGE_LOADED] = "merge-loaded",
	[PHNSW_POINT_MERGE_COMPUTED] = "merge-computed",
	[PHNSW_POINT_MERGE_WRITTEN] = "merge-written",
	[PHNSW_POINT_VACUUM_SEEN] = "vacuum-seen",
	[PHNSW_POINT_VACUUM_REPAIR] = "vacuum-repair",
	[PHNSW_POINT_VACUUM_AUX] = "vacuum-aux",
	[PHNSW_POINT_VACUUM_ATTACH] = "vacuum-attach",
	[PHNSW_POINT_VACUUM_FREE] = "vacuum-free",
	[PHNSW_POINT_VACUUM_FREED] = "vacuum-freed",
	[PHNSW_POINT_KILL] = "kill",
	[PHNSW_POINT_CHECK_READ] = "check-read",
};

PhnswTestPoint phnsw_test_point_armed = PHNSW_POINT_NONE;
static bool crash;
static bool second;				/* lock */
static int	times_left;			/* until it acts */
static char *setting;

/* The setting's parts; false when it is none. */
static bool
parse(const char *value, PhnswTestPoint *point, bool *dies, bool *other, int *nth)
{
	char		action[8];
	char		name[32];
	char		rest;
	int			parts = sscanf(value, "%7s %31s %d %c", action, name, nth, &rest);

	*point = PHNSW_POINT_NONE;
	*dies = false;
	*other = false;
	if (parts <= 0)
		return true;
	if (parts == 2)
		*nth = 1;
	else if (parts != 3 || *nth < 1)
		return false;
	*dies = strcmp(action, "crash") == 0;
	*other = strcmp(action, "wait2") == 0;
	if (!*dies && !*other && strcmp(action, "wait") != 0)
		return false;
	for (int i = PHNSW_POINT_NONE + 1; i < lengthof(point_names); i++)
	{
		if (strcmp(name, point_names[i]) == 0)
			*point = i;
	}
	return *point != PHNSW_POINT_NONE && (*dies || *point != PHNSW_POINT_RECORD);
}

static bool
check_setting(char **value, void **extra, GucSource source)
{
	PhnswTestPoint point;
	bool		dies;
	bool		other;
	int			nth;

	if (parse(*value, &point, &dies, &other, &nth))
		return true;
	GUC_check_errdetail("It is \"wait\", \"wait2\" or \"crash\", a point's name, and a number if it is not the first "
						"time.");
	return false;
}

static void
assign_setting(const char *value, void *extra)
{
	parse(value, &phnsw_test_point_armed, &crash, &second, &times_left);
}

static void
wait_for_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (PHNSW_TEST_LOCK >> 32), (uint32) PHNSW_TEST_LOCK + second, 1);
	LockAcquire(&tag, ShareLock, false, false);
	LockRelease(&tag, ShareLock, false);
}

void
phnsw_test_point_reached(void)
{
	if (--times_left > 0)
		return;
	phnsw_test_point_armed = PHNSW_POINT_NONE;
	if (!crash)
	{
		wait_for_lock();
		return;
	}
	XLogFlush(XactLastRecEnd);
	kill(MyProcPid, SIGKILL);
	pg_unreachable();
}

void
phnsw_test_point_init(void)
{
	DefineCustomStringVariable("phnsw.test_point",
							   "For tests: a point where this session waits or dies.",
							   "\"wait POINT [N]\" or \"crash POINT [N]\", where N counts from 1.",
							   &setting, "", PGC_SUSET, GUC_NOT_IN_SAMPLE, check_setting, assign_setting, NULL);
}
