/*
 * pass.c
 *    Blocks whose order is known before they are used, in step with the disk:
 *    sweeps, phnsw_check, phnsw_index_info, prewarming.
 *
 * From PostgreSQL 17 on a pass is a read stream, which joins neighbouring blocks to one read and, on 18, reads while we
 * work.  Before, blocks are announced with PrefetchBuffer PHNSW_PASS_AHEAD ahead of their use.
 *
 * Hops of a search announce their blocks themselves on every version (touch.c): a stream has `effective_io_concurrency`
 * reads under way, 1 by default on 17, where a hop wants all of its twenty at once.
 */
#include "phnsw.h"

#ifdef PHNSW_HAVE_READ_STREAM
#include "storage/read_stream.h"
#else
#include "utils/spccache.h"
#endif

#define PHNSW_PASS_AHEAD 32		/* a power of two */

struct PhnswPass
{
	Relation	relation;
	BufferAccessStrategy strategy;
	PhnswNextBlock next_block;
	void	   *state;
#ifdef PHNSW_HAVE_READ_STREAM
	ReadStream *stream;
#else
	BlockNumber ahead[PHNSW_PASS_AHEAD];	/* announced, a ring */
	uint32		announced;		/* blocks so far */
	uint32		used;
	bool		ended;			/* next_block has said so */
	bool		announce;
#endif
};

#ifdef PHNSW_HAVE_READ_STREAM

static BlockNumber
next_of_stream(ReadStream *stream, void *callback_state, void *per_buffer)
{
	PhnswPass  *pass = callback_state;

	return pass->next_block(pass->state);
}

static void
begin(PhnswPass *pass)
{
	pass->stream = read_stream_begin_relation(READ_STREAM_DEFAULT, pass->strategy, pass->relation, MAIN_FORKNUM,
											  next_of_stream, pass, 0);
}

Buffer
phnsw_pass_next(PhnswPass *pass)
{
	return read_stream_next_buffer(pass->stream, NULL);
}

static void
end(PhnswPass *pass)
{
	read_stream_end(pass->stream);
}

#else

static void
begin(PhnswPass *pass)
{
	pass->announce = get_tablespace_io_concurrency(pass->relation->rd_rel->reltablespace) > 0;
}

Buffer
phnsw_pass_next(PhnswPass *pass)
{
	while (!pass->ended && pass->announced - pass->used < PHNSW_PASS_AHEAD)
	{
		BlockNumber block = pass->next_block(pass->state);

		if (block == InvalidBlockNumber)
		{
			pass->ended = true;
			break;
		}
		pass->ahead[pass->announced++ % PHNSW_PASS_AHEAD] = block;
		if (pass->announce)
			PrefetchBuffer(pass->relation, MAIN_FORKNUM, block);
	}
	if (pass->used == pass->announced)
		return InvalidBuffer;
	return ReadBufferExtended(pass->relation, MAIN_FORKNUM, pass->ahead[pass->used++ % PHNSW_PASS_AHEAD], RBM_NORMAL,
							  pass->strategy);
}

static void
end(PhnswPass *pass)
{
}

#endif

PhnswPass *
phnsw_pass_begin(Relation relation, BufferAccessStrategy strategy, PhnswNextBlock next_block, void *state)
{
	PhnswPass  *pass = palloc0(sizeof(PhnswPass));

	pass->relation = relation;
	pass->strategy = strategy;
	pass->next_block = next_block;
	pass->state = state;
	begin(pass);
	return pass;
}

void
phnsw_pass_end(PhnswPass *pass)
{
	end(pass);
	pfree(pass);
}

BlockNumber
phnsw_pass_range(void *state)
{
	PhnswPassRange *range = state;

	return range->next < range->end ? range->next++ : InvalidBlockNumber;
}

BlockNumber
phnsw_pass_pages(void *state)
{
	PhnswPassPages *pages = state;
	uint32		place;
	BlockNumber block;

	if (pages->next >= pages->limit)
		return InvalidBlockNumber;
	block = phnsw_locate(pages->space, pages->per_page, pages->next, &place);
	pages->next = pages->per_page < pages->limit - pages->next ? pages->next + pages->per_page : pages->limit;
	return block;
}
