/*
 * phnsw_merge.h
 *    Many rows into an index that has nodes.
 *    What holds for every entry: phnsw_core.h.
 */
#ifndef PHNSW_CORE_MERGE_H
#define PHNSW_CORE_MERGE_H

#include "phnsw_codec.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 *    phnsw_merge_create(codec, params, &merge);
 *    phnsw_merge_load() every page of nodes, phnsw_merge_add() every row
 *    phnsw_merge_start(); while (phnsw_merge_wait() == PHNSW_RUNNING) ...    nobody else may use the handle meanwhile
 *    phnsw_merge_look_again() at every page of nodes; phnsw_merge_assign() an id to every place
 *    phnsw_merge_fill() the slots of the places, then the changes of the nodes' lists
 *
 * A place is a new node; near places are near each other.  The result depends on nodes, rows and seed, not on threads.
 */
typedef struct phnsw_merge phnsw_merge;
/* Nodes in memory that outlive a merge, for the next one into the same index. */
typedef struct phnsw_merge_nodes phnsw_merge_nodes;

/* The file for what nodes take beyond memory_bytes; phnsw_merge_create() maps it, then it may be closed. */
typedef struct phnsw_merge_spill
{
	uint64_t file_bytes;      /* phnsw_merge_file_bytes(), none of them a hole; 0: all in memory */
	uint64_t memory_bytes;
	int      fd;
} phnsw_merge_spill;

typedef struct phnsw_merge_params
{
	phnsw_merge_nodes *nodes; /* NULL: the merge's own.  Must outlive the merge */
	phnsw_merge_spill spill;  /* without `nodes` */
	uint32_t limit;           /* of node ids */
	uint32_t entry;           /* the index's entry point */
	uint32_t rows_max;
	uint32_t ef_construction;
	uint32_t threads;         /* of the team, >= 1 */
	uint64_t seed;
} phnsw_merge_params;

/* What becomes of a row. */
typedef struct phnsw_merge_row
{
	uint32_t place;   /* its new node, which several rows may share; PHNSW_NONE: it joins a node */
	uint32_t id;      /* which one */
	uint32_t version;
	bool     first;   /* the one row of its place whose TID stands in the slot */
} phnsw_merge_row;

/* In the list of `owner`, `removed` gives way to `added`; PHNSW_NONE: `added` takes a free place. */
typedef struct phnsw_merge_change
{
	uint32_t owner;
	uint32_t version; /* of the owner */
	uint32_t removed;
	uint32_t added;
} phnsw_merge_change;

/* An upper bound of the memory that a merge takes, its threads' stacks and scratch aside. */
PHNSW_API uint64_t phnsw_merge_memory(const phnsw_codec_params *codec, uint32_t ef_construction, uint32_t limit,
                                      uint32_t rows) PHNSW_NOEXCEPT;
/* The part of it that may stand in a file: what grows with the nodes, but for 17 bytes each. */
PHNSW_API uint64_t phnsw_merge_mapped_memory(const phnsw_codec_params *codec, uint32_t limit) PHNSW_NOEXCEPT;
/* The size of the file for nodes and rows where memory_bytes are for them; 0: none is needed. */
PHNSW_API uint64_t phnsw_merge_file_bytes(const phnsw_codec_params *codec, uint32_t limit, uint32_t rows,
                                          uint64_t memory_bytes) PHNSW_NOEXCEPT;

/*
 * For merges of so many nodes and rows together at first, and more later; takes addresses, no memory yet.
 * PHNSW_OUT_OF_MEMORY: there are not so many.
 */
PHNSW_API phnsw_status phnsw_merge_nodes_create(const phnsw_codec *codec, uint32_t points,
												const phnsw_merge_spill *spill,
                                                phnsw_merge_nodes **nodes, phnsw_error *error) PHNSW_NOEXCEPT;
/* How many they may become. */
PHNSW_API uint32_t phnsw_merge_nodes_room(const phnsw_merge_nodes *nodes) PHNSW_NOEXCEPT;
/*
 * Before each merge of nodes that have a file: what it has now,
 * phnsw_merge_file_bytes() for that merge, and no less than before.
 */
PHNSW_API void phnsw_merge_nodes_file(phnsw_merge_nodes *nodes, uint64_t bytes, int fd) PHNSW_NOEXCEPT;
/*
 * Gives nearly all memory back; then everything must be loaded again; nodes that have a file must be
 * destroyed.  A leaf, also for signal handlers.  REQUIRES: no merge has it.
 */
