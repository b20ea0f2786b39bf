/*
 * insert.h
 *    What the files of an insert share, and what a merge takes from them.
 *
 * One PhnswInsert lives in a memory context of its own and is gone when the row is in.
 */
#ifndef PHNSW_INSERT_H
#define PHNSW_INSERT_H

#include "phnsw.h"

/*
 * The links that the new node gets on one level: its neighbours, nearest first, and links that it takes over from them.
 */
typedef struct PhnswNewLinks
{
	uint32		n;
	uint32		ids[PHNSW_LINKS_MAX];
	float		distances[PHNSW_LINKS_MAX]; /* of the neighbours only, likewise: */
	uint16		found[PHNSW_M_MAX]; /* their places among the copies that they were chosen from */
} PhnswNewLinks;

/* Copies of heads and codes of nodes, as they were when the search found them. */
typedef struct PhnswCopies
{
	uint32		n;
	uint32	   *ids;
	float	   *distances;		/* from the new node */
	uint32	   *versions;
	char	   *slots;			/* phnsw_head_bytes() each */
} PhnswCopies;

typedef struct PhnswInsert
{
	Relation	index;
	PhnswIndex *pi;
	MemoryContext context;
	MemoryContext caller;		/* the context before */
	phnsw_search *search;
	phnsw_query *query;

	phnsw_slot *slot;			/* the new node: TID, level, head, code */
	PhnswCopies near;			/* what the search of level 0 found, nearest first */
	char	   *members;		/* links.c: memory for copies of a list's members; NULL: not wanted yet */
	PhnswNewLinks *links;		/* by level */
	PhnswNewLinks *kept;		/* links that its list has already and does not give up (relink.c); NULL: none */
	struct PhnswBackLinks *back;		/* likewise */

	bool		raised;			/* the node is there, on level 0, and gets its upper levels now */
	bool		no_entry;		/* it cannot lead to the entry point, and so does not become it */
	uint32		spare;			/* of its links, one that another of them leads to as well; or PHNSW_NONE */
	uint32		lowest;			/* back links are made from this level up */
	bool		written;
	uint32		id;				/* once its slot is written */
	uint32		version;
} PhnswInsert;

static inline const phnsw_slot *
phnsw_copy(const PhnswInsert *ins, const PhnswCopies *copies, uint32 i)
{
	return (const phnsw_slot *) (copies->slots + i * phnsw_head_bytes(ins->pi));
}

/* ---- insert.c -------------------------------------------------------------------------------- */

/* The highest level of the row's node. */
extern uint32 phnsw_draw_level(const PhnswIndex *pi, ItemPointer tid);

/* Begins in a memory context of its own, which is current until the end; the slot is still to be filled. */
extern PhnswInsert *phnsw_insert_begin(Relation index, PhnswIndex *pi);
/* What the search for the node's surroundings needs.  REQUIRES: slot->level is known. */
extern void phnsw_insert_prepare(PhnswInsert *ins, const float *vector);
extern void phnsw_insert_end(PhnswInsert *ins);

/* Finds the new node's surroundings; chooses its links above level 0.  false: the index is empty. */
extern bool phnsw_insert_search(PhnswInsert *ins);
/* Chooses the links of a node whose links on level 0 are found otherwise. */
extern void phnsw_insert_search_upper(PhnswInsert *ins);

/* ---- insert_node.c --------------------------------------------------------------------------- */

/* The node's page, locked in that mode, and the node on it; InvalidBuffer: the node has gone. */
extern Buffer phnsw_lock_self(PhnswInsert *ins, int mode, phnsw_slot **slot, uint32 *place);
/* README.md, step 1.  false: the node that was to be raised has gone. */
extern bool phnsw_write_node(PhnswInsert *ins);
/*
 * Makes the new node the entry point if it is higher than the present one, or if there is
 * none.  true: it is the entry point, maybe by vacuum's doing.
 */
extern bool phnsw_raise_entry(PhnswInsert *ins);

/* ---- duplicates.c ---------------------------------------------------------------------------- */

/* Adds the row to a node that has its code already; false when there is none. */
extern bool phnsw_join_equal(PhnswInsert *ins);
/* Adds it to that node; false when the node is not what it was.  Needs index, pi and slot (TID, head, code) only. */
extern bool phnsw_join_node(PhnswInsert *ins, uint32 id, uint32 version);

/* ---- choose.c -------------------------------------------------------------------------------- */

/* Chooses the new node's links on a level among the copies; live nodes only, unless there are none on level 0. */
extern void phnsw_choose_links(PhnswInsert *ins, const PhnswCopies *copies, uint32 level);

/*
 * The entry of a full list of n links that gives way to the new node; n: the new node loses.  distance: of
 * the new node from the list's owner; slots and distances: the entries, likewise, with room for one more.  It
 * is the farthest node that a nearer one covers, else the farthest.
 */
extern uint32 phnsw_choose_victim(const PhnswInsert *ins, float distance, const phnsw_slot **slots, float *distances,
								  uint32 n);

/* ---- links.c --------------------------------------------------------------------------------- */

/* Decides which of its neighbours will link to the new node, and which of their links it takes over. */
extern void phnsw_plan_back_links(PhnswInsert *ins);
/* Writes these links; the new node is written by now.  false: no list of level 0 names it. */
extern bool phnsw_write_back_links(PhnswInsert *ins);

/* ---- relink.c -------------------------------------------------------------------------------- */

/* Links the new node, which is written and which nothing leads to, with what is there now. */
extern void phnsw_relink(PhnswInsert *ins);
/* A node that was written, as slot says, without the lists that were to lead to it: the same. */
extern void phnsw_insert_relink(Relation index, PhnswIndex *pi, const float *vector, const phnsw_slot *slot, uint32 id,
								uint32 version);

/* ---- raise.c --------------------------------------------------------------------------------- */

/* Links that a node is to have above level 0. */
typedef struct PhnswUpperLinks
{
	uint32		entry_level;	/* of the index that they were found in */
	PhnswNewLinks links[FLEXIBLE_ARRAY_MEMBER]; /* from level 1 on */
} PhnswUpperLinks;

/* Finds them, before there is a node. */
extern PhnswUpperLinks *phnsw_insert_find_upper(Relation index, PhnswIndex *pi, const float *vector, uint32 level);

/*
 * A node that stands on level 0, linked there, and is to have slot->level: finds its links on
 * the levels above, unless they have been found (upper), and writes them.  slot: its TID,
 * head and code, too.  Nothing happens if the node has gone.
 */
extern void phnsw_insert_raise(Relation index, PhnswIndex *pi, const float *vector, const phnsw_slot *slot,
							   const PhnswUpperLinks *upper, uint32 id, uint32 version);

#endif							/* PHNSW_INSERT_H */
