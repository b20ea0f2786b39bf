/*
 * query_client.c
 *    Asks a server for nearest neighbours and measures: one prepared statement, a binary vector parameter, a Unix
 *    socket, one connection or many.  What the driver of bench/run.sh runs, since an interpreter would measure itself.
 *
 * usage: query_client CONNINFO SETUP_SQL QUERY_SQL QUERIES DIMS SECONDS CLIENTS [ANSWERS [CORE]]
 *
 *    SETUP_SQL   run once per connection (SET ...)
 *    QUERY_SQL   has one parameter $1::vector; its first column is int4.  A second one, where there is a $2, is an
 *                int4 below zero, which the query's number spreads evenly over all of them
 *    QUERIES     file of float32 rows, DIMS each, host byte order
 *    SECONDS     how long to measure, after one pass over the queries that warms up (and fills ANSWERS); 0: that pass
 *                is what is measured, by one connection, for caches that are cold or beside other work
 *    CLIENTS     connections, a thread each, which start at different queries
 *    ANSWERS     file for the answers of the first pass: per query a count and the ids, int32
 *    CORE        number of the processor core that a timed connection and its backend both run on, for one
 *                connection.  They take turns anyway; the scheduler keeps them on one core or on two as it happens,
 *                and waking a core that sleeps costs a virtual machine more than a search.
 *
 * Prints one JSON object: {"qps":...,"p50_us":...,"p95_us":...,"p99_us":...,"mean_us":...,"first_us":...,"queries":...,
 * "histogram":"80:3 81:40 ..."}.  A bucket I:N of the histogram says that N latencies were from 10^(I/20) to
 * 10^((I+1)/20) microseconds.  A timed run adds "backend_private_bytes", the anonymous memory of the first connection's
 * backend at the end.  A single pass (SECONDS 0) adds "p50_running_us" and "p99_running_us" where the kernel has
 * /proc/PID/schedstat: latencies less the time that backend and client were ready to run and had no core, because
 * others had them all.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <libpq-fe.h>

#define CLIENT_NAME "query_client"
#include "client.h"

#define BUCKETS_PER_DECADE 20
#define BUCKETS (8 * BUCKETS_PER_DECADE)	/* to 100 s */

typedef struct client
{
	pthread_t	thread;
	int			number;
	uint64_t	queries;
	float	   *latencies_us;
	uint64_t	capacity;
	long		backend_bytes;
} client;

/* /proc/PID/schedstat of the backend and of this thread; -1: there is none */
typedef struct run_queue
{
	int			backend;
	int			self;
} run_queue;

static const char *conninfo,
		   *setup_sql,
		   *query_sql;
static int	parameter_count;
static double seconds;
static int	client_count;
static int	core = -1;			/* -1: wherever the scheduler likes */
static pthread_barrier_t barrier;

static PGconn *
open_connection(void)
{
	PGconn	   *connection = PQconnectdb(conninfo);
	PGresult   *result;

	if (PQstatus(connection) != CONNECTION_OK)
		fail("connection", PQerrorMessage(connection));
	result = PQexec(connection, setup_sql);
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK &&
		PQresultStatus(result) != PGRES_EMPTY_QUERY)
		fail(setup_sql, PQerrorMessage(connection));
	PQclear(result);
	result = PQprepare(connection, "q", query_sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(query_sql, PQerrorMessage(connection));
	PQclear(result);
	return connection;
}

/* This thread and the connection's backend, which must be of this machine. */
static void
share_core(PGconn *connection)
{
	cpu_set_t	one;

	CPU_ZERO(&one);
	CPU_SET(core, &one);
	if (sched_setaffinity(0, sizeof(one), &one) != 0 ||
		sched_setaffinity(PQbackendPID(connection), sizeof(one), &one) != 0)
		fail("core", "client and backend cannot be put there");
}

static PGresult *
ask(PGconn *connection, size_t query)
{
	uint32_t	below_zero = htonl(UINT32_C(0x80000000) | ((uint32_t) query * UINT32_C(2654435761)) >> 1);
	const char *values[] = {(const char *) vectors + query * vector_bytes, (const char *) &below_zero};
	int			lengths[] = {(int) vector_bytes, sizeof(below_zero)};
	int			formats[] = {1, 1};
	PGresult   *result = PQexecPrepared(connection, "q", parameter_count, values, lengths, formats, 1);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("query", PQerrorMessage(connection));
	return result;
}

