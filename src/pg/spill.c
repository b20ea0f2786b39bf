/*
 * spill.c
 *    Memory of the core's that is a mapped file: one of PostgreSQL's temporary files, so that it counts for temp_file_limit and
 *    log_temp_files, follows temp_tablespaces, and goes however the transaction ends.
 */
#include "spill.h"

#include "commands/tablespace.h"
#include "miscadmin.h"
#include "pgstat.h"

#define PHNSW_ZERO_BYTES  (1024 * 1024)

void
phnsw_spill_extend(File *file, uint64 *size, uint64 bytes)
{
	char	   *zeros = palloc0(PHNSW_ZERO_BYTES);

	if (*file < 0)
	{
		PrepareTempTablespaces();
		*file = OpenTemporaryFile(false);
	}
	while (*size < bytes)
	{
		int			n = Min(bytes - *size, PHNSW_ZERO_BYTES);
		int			written = FileWrite(*file, zeros, n, *size, WAIT_EVENT_BUFFILE_WRITE);

		if (written != n)
			ereport(ERROR,
					(errcode_for_file_access(),
					 written < 0
					 ? errmsg("could not write to file \"%s\": %m", FilePathName(*file))
					 : errmsg("could not write to file \"%s\": wrote only %d of %d bytes", FilePathName(*file), written, n),
					 errhint("Raise maintenance_work_mem, or free space in the temporary tablespace.")));
		*size += n;
		CHECK_FOR_INTERRUPTS();
	}
	pfree(zeros);
}
