/*
 * toast_tree.c
 *    A descent of a TOAST table's btree that costs little: no scan key, no scan
 *    descriptor, no pins (detoast.h says what for).
 *
 * The key is (chunk_id, chunk_seq), so an index tuple is 8 bytes of header and two integers.  Pages are read at a
 * glance (glance.h), without a lock: a page may be split or compacted while it is read.  Therefore nothing read here is
 * believed.  Offsets are kept inside the page, the number of steps is bounded, and what is found is a hint, which the
 * caller holds against the chunks themselves.  Whatever is unusual ends the search: PostgreSQL's own is always there.
 *
 * Lehman and Yao's right links are followed as nbtree does: a key above a page's high key has moved right.
 */
#include "postgres.h"

#include "toast/toast_tree.h"

#include "access/nbtree.h"
#include "search/glance.h"

/* Levels and steps to the right: more than any tree has. */
#define PHNSW_TREE_STEPS 16

#define PHNSW_TREE_OPAQUE (BLCKSZ - MAXALIGN(sizeof(BTPageOpaqueData)))

/* The first tuple of an inner page has no key; what is read as one is still inside the page. */
StaticAssertDecl(sizeof(BTPageOpaqueData) >= sizeof(Oid) + sizeof(int32), "a key fits behind the last tuple's header");

typedef enum Step
{
	STEP_PAGE,					/* go on at *next */
	STEP_DONE,
	STEP_LOST
} Step;

typedef struct Search
{
	Oid			value;
	uint32		wanted;
	uint32		found;			/* the key looked for is (value, found) */
	ItemPointerData *places;
	BlockNumber next;
	uint32		level;			/* of that page, as far as it is known */
} Search;

/*
 * The tuple of an item, or NULL when the bytes cannot be one.  The item is read once, for it may change while we
 * look; one that was marked dead keeps its tuple and its place in the order.
 */
static inline const IndexTupleData *
tuple_at(const char *page, uint32 offset, bool *dead)
{
	ItemIdData	item;

	memcpy(&item, page + SizeOfPageHeaderData + (offset - 1) * sizeof(ItemIdData), sizeof(item));
	__asm__ volatile("" : "+r" (item));
	*dead = item.lp_flags == LP_DEAD;
	if ((item.lp_flags != LP_NORMAL && !*dead) || item.lp_off > PHNSW_TREE_OPAQUE - MAXALIGN(sizeof(IndexTupleData)) ||
		item.lp_off % MAXIMUM_ALIGNOF != 0)
		return NULL;
	return (const IndexTupleData *) (page + item.lp_off);
}

/*
 * Is the key looked for above the tuple's?  A pivot tuple's attributes that were cut off are less
 * than anything, and so is the heap TID of one that is equal.
 */
static inline bool
key_above(const Search *search, const IndexTupleData *tuple, bool pivot)
{
	const char *key = (const char *) tuple + MAXALIGN(sizeof(IndexTupleData));
	int			natts = 2;
	Oid			value;
	int32		seq;

	if (pivot && (tuple->t_info & INDEX_ALT_TID_MASK) != 0)
		natts = ItemPointerGetOffsetNumberNoCheck(&tuple->t_tid) & BT_OFFSET_MASK;
	if (natts == 0)
		return true;
	memcpy(&value, key, sizeof(value));
	if (value != search->value)
		return search->value > value;
	if (natts == 1)
		return true;
	memcpy(&seq, key + sizeof(value), sizeof(seq));
	return pivot ? (int32) search->found >= seq : (int32) search->found > seq;
}

/*
 * Does the value go on behind its last chunk?  Then two values have this id: an id is given out again
 * when all index tuples that have it are marked dead, but such marks are lost in a crash, and not
 * believed on a standby.  The chunks could not tell which is which.
 */
static bool
more_of_it(const Search *search, const char *page, uint32 offset, uint32 n_items)
{
	bool		dead;
	const IndexTupleData *tuple = offset <= n_items ? tuple_at(page, offset, &dead) : NULL;
	Oid			value;

	if (tuple == NULL)
		return false;
	memcpy(&value, (const char *) tuple + MAXALIGN(sizeof(IndexTupleData)), sizeof(value));
	return value == search->value;
}

