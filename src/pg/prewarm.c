/*
 * prewarm.c
 *    phnsw_prewarm(): an index into shared buffers, before its first queries pay for that.
 *
 * A search jumps about, so from a cold cache it waits for the disk hundreds of times; reading all pages in order takes as long
 * as the disk needs for so many bytes.  Reads no more pages than there are buffers: more would only push out the first.
 */
#include "check.h"

#include "access/relation.h"
#include "access/table.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"

PG_FUNCTION_INFO_V1(phnsw_prewarm);

/* Blocks that are asked for ahead of their use. */
#define PREWARM_AHEAD 64

Datum
phnsw_prewarm(PG_FUNCTION_ARGS)
{
	Relation	heap;
	Relation	index = phnsw_open_to_read(PG_GETARG_OID(0), AccessShareLock, &heap);
	AclResult	result = pg_class_aclcheck(RelationGetRelid(heap), GetUserId(), ACL_SELECT);
	BlockNumber blocks;
	BlockNumber asked = 0;

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(heap->rd_rel->relkind), RelationGetRelationName(heap));
	blocks = Min(RelationGetNumberOfBlocks(index), (BlockNumber) NBuffers);
	for (BlockNumber block = 0; block < blocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		for (; asked < blocks && asked < block + PREWARM_AHEAD; asked++)
			PrefetchBuffer(index, MAIN_FORKNUM, asked);
		ReleaseBuffer(ReadBuffer(index, block));
	}
	relation_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);
	PG_RETURN_INT64(blocks);
}
