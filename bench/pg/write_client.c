/*
 * write_client.c
 *    Inserts vectors into a server's table and measures: prepared statements of one row or
 *    many, binary parameters, a Unix socket, one connection or many.  What the driver of
 *    bench/run.sh runs, since an interpreter would measure itself.
 *
 * usage: write_client CONNINFO SETUP_SQL VECTORS DIMS FIRST_ID BATCH CLIENTS TRANSACTION WARM SECONDS
 *
 *    SETUP_SQL     run once per connection (SET ...)
 *    VECTORS       file of float32 rows, DIMS each, host byte order, inserted in this order; ids count from FIRST_ID
 *    BATCH         rows per statement: INSERT INTO items (id, v) VALUES (...), (...)
 *    CLIENTS       connections, a thread each; each takes the next BATCH rows when it is done with its last
 *    TRANSACTION   1: one transaction per connection, committed at the end; 0: every statement commits
 *    WARM          statements of each connection, each committed, before the clock starts
 *    SECONDS       no statement begins later than this; 0: all rows are inserted
 *
 * The clock runs from when all connections are warm to the last commit.  Prints one JSON object:
 * {"rows":...,"seconds":..., "rows_per_s":...,"p50_us":...,"p99_us":...,"warm_rows":...}, latencies of statements, none
 * of the warm rows in rows; and where the kernel tells, "backend_us_per_row", the processor time of all backends.
 */
#include <pthread.h>
#include <stdatomic.h>

#include <libpq-fe.h>

#define CLIENT_NAME "write_client"
#include "client.h"

#define MAX_BATCH 30000			/* the protocol counts parameters in 16 bits */

static const char *conninfo,
		   *setup_sql;
static size_t batch;
static uint32_t first_id;
static int	client_count,
			one_transaction;
static size_t warm_rows;		/* of all connections */
static double seconds_max,
			deadline;
static atomic_size_t next_row;
static atomic_size_t rows_done;
static atomic_size_t next_latency;
static atomic_llong backends_ns;
static float *latencies_us;
static pthread_barrier_t barrier;

static void
command(PGconn *connection, const char *sql)
{
	PGresult   *result = PQexec(connection, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY)
		fail(sql, PQerrorMessage(connection));
	PQclear(result);
}

/* Prepares the INSERT of this many rows. */
static void
prepare(PGconn *connection, const char *name, size_t rows)
{
	char	   *sql = allocate(64 + rows * 32),
			   *end = sql + sprintf(sql, "INSERT INTO items (id, v) VALUES ");
	PGresult   *result;

	for (size_t r = 0; r < rows; r++)
		end += sprintf(end, "%s($%zu::int4, $%zu::vector)", r > 0 ? "," : "", 2 * r + 1, 2 * r + 2);
	result = PQprepare(connection, name, sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("INSERT", PQerrorMessage(connection));
	PQclear(result);
	free(sql);
}

/* Processor time that the connection's backend has used; 0 where it cannot be told. */
static long long
backend_ns(PGconn *connection)
{
	char		path[64];
	FILE	   *file;
	long long	ns = 0;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(connection));
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%lld", &ns) != 1)
		ns = 0;
	fclose(file);
	return ns;
}

/* The parameters of one statement. */
typedef struct
{
	const char **values;
	int		   *lengths,
			   *formats;
	uint32_t   *ids;
} Parameters;

static void
insert(PGconn *connection, const char *statement, const Parameters *p, size_t start, size_t rows)
{
	PGresult   *result;

	for (size_t r = 0; r < rows; r++)
	{
		p->ids[r] = htonl(first_id + (uint32_t) (start + r));
		p->values[2 * r] = (const char *) &p->ids[r];
		p->values[2 * r + 1] = (const char *) vectors + (start + r) * vector_bytes;
		p->lengths[2 * r] = 4;
		p->lengths[2 * r + 1] = (int) vector_bytes;
		p->formats[2 * r] = p->formats[2 * r + 1] = 1;
	}
	result = PQexecPrepared(connection, statement, (int) (2 * rows), p->values, p->lengths, p->formats, 1);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("INSERT", PQerrorMessage(connection));
	PQclear(result);
}

