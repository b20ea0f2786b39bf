/*
 * client.h
 *    What query_client.c and write_client.c share: the clock, giving up, and a file of float32 rows (host byte order)
 *    in the binary form of vectors.  Included once by a program that has defined CLIENT_NAME.
 */
#ifndef PHNSW_BENCH_CLIENT_H
#define PHNSW_BENCH_CLIENT_H

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned char *vectors;	/* encoded, vector_bytes each */
static size_t vector_bytes,
			row_count;

static void
fail(const char *what, const char *detail)
{
	fprintf(stderr, CLIENT_NAME ": %s: %s\n", what, detail);
	exit(1);
}

static void *
allocate(size_t bytes)
{
	void	   *memory = malloc(bytes > 0 ? bytes : 1);

	if (memory == NULL)
		fail("memory", "exhausted");
	return memory;
}

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + (double) time.tv_nsec * 1e-9;
}

/* The vectors in pgvector's (and phnsw's) binary form: int16 dimensions, int16 zero, float4 big-endian. */
static void
read_vectors(const char *path, int dims)
{
	FILE	   *file = fopen(path, "rb");
	size_t		row_bytes = sizeof(float) * (size_t) dims;
	uint16_t	header[2] = {htons((uint16_t) dims), 0};
	uint32_t   *row = allocate(row_bytes);

	if (file == NULL)
		fail(path, "cannot be opened");
	fseek(file, 0, SEEK_END);
	row_count = (size_t) ftell(file) / row_bytes;
	rewind(file);
	vector_bytes = 4 + row_bytes;
	vectors = allocate(row_count * vector_bytes);
	for (size_t r = 0; r < row_count; r++)
	{
		unsigned char *out = vectors + r * vector_bytes;

		if (fread(row, row_bytes, 1, file) != 1)
			fail(path, "cannot be read");
		for (int i = 0; i < dims; i++)
			row[i] = htonl(row[i]);
		memcpy(out, header, 4);
		memcpy(out + 4, row, row_bytes);
	}
	fclose(file);
	free(row);
	if (row_count == 0)
		fail(path, "holds no vector");
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a,
				y = *(const float *) b;

	return (x > y) - (x < y);
}

#endif
