/*
 * prewarm.c
 *    phnsw_prewarm(): an index into shared buffers, before its first queries pay for that.
 *
 * A search jumps about, so from a cold cache it waits for the disk hundreds of times; reading
 * all pages in order takes as long as the disk needs for so many bytes.  Reads no more pages
 * than there are buffers: more would only push out the first.
 */
#include "inspect/check.h"

#include "access/relation.h"
#include "access/table.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"

PG_FUNCTION_INFO_V1(phnsw_prewarm);

Datum
phnsw_prewarm(PG_FUNCTION_ARGS)
{
	Relation	heap;
	Relation	index = phnsw_open_to_read(PG_GETARG_OID(0), AccessShareLock, &heap);
	AclResult	result = pg_class_aclcheck(RelationGetRelid(heap), GetUserId(), ACL_SELECT);
	PhnswPassRange range = {0};
	PhnswPass  *pass;
	Buffer		buffer;

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(heap->rd_rel->relkind), RelationGetRelationName(heap));
	range.end = Min(RelationGetNumberOfBlocks(index), (BlockNumber) NBuffers);
	pass = phnsw_pass_begin(index, NULL, phnsw_pass_range, &range);
	while ((buffer = phnsw_pass_next(pass)) != InvalidBuffer)
	{
		ReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
	phnsw_pass_end(pass);
	relation_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);
	PG_RETURN_INT64(range.end);
}
