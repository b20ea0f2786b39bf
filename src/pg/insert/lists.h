/*
 * lists.h
 *    Back links on one level: what links.c decides about and lists.c reads and writes.
 */
#ifndef PHNSW_LISTS_H
#define PHNSW_LISTS_H

#include "insert/insert.h"

typedef enum PhnswLinkFate
{
	LINK_NONE,					/* not, or not any more */
	LINK_WRITE,
	LINK_THERE,					/* without our doing */
	LINK_DECIDE					/* to be decided, or once more */
} PhnswLinkFate;

/* A neighbour's list on one level, which the new node wants to be in. */
typedef struct PhnswBackLink
{
	const phnsw_slot *owner;	/* copy of the neighbour */
	uint32		id;
	float		distance;		/* between the neighbour and the new node */
	BlockNumber block;			/* page of the list */
	uint32		place;			/* slot or aux record there */
	uint32		at;				/* entry to write; behind the last to append */
	uint32		count;			/* of the list as it was copied */
	uint32	   *links;
	PhnswLinkFate fate;
	bool		alive;			/* the owner, when its list was written */
	Buffer		buffer;			/* while the page is locked */
} PhnswBackLink;

typedef struct PhnswBackLinks
{
	PhnswInsert *ins;
	uint32		level;
	uint32		capacity;		/* of a list on this level */
	uint32		neighbours;		/* that the new node has chosen */
	uint32		n;				/* lists still to be changed */
	PhnswBackLink *list;
} PhnswBackLinks;

/* Finds and copies the neighbour's list on the level; false when it has none. */
extern bool phnsw_read_list(PhnswBackLinks *back, PhnswBackLink *link);
/*
 * Changes lists[0 ... n), which are put in order of their pages, as many pages a
 * WAL record as it takes; leaves each with its fate.
 */
extern void phnsw_write_lists(const PhnswBackLinks *back, PhnswBackLink *lists, uint32 n);

#endif							/* PHNSW_LISTS_H */
