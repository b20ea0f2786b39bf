/*
 * glance.h
 *    Reading a shared buffer without a pin.
 *
 * A pin costs two atomic operations on the buffer's descriptor and two entries in the backend's books,
 * about as much as the distance it is taken for, and at many clients the descriptors of popular pages
 * travel from core to core.  A glance costs two looks at the descriptor.  Afterwards the buffer must be
 * valid and its tag must name the block; before the bytes are read it must be valid (nobody is filling it),
 * and a caller that would act on a wrong page compares the tag as well.
 *
 * What a glance sees may still be wrong: the buffer can lose and regain the block between the two looks while the bytes
 * are read.  So it serves only what is a hint anyway (README.md): scores and versions, which are looked at again under
 * a lock before a row is returned, and links, any of which is safe to follow.  Leaf kernels bear any bytes.
 *
 * Glances do not count as use of a buffer: every so many times a page is pinned the ordinary way, and touch.c, which
 * reads most, minds the usage counts that it sees, so that PostgreSQL keeps popular pages.  They count as hits, in
 * EXPLAIN (BUFFERS) and in the index's statistics; of other relations' pages the caller counts them.
 */
#ifndef PHNSW_GLANCE_H
#define PHNSW_GLANCE_H

#include "phnsw.h"

#include "executor/instrument.h"
#include "pgstat.h"
#include "storage/buf_internals.h"

#define PHNSW_GLANCE_PERIOD 64

/* Is nobody filling the buffer? */
static inline bool
phnsw_buffer_valid(BufferDesc *buffer)
{
	return (pg_atomic_read_u32(&buffer->state) & BM_VALID) != 0;
}

/* Does the buffer hold that block? */
static inline bool
phnsw_buffer_holds(BufferDesc *buffer, const BufferTag *tag)
{
	/*
	 * The tag first.  A buffer gets its new tag under its header's lock, and is valid again when the page has been
	 * read: who sees the tag, and then a valid buffer that is not locked, sees the page.
	 */
	uint32		state;

	if (!PhnswBufferTagsEqual(tag, &buffer->tag))
		return false;
	pg_read_barrier();
	state = pg_atomic_read_u32(&buffer->state);
	pg_read_barrier();
	return (state & (BM_VALID | BM_LOCKED)) == BM_VALID;
}

/*
 * The shared buffer that the index's map names for a block; InvalidBuffer: none, or a local one, which must be pinned.
 */
static inline Buffer
phnsw_glance_where(const PhnswIndex *pi, BlockNumber block)
{
	Buffer		buffer = block < pi->map_size ? pi->map[block] : InvalidBuffer;

	return buffer > InvalidBuffer ? buffer : InvalidBuffer;
}

/* So many reads of a relation found their buffer, and not by way of ReadBuffer(), which counts itself. */
static inline void
phnsw_count_hits(Relation relation, uint64 n)
{
	if (pgstat_should_count_relation(relation))
	{
		PhnswBlocksFetched(relation->pgstat_info) += n;
		PhnswBlocksHit(relation->pgstat_info) += n;
	}
}

/* That many glances saw what they wanted. */
static inline void
phnsw_glance_count(Relation index, uint32 n)
{
	phnsw_counters.pins += n;
	phnsw_counters.glances += n;
	pgBufferUsage.shared_blks_hit += n;
	phnsw_count_hits(index, n);
}

typedef struct PhnswGlance
{
	BufferTag	tag;
	BufferDesc *buffer;
	Page		page;
	Relation	index;			/* of phnsw_glance_begin() */
} PhnswGlance;

static inline bool
phnsw_glance_holds(const PhnswGlance *glance)
{
	return phnsw_buffer_holds(glance->buffer, &glance->tag);
}

/* Begins a glance at a block that may be in that buffer; false when it is not. */
static inline bool
phnsw_glance_open(PhnswGlance *glance, const PhnswFile *file, Buffer buffer, BlockNumber block)
{
	if (buffer <= InvalidBuffer)
		return false;			/* unknown, or a local buffer */
	PhnswInitBufferTag(&glance->tag, file, block);
	glance->buffer = GetBufferDescriptor(buffer - 1);
	glance->page = BufferGetPage(buffer);
	return phnsw_glance_holds(glance);
}

/* The same; false also when it is time for a pin. */
static inline bool
phnsw_glance_at(PhnswGlance *glance, const PhnswFile *file, Buffer buffer, BlockNumber block)
{
	static uint32 glances = 0;

	return ++glances % PHNSW_GLANCE_PERIOD != 0 && phnsw_glance_open(glance, file, buffer, block);
}

/* The same, where the index's map leads to the block. */
static inline bool
phnsw_glance_begin(PhnswGlance *glance, Relation index, const PhnswIndex *pi, BlockNumber block)
{
	glance->index = index;
	return phnsw_glance_at(glance, &PhnswRelationFile(index), phnsw_glance_where(pi, block), block);
}

/* Ends what phnsw_glance_begin() began; false: forget what was read. */
static inline bool
phnsw_glance_end(const PhnswGlance *glance)
{
	pg_read_barrier();
	if (!phnsw_glance_holds(glance))
		return false;
	phnsw_glance_count(glance->index, 1);
	return true;
}

#endif							/* PHNSW_GLANCE_H */