/* What the clock runs for. */
static void
insert_rows(PGconn *connection, const Parameters *p)
{
	for (;;)
	{
		double		begun = now();
		size_t		start = begun < deadline ? atomic_fetch_add(&next_row, batch) : row_count;
		size_t		rows = start + batch <= row_count ? batch : row_count - start;

		if (start >= row_count)
			break;
		insert(connection, rows == batch ? "whole" : "rest", p, start, rows);
		atomic_fetch_add(&rows_done, rows);
		latencies_us[atomic_fetch_add(&next_latency, 1)] = (float) ((now() - begun) * 1e6);
	}
}

static void *
run_client(void *argument)
{
	PGconn	   *connection = PQconnectdb(conninfo);
	Parameters	p;
	size_t		rest = (row_count - warm_rows) % batch;
	long long	ns;

	(void) argument;
	p.values = allocate(2 * batch * sizeof(char *));
	p.lengths = allocate(2 * batch * sizeof(int));
	p.formats = allocate(2 * batch * sizeof(int));
	p.ids = allocate(batch * sizeof(uint32_t));
	if (PQstatus(connection) != CONNECTION_OK)
		fail("connection", PQerrorMessage(connection));
	command(connection, setup_sql);
	prepare(connection, "whole", batch);
	if (rest != 0)
		prepare(connection, "rest", rest);
	for (size_t left = warm_rows / (size_t) client_count; left > 0; left -= batch)
		insert(connection, "whole", &p, atomic_fetch_add(&next_row, batch), batch);
	if (one_transaction)
		command(connection, "BEGIN");
	ns = backend_ns(connection);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier); /* between the two the clock is set */
	insert_rows(connection, &p);
	if (one_transaction)
		command(connection, "COMMIT");
	if (ns > 0)
		atomic_fetch_add(&backends_ns, backend_ns(connection) - ns);
	PQfinish(connection);
	free(p.values);
	free(p.lengths);
	free(p.formats);
	free(p.ids);
	return NULL;
}

int
main(int argc, char **argv)
{
	pthread_t  *threads;
	double		start,
				elapsed;
	size_t		statements,
				rows;

	if (argc != 11)
		fail("usage", "write_client CONNINFO SETUP_SQL VECTORS DIMS FIRST_ID BATCH CLIENTS TRANSACTION WARM SECONDS");
	conninfo = argv[1];
	setup_sql = argv[2];
	read_vectors(argv[3], atoi(argv[4]));
	first_id = (uint32_t) atoi(argv[5]);
	batch = strtoul(argv[6], NULL, 10);
	client_count = atoi(argv[7]);
	one_transaction = atoi(argv[8]);
	seconds_max = atof(argv[10]);
	if (batch < 1 || batch > MAX_BATCH)
		fail(argv[6], "is no number of rows per statement");
	if (client_count < 1)
		fail(argv[7], "is no number of connections");
	warm_rows = strtoul(argv[9], NULL, 10) * batch * (size_t) client_count;
	if (warm_rows >= row_count)
		fail(argv[3], "holds no more rows than those before the clock starts");

	latencies_us = allocate((row_count / batch + 1) * sizeof(float));
	threads = allocate((size_t) client_count * sizeof(pthread_t));
	pthread_barrier_init(&barrier, NULL, (unsigned) client_count + 1);
	for (int i = 0; i < client_count; i++)
	{
		if (pthread_create(&threads[i], NULL, run_client, NULL) != 0)
			fail("thread", "cannot be started");
	}
	pthread_barrier_wait(&barrier);
	next_row = warm_rows;
	deadline = now() + (seconds_max > 0 ? seconds_max : 1e9);
	start = now();
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < client_count; i++)
		pthread_join(threads[i], NULL);
	elapsed = now() - start;

	statements = atomic_load(&next_latency);
	rows = atomic_load(&rows_done);
	qsort(latencies_us, statements, sizeof(float), compare_floats);
	printf("{\"rows\":%zu,\"seconds\":%.4f,\"rows_per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"warm_rows\":%zu", rows,
		   elapsed,
		   (double) rows / elapsed, latencies_us[statements / 2], latencies_us[statements * 99 / 100], warm_rows);
	if (backends_ns > 0)
		printf(",\"backend_us_per_row\":%.1f", (double) backends_ns * 1e-3 / (double) rows);
	printf("}\n");
	return 0;
}
