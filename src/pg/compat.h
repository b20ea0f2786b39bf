/*
 * compat.h
 *    The only file with conditions on PostgreSQL's version.  Supported: 15 and newer; tested: 15 by every run of
 *    test/check.sh, the others by hand (CONTRIBUTING.md, Another PostgreSQL).
 */
#ifndef PHNSW_COMPAT_H
#define PHNSW_COMPAT_H

#include "postgres.h"

#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/rel.h"

#if PG_VERSION_NUM < 150000
#error "phnsw needs PostgreSQL 15 or newer"
#endif

#if BLCKSZ != 8192
#error "phnsw needs PostgreSQL's standard block size of 8192 bytes"
#endif

/* 18 has it in front of a declaration, under this name. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 16 renamed RelFileNode to RelFileLocator. */
#if PG_VERSION_NUM >= 160000
#include "storage/relfilelocator.h"
typedef RelFileLocator PhnswFile;
#define PhnswRelationFile(rel) ((rel)->rd_locator)
#define PhnswFileEquals(a, b)  RelFileLocatorEquals(a, b)
#else
#include "storage/relfilenode.h"
typedef RelFileNode PhnswFile;
#define PhnswRelationFile(rel) ((rel)->rd_node)
#define PhnswFileEquals(a, b)  RelFileNodeEquals(a, b)
#endif

/* 16 moved the macros of varlena headers out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16 made the macros of buffer tags functions. */
#if PG_VERSION_NUM >= 160000
#define PhnswInitBufferTag(tag, file, block) InitBufferTag(tag, file, MAIN_FORKNUM, block)
#define PhnswBufferTagsEqual(a, b) BufferTagsEqual(a, b)
#else
#define PhnswInitBufferTag(tag, file, block) INIT_BUFFERTAG(*(tag), *(file), MAIN_FORKNUM, block)
#define PhnswBufferTagsEqual(a, b) BUFFERTAGS_EQUAL(*(a), *(b))
#endif

/* 16 renamed the counts that pg_statio_user_indexes shows. */
#if PG_VERSION_NUM >= 160000
#define PhnswBlocksFetched(info) ((info)->counts.blocks_fetched)
#define PhnswBlocksHit(info) ((info)->counts.blocks_hit)
#else
#define PhnswBlocksFetched(info) ((info)->t_counts.t_blocks_fetched)
#define PhnswBlocksHit(info) ((info)->t_counts.t_blocks_hit)
#endif

/* 16 has one function for the ownership of all kinds of objects. */
#if PG_VERSION_NUM >= 160000
#define PhnswOwnsRelation(relid, role) object_ownercheck(RelationRelationId, relid, role)
#else
#define PhnswOwnsRelation(relid, role) pg_class_ownercheck(relid, role)
#endif

/* 18 counts the searches of an index scan, for EXPLAIN ANALYZE. */
#if PG_VERSION_NUM >= 180000
#define PhnswIndexBeginScan(heap, index, snapshot, norderbys) index_beginscan(heap, index, snapshot, NULL, 0, norderbys)
#define PhnswCountSearch(scan) \
	do { \
		if ((scan)->instrument != NULL) \
			(scan)->instrument->nsearches++; \
	} while (0)
#else
#define PhnswIndexBeginScan(heap, index, snapshot, norderbys) index_beginscan(heap, index, snapshot, 0, norderbys)
#define PhnswCountSearch(scan) ((void) 0)
#endif

/* 18 wants to know whether it is ANALYZE that pauses. */
#if PG_VERSION_NUM >= 180000
#define PhnswVacuumDelay() vacuum_delay_point(false)
#else
#define PhnswVacuumDelay() vacuum_delay_point()
#endif

/* 18 counts a path's discouraged nodes before it compares costs: two are worse than one sequential scan. */
#if PG_VERSION_NUM >= 180000
#define PhnswDisablePath(path) ((path)->disabled_nodes = 2)
#else
#define PhnswDisablePath(path) ((void) 0)
#endif

/* 18 can log that a lock was not to be had. */
#if PG_VERSION_NUM >= 180000
#define PhnswConditionalLockTuple(relation, tid, mode) ConditionalLockTuple(relation, tid, mode, false)
#else
#define PhnswConditionalLockTuple(relation, tid, mode) ConditionalLockTuple(relation, tid, mode)
#endif

/* 18 lists loaded libraries with their versions (pg_get_loaded_modules). */
#if PG_VERSION_NUM >= 180000
#define PHNSW_MODULE_MAGIC(module_version) PG_MODULE_MAGIC_EXT(.name = "phnsw", .version = module_version)
#else
#define PHNSW_MODULE_MAGIC(module_version) PG_MODULE_MAGIC
#endif

/* 18 lets libraries add options to EXPLAIN (explain.c). */
#if PG_VERSION_NUM >= 180000
#define PHNSW_HAVE_EXPLAIN_OPTION
#endif

/* 17 has streams of blocks that are read ahead together (pass.c). */
#if PG_VERSION_NUM >= 170000
#define PHNSW_HAVE_READ_STREAM
#endif

/* 17 put both parts of a virtual transaction id into one struct. */
#if PG_VERSION_NUM >= 170000
#define PhnswTransaction() (MyProc->vxid.lxid)
#else
#define PhnswTransaction() (MyProc->lxid)
#endif

/* 17 dropped the setting that made old snapshots expire. */
#if PG_VERSION_NUM >= 170000
#define PhnswSnapshotsExpire() false
#else
#define PhnswSnapshotsExpire() OldSnapshotThresholdActive()
#endif

/*
 * ItemPointerData and phnsw_tid have one layout; 17 moved vacuum's TID store behind the callback, which stays the same.
 */
StaticAssertDecl(sizeof(ItemPointerData) == 6, "phnsw_tid is laid out as ItemPointerData");

#endif							/* PHNSW_COMPAT_H */
