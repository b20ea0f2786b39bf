/*
 * batch_rows.c
 *    Rows of a bulk insert while they wait: in memory, then in a temporary file of PostgreSQL's.
 *
 * All batches of a transaction share half of maintenance_work_mem, a quarter if the index has nodes (the
 * build or the merge has the rest).  Room doubles while the budget has some; after that rows go to the file,
 * through two buffers of some rows, which all batches together have an eighth more for.  So a batch that
 * comes when all is spent (rows for hundreds of partitions) takes three rows.  The file counts for
 * temp_file_limit; a row that it has no room for is refused, and its caller inserts it.
 *
 * An error leaves the rows as they were before the call, so that a subtransaction that ends with it loses only its own:
 * file positions are given with every access, and the buffer is emptied after it has been written.
 *
 * Ownership: memory belongs to the context, the file to the transaction's resource owner.  One thread.
 */
#include "batch/batch.h"
#include "build/spill.h"

#include "commands/tablespace.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#define PHNSW_ROWS_MIN     16
#define PHNSW_BUFFER_BYTES (64 * 1024)

/* What the batches of the transaction may still take. */
static Size
budget_left(const PhnswRows *rows, bool for_buffers)
{
	Size		budget = (Size) maintenance_work_mem * 1024 / rows->part;

	if (for_buffers)
		budget += budget / 8;
	return *rows->memory_used < budget ? budget - *rows->memory_used : 0;
}

void
phnsw_rows_init(PhnswRows *rows, MemoryContext context, uint32 dims, uint32 part, Size *memory_used)
{
	memset(rows, 0, sizeof(*rows));
	rows->context = context;
	rows->dims = dims;
	rows->record_bytes = MAXALIGN(sizeof(phnsw_tid)) + dims * sizeof(float);
	rows->part = part;
	rows->memory_used = memory_used;
	rows->file = -1;
	rows->memory_rows = Max(1, Min(PHNSW_ROWS_MIN, budget_left(rows, false) / rows->record_bytes));
	rows->memory = MemoryContextAlloc(context, rows->memory_rows * rows->record_bytes);
	*memory_used += rows->memory_rows * rows->record_bytes;
}

/* Once; they stay when the file cannot be opened. */
static void
make_buffers(PhnswRows *rows)
{
	Size		bytes = Min(PHNSW_BUFFER_BYTES, budget_left(rows, true) / 4);
	uint32		n = Max(1, bytes / rows->record_bytes);
	char	   *tail = MemoryContextAlloc(rows->context, n * rows->record_bytes);

	rows->ahead = MemoryContextAlloc(rows->context, n * rows->record_bytes);
	rows->tail = tail;
	rows->buffer_rows = n;
	*rows->memory_used += 2 * n * rows->record_bytes;
}

static void
begin_file(PhnswRows *rows)
{
	ResourceOwner owner = CurrentResourceOwner;

	if (rows->tail == NULL)
		make_buffers(rows);
	rows->tail_first = rows->n;
	rows->ahead_rows = 0;

	PrepareTempTablespaces();
	/* An error restores the owner, as it does wherever PostgreSQL does this. */
	CurrentResourceOwner = TopTransactionResourceOwner;
	rows->file = OpenTemporaryFile(false);
	CurrentResourceOwner = owner;
}

/* Makes room behind the last row: twice as much, or what the budget has left if that is worth it, or the file. */
static void
make_room(PhnswRows *rows)
{
	uint64		more = Min(rows->memory_rows, budget_left(rows, false) / rows->record_bytes);

	if (more == 0 || more < rows->memory_rows / 8)
	{
		begin_file(rows);
		return;
	}
	rows->memory = repalloc_huge(rows->memory, (rows->memory_rows + more) * rows->record_bytes);
	rows->memory_rows += more;
	*rows->memory_used += more * rows->record_bytes;
}

static off_t
file_offset(const PhnswRows *rows, uint64 row)
{
	return (off_t) ((row - rows->memory_rows) * rows->record_bytes);
}

uint64
phnsw_rows_file_bytes(const PhnswRows *rows)
{
	/* Fewer rows than memory has room for: a rollback has taken those of the file. */
	return rows->file < 0 || rows->n <= rows->memory_rows ? 0 : file_offset(rows, rows->n);
}

static bool
write_tail(PhnswRows *rows)
{
	int			bytes = (rows->n - rows->tail_first) * rows->record_bytes;

	if (phnsw_spill_write(rows->file, rows->tail, bytes, file_offset(rows, rows->tail_first)) != bytes)
		return false;
	rows->tail_first = rows->n;
	return true;
}

bool
phnsw_rows_add(PhnswRows *rows, const float *vector, ItemPointer tid)
{
	char	   *record;

	if (rows->n == rows->memory_rows && rows->file < 0)
		make_room(rows);
	if (rows->n < rows->memory_rows)
		record = rows->memory + rows->n * rows->record_bytes;
	else
	{
		if (rows->n - rows->tail_first == rows->buffer_rows && !write_tail(rows))
			return false;
		record = rows->tail + (rows->n - rows->tail_first) * rows->record_bytes;
	}
	memcpy(record, tid, sizeof(phnsw_tid));
	memcpy(phnsw_record_vector(record), vector, rows->dims * sizeof(float));
	rows->n++;
	return true;
}

void
phnsw_rows_truncate(PhnswRows *rows, uint64 n)
{
	if (n >= rows->n)
		return;
	rows->n = n;
	if (rows->file >= 0 && n < rows->tail_first)
		rows->tail_first = Max(n, rows->memory_rows);
	rows->ahead_rows = 0;
}

char *
phnsw_rows_get(PhnswRows *rows, uint64 row)
{
	Assert(row < rows->n);
	if (row < rows->memory_rows)
		return rows->memory + row * rows->record_bytes;
	if (row >= rows->tail_first)
		return rows->tail + (row - rows->tail_first) * rows->record_bytes;
	if (row < rows->ahead_first || row >= rows->ahead_first + rows->ahead_rows)
	{
		uint64		count = Min(rows->buffer_rows, rows->tail_first - row);
		int			bytes = count * rows->record_bytes;

		rows->ahead_rows = 0;
		if (FileRead(rows->file, rows->ahead, bytes, file_offset(rows, row), WAIT_EVENT_BUFFILE_READ) != bytes)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read from file \"%s\"", FilePathName(rows->file))));
		rows->ahead_first = row;
		rows->ahead_rows = count;
	}
	return rows->ahead + (row - rows->ahead_first) * rows->record_bytes;
}

void
phnsw_rows_free(PhnswRows *rows)
{
	if (rows->file >= 0)
		FileClose(rows->file);
	if (rows->tail != NULL)
	{
		pfree(rows->tail);
		pfree(rows->ahead);
		*rows->memory_used -= 2 * rows->buffer_rows * rows->record_bytes;
	}
	pfree(rows->memory);
	*rows->memory_used -= rows->memory_rows * rows->record_bytes;
}
