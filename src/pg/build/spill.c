/*
 * spill.c
 *    Memory of the core's that is a mapped file: one of PostgreSQL's temporary files, so that it
 *    counts for temp_file_limit and log_temp_files, follows temp_tablespaces, and goes however the
 *    transaction ends.  And how to ask for such a file and not fail.
 */
#include "build/spill.h"

#include "commands/tablespace.h"
#include "miscadmin.h"
#include "pgstat.h"

#define PHNSW_ZERO_BYTES  (1024 * 1024)

int
phnsw_spill_write(File file, char *data, int bytes, off_t offset)
{
	MemoryContext caller = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;
	uint32		cancel_holdoff = QueryCancelHoldoffCount;
	volatile int written = -1;

	PG_TRY();
	{
		written = FileWrite(file, data, bytes, offset, WAIT_EVENT_BUFFILE_WRITE);
	}
	PG_CATCH();
	{
		/* It is raised before anything is done: there is nothing to roll back. */
		if (geterrcode() != ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		InterruptHoldoffCount = holdoff;
		QueryCancelHoldoffCount = cancel_holdoff;
	}
	PG_END_TRY();
	return written;
}

/*
 * The bytes that the last write did, of n; its errors are the caller's, but for that of temp_file_limit unless `tries`.
 */
static int
extend(File *file, uint64 *size, uint64 bytes, int *n, bool tries)
{
	char	   *zeros = palloc0(PHNSW_ZERO_BYTES);
	int			written = 0;

	*n = 0;

	if (*file < 0)
	{
		PrepareTempTablespaces();
		*file = OpenTemporaryFile(false);
	}
	while (*size < bytes)
	{
		CHECK_FOR_INTERRUPTS();
		*n = Min(bytes - *size, PHNSW_ZERO_BYTES);
		written = tries ? phnsw_spill_write(*file, zeros, *n, *size)
			: FileWrite(*file, zeros, *n, *size, WAIT_EVENT_BUFFILE_WRITE);
		if (written != *n)
			return written;		/* errno says why */
		*size += *n;
	}
	pfree(zeros);
	return written;
}

void
phnsw_spill_extend(File *file, uint64 *size, uint64 bytes)
{
	int			n;
	int			written = extend(file, size, bytes, &n, false);

	if (written != n)
		ereport(ERROR,
				(errcode_for_file_access(),
				 written < 0
				 ? errmsg("could not write to file \"%s\": %m", FilePathName(*file))
				 : errmsg("could not write to file \"%s\": wrote only %d of %d bytes", FilePathName(*file), written, n),
				 errhint("Raise maintenance_work_mem, or free space in the temporary tablespace.")));
}

bool
phnsw_spill_try(File *file, uint64 *size, uint64 bytes)
{
	int			n;
	bool		done = extend(file, size, bytes, &n, true) == n;

	if (!done)
	{
		FileClose(*file);
		*file = -1;
	}
	return done;
}
