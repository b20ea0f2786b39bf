/*
 * delta.h
 *    How one state of a page becomes the next: fragments (offset, length, bytes), as generic WAL records carry them.
 *
 * Nothing but bytes here, so that a unit test can drive it: no buffers, no WAL, no PostgreSQL header.
 *
 * Pages are compared by words of four bytes, and fragments consist of whole words.  So a reader without a lock, on the
 * primary or on a standby that replays, sees an aligned 4-byte field as it was or as it will be, never half of each.
 * Two changed words with one unchanged word between them go into one fragment, for a header is as long as a word.
 */
#ifndef PHNSW_DELTA_H
#define PHNSW_DELTA_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PHNSW_DELTA_PAGE   8192
#define PHNSW_DELTA_WORD   4
#define PHNSW_DELTA_BLOCK  64	/* unit of copying and of the first look */
#define PHNSW_DELTA_BLOCKS (PHNSW_DELTA_PAGE / PHNSW_DELTA_BLOCK)

/* Offset and length, two bytes each, before every fragment's bytes. */
#define PHNSW_DELTA_HEADER 4

/* Every fragment but the last is followed by at least two words that are not in the delta, more than its header. */
#define PHNSW_DELTA_MAX    (PHNSW_DELTA_PAGE + PHNSW_DELTA_HEADER)

typedef struct phnsw_delta
{
	uint32_t	bytes;			/* of data, finished fragments */
	uint32_t	first;			/* the open fragment, in words; none when first == end */
	uint32_t	end;
	char		data[PHNSW_DELTA_MAX];
} phnsw_delta;

static inline bool
phnsw_delta_same(const char *a, const char *b, uint32_t bytes)
{
	uint64_t	different = 0;

	for (uint32_t i = 0; i < bytes; i += sizeof(uint64_t))
	{
		uint64_t	x;
		uint64_t	y;

		memcpy(&x, a + i, sizeof(x));
		memcpy(&y, b + i, sizeof(y));
		different |= x ^ y;
	}
	return different == 0;
}

static inline void
phnsw_delta_begin(phnsw_delta *delta)
{
	delta->bytes = 0;
	delta->first = delta->end = 0;
}

/* The open fragment is complete; its bytes are taken from `image`. */
static inline void
phnsw_delta_end(phnsw_delta *delta, const char *image)
{
	uint16_t	offset = (uint16_t) (delta->first * PHNSW_DELTA_WORD);
	uint16_t	length = (uint16_t) ((delta->end - delta->first) * PHNSW_DELTA_WORD);

	if (length == 0)
		return;
	memcpy(delta->data + delta->bytes, &offset, sizeof(offset));
	memcpy(delta->data + delta->bytes + sizeof(offset), &length, sizeof(length));
	memcpy(delta->data + delta->bytes + PHNSW_DELTA_HEADER, image + offset, length);
	delta->bytes += PHNSW_DELTA_HEADER + length;
	delta->first = delta->end;
}

/* Adds what differs in one block.  Blocks come in ascending order; phnsw_delta_end() follows the last. */
static inline void
phnsw_delta_block(phnsw_delta *delta, const char *page, const char *image, uint32_t block)
{
	uint32_t	start = block * PHNSW_DELTA_BLOCK;

	if (phnsw_delta_same(page + start, image + start, PHNSW_DELTA_BLOCK))
		return;
	for (uint32_t at = start; at < start + PHNSW_DELTA_BLOCK; at += PHNSW_DELTA_WORD)
	{
		uint32_t	word = at / PHNSW_DELTA_WORD;

		if (memcmp(page + at, image + at, PHNSW_DELTA_WORD) == 0)
			continue;
		if (delta->first == delta->end || word > delta->end + 1)
		{
			phnsw_delta_end(delta, image);
			delta->first = word;
		}
		delta->end = word + 1;
	}
}

/* Changes the page as replay does. */
static inline void
phnsw_delta_apply(char *page, const char *data, uint32_t bytes)
{
	for (uint32_t at = 0; at < bytes;)
	{
		uint16_t	offset;
		uint16_t	length;

		memcpy(&offset, data + at, sizeof(offset));
		memcpy(&length, data + at + sizeof(offset), sizeof(length));
		memcpy(page + offset, data + at + PHNSW_DELTA_HEADER, length);
		at += (uint32_t) PHNSW_DELTA_HEADER + length;
	}
}

#endif							/* PHNSW_DELTA_H */