/* Nanoseconds that a thread has been ready to run without a core: the second number of its schedstat. */
static double
waited_ns(int schedstat)
{
	char		text[128];
	ssize_t		n = pread(schedstat, text, sizeof(text) - 1, 0);
	double		ran,
				waited;

	if (n <= 0)
		fail("schedstat", "cannot be read");
	text[n] = 0;
	if (sscanf(text, "%lf %lf", &ran, &waited) != 2)
		fail("schedstat", text);
	return waited;
}

static run_queue
open_run_queue(PGconn *connection)
{
	char		path[64];
	run_queue	queue;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(connection));
	queue.backend = open(path, O_RDONLY);
	queue.self = open("/proc/thread-self/schedstat", O_RDONLY);
	if (queue.backend < 0 || queue.self < 0)
		queue.backend = queue.self = -1;
	return queue;
}

/* Only one of the two can be ready at a time: the other waits for it. */
static double
both_waited_us(const run_queue *queue)
{
	return queue->backend < 0 ? 0 : (waited_ns(queue->backend) + waited_ns(queue->self)) * 1e-3;
}

/* Anonymous memory of a process, 0 when unknown. */
static long
private_bytes(int pid)
{
	char		path[64],
				line[256];
	FILE	   *file;
	long		kilobytes = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL && sscanf(line, "RssAnon: %ld", &kilobytes) != 1)
		continue;
	fclose(file);
	return kilobytes * 1024;
}

/*
 * One pass over all queries; writes the ids when a file is given, the latencies when there is room for them, and the
 * latencies without time in the run queue beside them.
 */
static void
one_pass(PGconn *connection, const char *answers_path, float *latencies_us, float *running_us, const run_queue *queue)
{
	FILE	   *file = answers_path != NULL ? fopen(answers_path, "wb") : NULL;

	if (answers_path != NULL && file == NULL)
		fail(answers_path, "cannot be written");
	for (size_t q = 0; q < row_count; q++)
	{
		double		waited = latencies_us != NULL ? both_waited_us(queue) : 0;
		double		begun = now();
		PGresult   *result = ask(connection, q);
		int32_t		rows = PQntuples(result);

		if (latencies_us != NULL)
		{
			latencies_us[q] = (float) ((now() - begun) * 1e6);
			running_us[q] = latencies_us[q] - (float) (both_waited_us(queue) - waited);
		}
		if (file != NULL)
		{
			fwrite(&rows, 4, 1, file);
			for (int i = 0; i < rows; i++)
			{
				uint32_t	id;

				memcpy(&id, PQgetvalue(result, i, 0), 4);
				id = ntohl(id);
				fwrite(&id, 4, 1, file);
			}
		}
		PQclear(result);
	}
	if (file != NULL)
		fclose(file);
}

static void *
run_client(void *argument)
{
	client	   *self = argument;
	PGconn	   *connection = open_connection();
	size_t		query = row_count / (size_t) client_count * (size_t) self->number;
	double		end;

	if (core >= 0)
		share_core(connection);
	/* The first executions plan anew; none of that belongs to the measurement. */
	for (int i = 0; i < 20; i++)
		PQclear(ask(connection, (query + (size_t) i) % row_count));
	pthread_barrier_wait(&barrier);
	end = now() + seconds;
	for (;;)
	{
		double		start = now(),
					stop;

		PQclear(ask(connection, query));
		stop = now();
		query = (query + 1) % row_count;
		if (self->queries == self->capacity)
		{
			self->capacity = self->capacity ? self->capacity * 2 : 65536;
			self->latencies_us = realloc(self->latencies_us, self->capacity * sizeof(float));
		}
		self->latencies_us[self->queries++] = (float) ((stop - start) * 1e6);
		if (stop >= end)
			break;
	}
	self->backend_bytes = private_bytes(PQbackendPID(connection));
	PQfinish(connection);
	return NULL;
}

