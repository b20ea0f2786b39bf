/*
 * compat.h
 *    The only file with conditions on PostgreSQL's version.  Supported: 15 and newer; tested: 15.
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

/* 16 made the macros of buffer tags functions. */
#if PG_VERSION_NUM >= 160000
#define PhnswInitBufferTag(tag, file, block) InitBufferTag(tag, file, MAIN_FORKNUM, block)
#define PhnswBufferTagsEqual(a, b) BufferTagsEqual(a, b)
#else
#define PhnswInitBufferTag(tag, file, block) INIT_BUFFERTAG(*(tag), *(file), MAIN_FORKNUM, block)
#define PhnswBufferTagsEqual(a, b) BUFFERTAGS_EQUAL(*(a), *(b))
#endif

/* 16 has one function for the ownership of all kinds of objects. */
#if PG_VERSION_NUM >= 160000
#define PhnswOwnsRelation(relid, role) object_ownercheck(RelationRelationId, relid, role)
#else
#define PhnswOwnsRelation(relid, role) pg_class_ownercheck(relid, role)
#endif

/* 18 lets an index scan count its searches. */
#if PG_VERSION_NUM >= 180000
#define PhnswIndexBeginScan(heap, index, snapshot, norderbys) index_beginscan(heap, index, snapshot, NULL, 0, norderbys)
#else
#define PhnswIndexBeginScan(heap, index, snapshot, norderbys) index_beginscan(heap, index, snapshot, 0, norderbys)
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

/* ItemPointerData and phnsw_tid have one layout; 17 moved vacuum's TID store behind the callback, which stays the same. */
StaticAssertDecl(sizeof(ItemPointerData) == 6, "phnsw_tid is laid out as ItemPointerData");

#endif							/* PHNSW_COMPAT_H */
