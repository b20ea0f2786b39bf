/*
 * toast_source.h
 *    What a backend knows of the TOAST tables it reads vectors from.
 */
#ifndef PHNSW_TOAST_SOURCE_H
#define PHNSW_TOAST_SOURCE_H

#include "search/buffer_map.h"

typedef struct PhnswToastSource
{
	PhnswBufferMap table;
	PhnswBufferMap tree;		/* its index */
	bool		valid;			/* what is said above is true, if both are locked */
	bool		usable;			/* an ordinary one in shared buffers */
	LocalTransactionId locked;	/* the transaction that has locked both */
} PhnswToastSource;

/*
 * The TOAST table, locked with its index until the end of the subtransaction; NULL: use PostgreSQL's functions.
 * Valid until the transaction ends, though what it says may change.
 */
extern PhnswToastSource *phnsw_toast_source(Oid relid);

#endif							/* PHNSW_TOAST_SOURCE_H */