static void
print_histogram(const float *latencies_us, uint64_t total)
{
	uint64_t	counts[BUCKETS] = {0};
	const char *separator = "";

	for (uint64_t i = 0; i < total; i++)
	{
		int			bucket = latencies_us[i] > 1 ? (int) (log10(latencies_us[i]) * BUCKETS_PER_DECADE) : 0;

		counts[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	}
	printf(",\"histogram\":\"");
	for (int i = 0; i < BUCKETS; i++)
	{
		if (counts[i] == 0)
			continue;
		printf("%s%d:%llu", separator, i, (unsigned long long) counts[i]);
		separator = " ";
	}
	printf("\"");
}

/* All but the closing brace.  Sorts the latencies. */
static void
print_result(float *latencies_us, uint64_t total, double elapsed)
{
	double		sum = 0;
	float		first = latencies_us[0];

	qsort(latencies_us, total, sizeof(float), compare_floats);
	for (uint64_t i = 0; i < total; i++)
		sum += latencies_us[i];
	printf("{\"qps\":%.1f,\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,", (double) total / elapsed,
		   latencies_us[total / 2], latencies_us[total * 95 / 100], latencies_us[total * 99 / 100]);
	printf("\"mean_us\":%.1f,\"first_us\":%.1f,\"queries\":%llu", sum / (double) total, first,
		   (unsigned long long) total);
	print_histogram(latencies_us, total);
}

/* What one pass measured. */
static void
print_pass(float *latencies_us, float *running_us, double elapsed, const run_queue *queue)
{
	print_result(latencies_us, row_count, elapsed);
	if (queue->backend >= 0)
	{
		qsort(running_us, row_count, sizeof(float), compare_floats);
		printf(",\"p50_running_us\":%.1f,\"p99_running_us\":%.1f", running_us[row_count / 2],
			   running_us[row_count * 99 / 100]);
	}
	printf("}\n");
}

int
main(int argc, char **argv)
{
	client	   *clients;
	PGconn	   *connection;
	uint64_t	total = 0;
	float	   *all,
			   *running;
	run_queue	queue = {-1, -1};
	double		start,
				elapsed;

	if (argc < 8)
		fail("usage", "query_client CONNINFO SETUP_SQL QUERY_SQL QUERIES DIMS SECONDS CLIENTS [ANSWERS [CORE]]");
	conninfo = argv[1];
	setup_sql = argv[2];
	query_sql = argv[3];
	parameter_count = strstr(query_sql, "$2") != NULL ? 2 : 1;
	read_vectors(argv[4], atoi(argv[5]));
	seconds = atof(argv[6]);
	client_count = atoi(argv[7]);
	if (argc > 9)
		core = atoi(argv[9]);

	connection = open_connection();
	all = seconds > 0 ? NULL : malloc(row_count * sizeof(float));
	running = seconds > 0 ? NULL : malloc(row_count * sizeof(float));
	if (seconds <= 0)
		queue = open_run_queue(connection);
	start = now();
	one_pass(connection, argc > 8 ? argv[8] : NULL, all, running, &queue);
	elapsed = now() - start;
	PQfinish(connection);
	if (seconds <= 0)
	{
		print_pass(all, running, elapsed, &queue);
		return 0;
	}

	clients = calloc((size_t) client_count, sizeof(client));
	pthread_barrier_init(&barrier, NULL, (unsigned) client_count + 1);
	for (int i = 0; i < client_count; i++)
	{
		clients[i].number = i;
		pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
	}
	pthread_barrier_wait(&barrier);
	start = now();
	for (int i = 0; i < client_count; i++)
	{
		pthread_join(clients[i].thread, NULL);
		total += clients[i].queries;
	}
	elapsed = now() - start;

	all = malloc(total * sizeof(float));
	total = 0;
	for (int i = 0; i < client_count; i++)
	{
		memcpy(all + total, clients[i].latencies_us, clients[i].queries * sizeof(float));
		total += clients[i].queries;
	}
	print_result(all, total, elapsed);
	printf(",\"backend_private_bytes\":%ld}\n", clients[0].backend_bytes);
	return 0;
}
