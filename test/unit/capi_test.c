/*
 * capi_test.c
 *    The C interface, used from C: compiles as C11, links, and does what the header says.  Exits 0 when all is well.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capi/phnsw_core.h"

static int failures = 0;

#define CHECK(condition) \
	do { \
		if (!(condition)) \
		{ \
			failures++; \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
		} \
	} while (0)

#define DIMS 24
#define ROWS 50

static void
check_distances(void)
{
	const float a[] = {1, 2, 3};
	const float b[] = {4, 6, 3};
	const float zero[] = {0, 0, 0};

	CHECK(phnsw_l2_squared(a, b, 3) == 25.0);
	CHECK(phnsw_inner_product(a, b, 3) == 25.0);
	CHECK(phnsw_l1(a, b, 3) == 7.0);
	CHECK(phnsw_cosine_distance(a, a, 3) == 0.0);
	CHECK(fabs(phnsw_cosine_distance(a, b, 3) - (1.0 - 25.0 / sqrt(14.0 * 61.0))) < 1e-15);
	CHECK(isnan(phnsw_cosine_distance(a, zero, 3)));
	CHECK(phnsw_l2_squared(a, b, 0) == 0.0);
}

static void
check_instruction_sets(void)
{
	char before[16];

	snprintf(before, sizeof before, "%s", phnsw_simd_name());
	CHECK(phnsw_simd_force("scalar") && strcmp(phnsw_simd_name(), "scalar") == 0);
	CHECK(!phnsw_simd_force("no such"));
	CHECK(strcmp(phnsw_simd_name(), "scalar") == 0);
	CHECK(phnsw_simd_force("auto"));
	CHECK(phnsw_simd_force(before) && strcmp(phnsw_simd_name(), before) == 0);
}

static void
check_codec_and_query(phnsw_metric metric)
{
	phnsw_codec_params params;
	phnsw_error        error;
	phnsw_codec       *codec = NULL;
	phnsw_query       *query = NULL;
	float              vectors[ROWS][DIMS];
	phnsw_slot        *slots[ROWS];
	float              scores[ROWS];
	const char        *what = NULL;
	uint32_t           best = 0;

	CHECK(phnsw_codec_choose(metric, DIMS, PHNSW_M_DEFAULT, 1, &params, &error) == PHNSW_OK);
	CHECK(phnsw_codec_create(&params, NULL, &codec, &error) == PHNSW_OK);
	CHECK(phnsw_query_create(codec, &query, &error) == PHNSW_OK);

	for (uint32_t i = 0; i < ROWS; i++)
	{
		/* Points on a curve: the row nearest to row 20 is row 20. */
		for (uint32_t j = 0; j < DIMS; j++)
			vectors[i][j] = cosf(0.05f * (float) i * (float) (j + 1));
		slots[i] = calloc(1, phnsw_slot_bytes(params.code_dims, params.bits, params.m));
		CHECK(slots[i] != NULL);
		CHECK(phnsw_codec_encode(codec, vectors[i], slots[i], &error) == PHNSW_OK);
		CHECK(phnsw_codec_validate(codec, slots[i], &what));
		CHECK(phnsw_codec_equal(codec, slots[i], slots[i]));
	}
	CHECK(!phnsw_codec_equal(codec, slots[3], slots[4]));
	CHECK(phnsw_codec_distance(codec, slots[3], slots[40]) > phnsw_codec_distance(codec, slots[3], slots[3]));

	phnsw_query_set(query, vectors[20], PHNSW_FOR_SEARCH);
	phnsw_query_score(query, (const phnsw_slot *const *) slots, ROWS, scores);
	for (uint32_t i = 0; i < ROWS; i++)
	{
		double value = metric == PHNSW_L2 ? sqrt(phnsw_l2_squared(vectors[20], vectors[i], DIMS))
			: metric == PHNSW_IP          ? -phnsw_inner_product(vectors[20], vectors[i], DIMS)
										  : phnsw_cosine_distance(vectors[20], vectors[i], DIMS);

		CHECK(phnsw_query_bound(query, slots[i]) <= value);
		CHECK(phnsw_query_bound(query, slots[i]) > value - 2.0);
		if (scores[i] < scores[best])
			best = i;
	}
	CHECK(metric == PHNSW_IP || best == 20);

	phnsw_query_set(query, vectors[7], PHNSW_FOR_INSERT);
	phnsw_query_score(query, (const phnsw_slot *const *) slots, ROWS, scores);
	for (uint32_t i = 0; i < ROWS; i++)
		CHECK(scores[i] == phnsw_codec_distance(codec, slots[7], slots[i]));

	slots[0]->head.sum++;
	CHECK(!phnsw_codec_validate(codec, slots[0], &what) && what != NULL);

	for (uint32_t i = 0; i < ROWS; i++)
		free(slots[i]);
	phnsw_query_destroy(query);
	phnsw_codec_destroy(codec);
}

static void
check_errors(void)
{
	phnsw_codec_params params;
	phnsw_error        error;
	phnsw_codec       *codec = NULL;

	memset(&error, 0, sizeof error);
	CHECK(phnsw_codec_choose(PHNSW_L2, 0, 16, 1, &params, &error) == PHNSW_BAD_ARGUMENT);
	CHECK(error.status == PHNSW_BAD_ARGUMENT && strlen(error.message) > 0);
	memset(&params, 0, sizeof params);
	CHECK(phnsw_codec_create(&params, NULL, &codec, &error) == PHNSW_CORRUPT && codec == NULL);
	CHECK(error.status == PHNSW_CORRUPT && strlen(error.message) > 0);
	CHECK(phnsw_codec_create(&params, NULL, &codec, NULL) == PHNSW_CORRUPT);
	phnsw_codec_destroy(NULL);
	phnsw_query_destroy(NULL);
}

int
main(void)
{
	check_distances();
	check_instruction_sets();
	check_codec_and_query(PHNSW_L2);
	check_codec_and_query(PHNSW_IP);
	check_codec_and_query(PHNSW_COSINE);
	check_errors();
	if (failures == 0)
		puts("capi_test: ok");
	return failures == 0 ? 0 : 1;
}