/* Takes the chunks that begin at an item of a leaf. */
static Step
take_chunks(Search *search, const char *page, uint32 offset, uint32 n_items, BlockNumber right)
{
	for (; search->found < search->wanted && offset <= n_items; offset++)
	{
		bool		dead;
		const IndexTupleData *tuple = tuple_at(page, offset, &dead);
		const char *key = (const char *) tuple + MAXALIGN(sizeof(IndexTupleData));
		Oid			value;
		int32		seq;

		if (tuple == NULL || (tuple->t_info & INDEX_ALT_TID_MASK) != 0)
			return STEP_LOST;	/* a posting list: several versions of one chunk */
		memcpy(&value, key, sizeof(value));
		memcpy(&seq, key + sizeof(value), sizeof(seq));
		if (value != search->value || seq != (int32) search->found)
			return STEP_LOST;
		if (!dead)
			search->places[search->found++] = tuple->t_tid;
	}
	if (search->found == search->wanted)
		return more_of_it(search, page, offset, n_items) ? STEP_LOST : STEP_DONE;
	search->next = right;
	return right == P_NONE ? STEP_LOST : STEP_PAGE;
}

/*
 * Where on a page the value might begin, if ids rise evenly from item `first` to item `last`, as they do where rows
 * were loaded together: one probe there instead of a search by halves saves most of the cache misses.
 */
static uint32
guess(const Search *search, const char *page, uint32 first, uint32 last, uint32 n_items)
{
	bool		dead;
	const IndexTupleData *tuple = tuple_at(page, first, &dead);
	Oid			from;
	Oid			to;

	if (tuple == NULL)
		return first;
	memcpy(&from, (const char *) tuple + MAXALIGN(sizeof(IndexTupleData)), sizeof(from));
	tuple = tuple_at(page, last, &dead);
	if (tuple == NULL)
		return first;
	memcpy(&to, (const char *) tuple + MAXALIGN(sizeof(IndexTupleData)), sizeof(to));
	if (search->value <= from || search->value > to)
		return first;
	return first + (uint64) (search->value - from) * (n_items - first) / (to - from);
}

static Step
search_page(Search *search, const char *page)
{
	const BTPageOpaqueData *opaque = (const BTPageOpaqueData *) (page + PHNSW_TREE_OPAQUE);
	uint32		lower = *(const volatile LocationIndex *) &((const PageHeaderData *) page)->pd_lower;
	uint16		flags = *(const volatile uint16 *) &opaque->btpo_flags;
	BlockNumber right = *(const volatile BlockNumber *) &opaque->btpo_next;
	bool		leaf = (flags & BTP_LEAF) != 0;
	bool		dead;
	uint32		n_items;
	uint32		low = right == P_NONE ? P_HIKEY : P_FIRSTKEY;
	uint32		high;
	uint32		middle;
	const IndexTupleData *tuple;

	if ((flags & (BTP_DELETED | BTP_HALF_DEAD | BTP_META)) != 0 || lower < SizeOfPageHeaderData ||
		lower > PHNSW_TREE_OPAQUE)
		return STEP_LOST;
	n_items = (lower - SizeOfPageHeaderData) / sizeof(ItemIdData);
	if (right != P_NONE)
	{
		tuple = n_items >= P_HIKEY ? tuple_at(page, P_HIKEY, &dead) : NULL;
		if (tuple == NULL)
			return STEP_LOST;
		if (key_above(search, tuple, true))
		{
			search->next = right;
			return STEP_PAGE;
		}
	}

	/* The first item that the key is not above; of an inner page, the first one is below every key. */
	high = n_items + 1;
	if (!leaf)
	{
		if (low > n_items)
			return STEP_LOST;
		low++;
	}
	middle = n_items > low ? guess(search, page, low, leaf && right != P_NONE ? P_HIKEY : n_items, n_items) : low;
	for (uint32 stride = 4; low < high; stride *= 4)
	{
		bool		above;

		tuple = tuple_at(page, middle, &dead);
		if (tuple == NULL)
			return STEP_LOST;
		above = key_above(search, tuple, !leaf);
		if (above)
			low = middle + 1;
		else
			high = middle;
		/* Near a guess first, then by halves. */
		middle = above ? middle + stride : middle - stride;
		if (middle < low || middle >= high)
			middle = (low + high) / 2;
	}
	if (leaf)
		return take_chunks(search, page, low, n_items, right);
	tuple = tuple_at(page, low - 1, &dead);
	if (tuple == NULL)
		return STEP_LOST;
	search->next = ItemPointerGetBlockNumberNoCheck(&tuple->t_tid);
	search->level = *(const volatile uint32 *) &opaque->btpo_level - 1;
	return STEP_PAGE;
}

