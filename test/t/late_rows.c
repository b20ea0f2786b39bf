/*
 * late_rows.c
 *    Loaded by 048_corners.pl: a library that runs a statement of its own before a
 *    transaction commits or is prepared, as others may.
 *
 * PostgreSQL calls the callback of the library that came last first, so one that is loaded before phnsw inserts
 * when phnsw has flushed, one that is loaded behind it before that.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static char *statement;

static void
before_end(XactEvent event, void *arg)
{
	if ((event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE) || statement[0] == '\0')
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute(statement, false, 0) < 0)
		elog(ERROR, "late_rows.statement failed");
	SPI_finish();
	PopActiveSnapshot();
}

void
_PG_init(void)
{
	DefineCustomStringVariable("late_rows.statement", "Is run before a transaction commits.", NULL, &statement, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(before_end, NULL);
}