PHNSW_API void phnsw_merge_nodes_discard(phnsw_merge_nodes *nodes) PHNSW_NOEXCEPT;
PHNSW_API void phnsw_merge_nodes_destroy(phnsw_merge_nodes *nodes) PHNSW_NOEXCEPT;

/* The codec must outlive the merge. */
PHNSW_API phnsw_status phnsw_merge_create(const phnsw_codec *codec, const phnsw_merge_params *params,
										  phnsw_merge **merge,
                                          phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * n slots that stand one behind the other, from id `first` on; ids at or above the limit are left out.  false: slot
 * *fault cannot be what it seems, and *what says why.  A leaf: may be called on a locked page.  Nodes that stayed
 * from an earlier merge need not be loaded again if their slots are as they were, *whole was true, and their lists
 * among phnsw_merge_changes() have come back by phnsw_merge_relist().
 */
PHNSW_API bool phnsw_merge_load(phnsw_merge *merge, uint32_t first, const phnsw_slot *slots, uint32_t n, bool *whole,
                                uint32_t *fault, const char **what) PHNSW_NOEXCEPT;
/*
 * Live nodes among what was loaded, and are still when it was looked at again; phnsw_merge_start() wants at least one.
 */
PHNSW_API uint32_t phnsw_merge_live(const phnsw_merge *merge) PHNSW_NOEXCEPT;
/* PHNSW_NOT_INDEXED: not taken.  The rows taken are numbered from 0.  REQUIRES: fewer than rows_max so far. */
PHNSW_API phnsw_status phnsw_merge_add(phnsw_merge *merge, const float *vector, phnsw_error *error) PHNSW_NOEXCEPT;
/* Starts the conductor thread (every signal blocked) and its team. */
PHNSW_API phnsw_status phnsw_merge_start(phnsw_merge *merge, phnsw_error *error) PHNSW_NOEXCEPT;
/* Waits up to `milliseconds`.  PHNSW_RUNNING: not done yet; a failure leaves only phnsw_merge_destroy(). */
PHNSW_API phnsw_status phnsw_merge_wait(phnsw_merge *merge, uint32_t milliseconds, phnsw_error *error) PHNSW_NOEXCEPT;

PHNSW_API uint32_t phnsw_merge_places(const phnsw_merge *merge) PHNSW_NOEXCEPT;
PHNSW_API phnsw_merge_row phnsw_merge_row_get(const phnsw_merge *merge, uint32_t row) PHNSW_NOEXCEPT;
/* The first row of a place. */
PHNSW_API uint32_t phnsw_merge_place_row(const phnsw_merge *merge, uint32_t place) PHNSW_NOEXCEPT;
/* The same slots as they are now: nodes that are not alive any more, or others by now, are not linked to.  A leaf. */
PHNSW_API void phnsw_merge_look_again(phnsw_merge *merge, uint32_t first, const phnsw_slot *slots,
									  uint32_t n) PHNSW_NOEXCEPT;
/* PHNSW_NONE, as before the call: there is no such node, and nothing links to it. */
PHNSW_API void phnsw_merge_assign(phnsw_merge *merge, uint32_t place, uint32_t id) PHNSW_NOEXCEPT;
/* Head, code, count and links of a place's slot. */
PHNSW_API void phnsw_merge_fill(const phnsw_merge *merge, uint32_t place, phnsw_slot *slot) PHNSW_NOEXCEPT;
/* Ascending by owner; those of one owner are to be made in this order.  Valid until the next call. */
PHNSW_API phnsw_status phnsw_merge_changes(phnsw_merge *merge, const phnsw_merge_change **changes, size_t *n,
                                           phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * The list of a node as it is now that its changes have been made, for the next merge; it may name
 * new nodes, which are below `limit`, and links that are not are left out.  A leaf.  REQUIRES: the
 * changes have been got, the slot was as the copy had it before.
 */
PHNSW_API void phnsw_merge_relist(phnsw_merge *merge, uint32_t id, const phnsw_slot *slot,
								  uint32_t limit) PHNSW_NOEXCEPT;
/* Marks (1) the places that a walk over new nodes' lists finds from the marked ones; reached[] has one byte a place. */
PHNSW_API phnsw_status phnsw_merge_spread(const phnsw_merge *merge, uint8_t *reached,
										  phnsw_error *error) PHNSW_NOEXCEPT;
/* Stops and joins all threads, frees. */
PHNSW_API void phnsw_merge_destroy(phnsw_merge *merge) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* PHNSW_CORE_MERGE_H */