static Step
read_meta(Search *search, const char *page)
{
	const BTMetaPageData *meta = (const BTMetaPageData *) (page + MAXALIGN(SizeOfPageHeaderData));

	/* Older versions, which pg_upgrade leaves as they are, mark pivot tuples in another way. */
	if (meta->btm_magic != BTREE_MAGIC || meta->btm_version != BTREE_VERSION)
		return STEP_LOST;
	search->next = meta->btm_fastroot;
	search->level = meta->btm_fastlevel;
	return search->next == P_NONE ? STEP_LOST : STEP_PAGE;
}

static inline Step
look_at_page(Search *search, BlockNumber block, const char *page)
{
	return block == BTREE_METAPAGE ? read_meta(search, page) : search_page(search, page);
}

/* One step at a glance; false: the page is not where the map says, or it is time for a pin. */
static bool
glance_at_page(PhnswBufferMap *tree, Search *search, Step *step)
{
	BlockNumber block = search->next;
	uint32		found = search->found;
	PhnswGlance glance;

	if (!phnsw_glance_at(&glance, &tree->file, phnsw_buffer_map_look(tree, block), block))
		return false;
	*step = look_at_page(search, block, glance.page);
	pg_read_barrier();
	if (phnsw_glance_holds(&glance))
	{
		pgBufferUsage.shared_blks_hit++;
		tree->hits++;
		return true;
	}
	search->found = found;
	search->next = block;
	return false;
}

uint32
phnsw_toast_find(PhnswBufferMap *tree, Oid value, uint32 n, ItemPointerData *places, BlockNumber leaf, bool cached_only)
{
	Search		search = {.value = value,.wanted = n,.places = places};
	Step		step = STEP_PAGE;

	search.next = BlockNumberIsValid(leaf) ? leaf : BTREE_METAPAGE;
	for (int i = 0; i < PHNSW_TREE_STEPS && step == STEP_PAGE; i++)
	{
		BlockNumber block = search.next;
		Buffer		buffer;

		/* Only the first page that is asked for is the meta page. */
		if (i > 0 && block == BTREE_METAPAGE)
			break;
		if (glance_at_page(tree, &search, &step))
			continue;
		if (cached_only)
			break;
		buffer = phnsw_buffer_map_pin(tree, block);
		if (!BufferIsValid(buffer))
			break;
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		step = look_at_page(&search, block, BufferGetPage(buffer));
		UnlockReleaseBuffer(buffer);
	}
	return search.found;
}

/* ---- ahead ----------------------------------------------------------------------------------- */

BlockNumber
phnsw_toast_ask_leaf(PhnswBufferMap *tree, Oid value)
{
	ItemPointerData place;
	Search		search = {.value = value,.wanted = 1,.places = &place,.next = BTREE_METAPAGE};
	Step		step;

	for (int i = 0; i < PHNSW_TREE_STEPS && (i == 0 || search.next != BTREE_METAPAGE); i++)
	{
		Buffer		buffer = phnsw_buffer_map_look(tree, search.next);
		const char *page;

		if (i > 0 && buffer > InvalidBuffer && search.level == 0)
		{
			page = BufferGetPage(buffer);
			__builtin_prefetch(GetBufferDescriptor(buffer - 1));
			__builtin_prefetch(page);
			__builtin_prefetch(page + PHNSW_TREE_OPAQUE);
			return search.next;
		}
		if (!glance_at_page(tree, &search, &step) || step != STEP_PAGE)
			break;
	}
	return InvalidBlockNumber;
}

void
phnsw_toast_ask_keys(const PhnswBufferMap *tree, BlockNumber leaf)
{
	Buffer		buffer = phnsw_buffer_map_look(tree, leaf);

	if (buffer <= InvalidBuffer)
		return;
	for (OffsetNumber offset = P_HIKEY; offset <= P_FIRSTKEY; offset++)
	{
		bool		dead;
		const IndexTupleData *tuple = tuple_at(BufferGetPage(buffer), offset, &dead);

		if (tuple != NULL)
			__builtin_prefetch(tuple);
	}
}
