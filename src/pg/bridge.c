/*
 * bridge.c
 *    From the core's world to PostgreSQL's: status codes become errors, memory contexts own handles.
 *
 * Both directions keep the law of the boundary: ereport() is called after the core call has returned, so no C++ frame
 * is on the stack, and the destroy functions that a context calls cannot fail.
 */
#include "phnsw.h"

#include "miscadmin.h"
#include "utils/memutils.h"

static int
phnsw_sqlstate(phnsw_status status)
{
	switch (status)
	{
		case PHNSW_OUT_OF_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case PHNSW_CORRUPT:
			return ERRCODE_INDEX_CORRUPTED;
		case PHNSW_LIMIT:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case PHNSW_BAD_ARGUMENT:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case PHNSW_CANCELLED:
			return ERRCODE_QUERY_CANCELED;
		default:
			return ERRCODE_INTERNAL_ERROR;
	}
}

void
phnsw_ensure(phnsw_status status, const phnsw_error *error)
{
	if (status == PHNSW_OK)
		return;

	/* The core was stopped because this backend was asked to: then that is the better message. */
	if (status == PHNSW_CANCELLED)
		CHECK_FOR_INTERRUPTS();

	/* An outcome that the caller should have handled itself carries no message. */
	if (status == PHNSW_RUNNING || status == PHNSW_NOT_INDEXED || error->message[0] == '\0')
		elog(ERROR, "phnsw: unexpected status %d of the core", (int) status);

	ereport(ERROR,
			(errcode(phnsw_sqlstate(status)),
			 errmsg_internal("%s", error->message),
			 status == PHNSW_CORRUPT ? errhint("Run phnsw_check() on the index, and REINDEX it.") : 0));
}

typedef struct PhnswOwned
{
	MemoryContextCallback callback;
	phnsw_destroyer destroy;
	void	   *handle;
} PhnswOwned;

static void
phnsw_disown(void *arg)
{
	PhnswOwned *owned = arg;
	void	   *handle = owned->handle;

	owned->handle = NULL;
	if (handle != NULL)
		owned->destroy(handle);
}

void	  **
phnsw_own(MemoryContext context, phnsw_destroyer destroy)
{
	PhnswOwned *owned = MemoryContextAllocZero(context, sizeof(PhnswOwned));

	owned->callback.func = phnsw_disown;
	owned->callback.arg = owned;
	owned->destroy = destroy;
	MemoryContextRegisterResetCallback(context, &owned->callback);
	return &owned->handle;
}
