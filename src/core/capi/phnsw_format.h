/*
 * phnsw_format.h
 *    The bytes of a phnsw index: what stands on which page.
 *
 * Valid C11 and C++20.  The core writes these structs into page images at build time, the access method reads and
 * changes them under buffer locks, the checker validates them.  Everything is in host byte order, as in every
 * PostgreSQL relation file.
 *
 * Any change of a struct or constant here changes the files: bump PHNSW_FORMAT_VERSION.
 *
 * Pages (PHNSW_PAGE_BYTES each, standard PostgreSQL page header, phnsw_opaque in the special space):
 *
 *    block 0            meta page         phnsw_meta
 *    next               centre pages      float32 coordinates of the centre (none when the centre is zero)
 *    extents of blocks  node pages        slots_per_page slots of slot_bytes
 *    extents of blocks  aux pages         aux_per_page records of aux_bytes
 *
 * A node is a dense uint32 id, an aux record likewise; id -> (block,
 * offset) is arithmetic over a short list of extents.
 */
#ifndef PHNSW_FORMAT_H
#define PHNSW_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define PHNSW_STATIC_ASSERT(cond, text) static_assert(cond, text)
#else
#define PHNSW_STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif

#define PHNSW_PAGE_BYTES      8192
#define PHNSW_PAGE_HEADER     24   /* MAXALIGN(SizeOfPageHeaderData) */
#define PHNSW_PAGE_SPECIAL    8    /* sizeof(phnsw_opaque) */
#define PHNSW_PAGE_CONTENT    (PHNSW_PAGE_BYTES - PHNSW_PAGE_HEADER - PHNSW_PAGE_SPECIAL)

#define PHNSW_MAGIC           0x50484E57u /* "PHNW" */
#define PHNSW_FORMAT_VERSION  1
#define PHNSW_PAGE_ID         0xFFA8      /* last two bytes of every page, for pg_filedump and friends */
#define PHNSW_NONE            0xFFFFFFFFu /* no node, no aux record */

#define PHNSW_DIMS_MAX        16000
#define PHNSW_M_MIN           2
#define PHNSW_M_DEFAULT       16
#define PHNSW_M_MAX           100
#define PHNSW_EFC_MIN         4
#define PHNSW_EFC_DEFAULT     64
#define PHNSW_EFC_MAX         1000
#define PHNSW_LEVEL_MAX       31
#define PHNSW_LINKS_MAX       (2 * PHNSW_M_MAX) /* of one list */
#define PHNSW_EXTENTS_MAX     256
#define PHNSW_CALIBRATION_MAX 12
#define PHNSW_STOP_WIDER_MAX  8
#define PHNSW_STOP_SLACK_MAX  1

typedef enum phnsw_metric
{
	PHNSW_L2 = 1,     /* operator <-> */
	PHNSW_IP = 2,     /* operator <#>, negative inner product */
	PHNSW_COSINE = 3  /* operator <=> */
} phnsw_metric;

typedef enum phnsw_page_kind
{
	PHNSW_PAGE_META = 1,
	PHNSW_PAGE_CENTRE = 2,
	PHNSW_PAGE_NODE = 3,
	PHNSW_PAGE_AUX = 4
} phnsw_page_kind;

/* Special space of every page. */
typedef struct phnsw_opaque
{
	uint16_t kind;    /* phnsw_page_kind */
	uint16_t count;   /* node and aux pages: slots or records on the page; centre page: floats; meta: 0 */
	uint16_t unused;
	uint16_t page_id; /* PHNSW_PAGE_ID */
} phnsw_opaque;
PHNSW_STATIC_ASSERT(sizeof(phnsw_opaque) == PHNSW_PAGE_SPECIAL, "phnsw_opaque fills the special space");

/*
 * A heap TID, laid out as ItemPointerData: block high, block low, offset.  offset 0: no TID; then the block is 0,
 * too, or 0xFFFFFFFF where a scan has taken it out (phnsw_tid_gone).
 */
typedef struct phnsw_tid
{
	uint16_t block_hi;
	uint16_t block_lo;
	uint16_t offset;
} phnsw_tid;
PHNSW_STATIC_ASSERT(sizeof(phnsw_tid) == 6, "phnsw_tid is laid out as ItemPointerData");

/*
 * In the place of a TID that a scan has taken out of a slot: without a chain
 * the node has no row left, and waits for vacuum.
 */
static inline phnsw_tid
phnsw_tid_gone(void)
{
	phnsw_tid tid = {0xFFFF, 0xFFFF, 0};

	return tid;
}

/* REQUIRES: offset 0. */
static inline int
phnsw_tid_is_gone(const phnsw_tid *tid)
{
	return tid->block_hi == 0xFFFF && tid->block_lo == 0xFFFF;
}

typedef enum phnsw_slot_state
{
	PHNSW_SLOT_FREE = 0, /* nothing here: no TID (offset 0), count 0; the version is kept for the next owner, the other
						  * fields mean nothing */
	PHNSW_SLOT_LIVE = 1, /* has a TID in `tid` or, where that has offset 0, in the chain; or scans have taken all
						  * of them out */
	PHNSW_SLOT_DEAD = 2  /* no heap row left; still a waypoint until vacuum has unlinked it */
} phnsw_slot_state;

/*
 * What the distance kernels read of a code, besides its coordinates.  See codec/README.md.
 * The coded point is x' = scale * code; x is the rotated, centred vector.
 */
typedef struct phnsw_code_head
{
	float   scale;    /* >= 0; 0 for a vector that equals the centre */
	float   norm2;    /* |x'|^2 */
	int32_t sum;      /* sum of the code's coordinates: corrects the unsigned x signed dot product */
	float   residual; /* an upper bound of |x - x'|, rounding of the rotation included */
} phnsw_code_head;
PHNSW_STATIC_ASSERT(sizeof(phnsw_code_head) == 16, "phnsw_code_head has no padding");

/*
 * One node.  Behind the struct: the code (code_bytes, padded to 4), then 2M neighbour ids (uint32).
 *
 *    0   tid            heap row; further rows with an equal code hang on `tids`
 *    6   state, level
 *    8   version        changes whenever the slot is freed: a search that remembers an older one drops the candidate
 *    12  upper          aux record with the links of level 1 (chained upwards), PHNSW_NONE for level 0
 *    16  tids           aux record with further heap TIDs, PHNSW_NONE if there are none
 *    20  count          links in use on level 0
 *    24  head
 *    40  code, links
 */
typedef struct phnsw_slot
{
	phnsw_tid       tid;
	uint8_t         state; /* phnsw_slot_state */
	uint8_t         level;
	uint32_t        version;
	uint32_t        upper;
	uint32_t        tids;
	uint16_t        count;
	uint16_t        unused;
	phnsw_code_head head;
	__extension__ uint8_t code[]; /* int8 coordinates, or two 4-bit ones a byte (low half first, offset by 8) */
} phnsw_slot;
PHNSW_STATIC_ASSERT(offsetof(phnsw_slot, head) == 24 && offsetof(phnsw_slot, code) == 40, "slot layout");

typedef enum phnsw_aux_kind
{
	PHNSW_AUX_FREE = 0,
	PHNSW_AUX_UPPER = 1, /* links of one node on one level >= 1 */
	PHNSW_AUX_TIDS = 2   /* further heap TIDs of one node */
} phnsw_aux_kind;

/*
 * One aux record; behind the struct max(4M, 64) bytes: uint32 links[M], or phnsw_tid tids[].
 * `node` and `version` say whose record it is: a reader that arrives by a stale reference notices.
 * next: the record of the next level, the next chunk of TIDs, or the next free record; PHNSW_NONE ends the chain.
 */
typedef struct phnsw_aux
{
	uint32_t node;
	uint32_t version; /* of the node's slot */
	uint32_t next;
	uint8_t  kind;    /* phnsw_aux_kind */
	uint8_t  level;   /* PHNSW_AUX_UPPER: 1 ... PHNSW_LEVEL_MAX */
	uint16_t count;   /* links or TIDs in use */
	__extension__ uint8_t payload[];
} phnsw_aux;
PHNSW_STATIC_ASSERT(offsetof(phnsw_aux, payload) == 16, "aux layout");

/* `pages` consecutive blocks that hold the ids from first_id on. */
typedef struct phnsw_extent
{
	uint32_t first_id;
	uint32_t first_block;
	uint32_t pages;
} phnsw_extent;

/*
 * Ids below `limit` are on initialised pages and safe to read.  The extents may reserve more.
 * Extents follow each other in ids without a gap, the first starts at id 0; their blocks ascend and do not overlap.
 */
typedef struct phnsw_space
{
	uint32_t     limit;
	uint32_t     extents;
	phnsw_extent extent[PHNSW_EXTENTS_MAX];
} phnsw_space;

typedef struct phnsw_calibration
{
	uint32_t ef;
	float    recall;  /* recall@10 at this ef, on sampled rows of the index */
	float    touches; /* nodes evaluated per query */
	float    hops;    /* nodes expanded per query */
} phnsw_calibration;

/*
 * What the sampled rows were searched with.  Inner products: a row's own point has the coordinate that completes its
 * norm, which no query has, and finds more than a query does; indexes older than this have 0 there.
 */
typedef enum phnsw_calibrated_by
{
	PHNSW_BY_POINTS = 0,
	PHNSW_BY_QUERIES = 1
} phnsw_calibrated_by;

/*
 * A search that finds as much as that of a calibration's ef, and ends earlier: `wider` times as many candidates, but it
 * also ends when the next is more than 1 + slack times as far away as the tenth.  Both 0: there is none.
 */
typedef struct phnsw_stop
{
	float wider; /* 1 ... PHNSW_STOP_WIDER_MAX */
	float slack; /* above 0, at most PHNSW_STOP_SLACK_MAX */
} phnsw_stop;

/* What must be known to encode and compare vectors: frozen at build time. */
typedef struct phnsw_codec_params
{
	uint32_t dims;          /* of the SQL vector, 1 ... PHNSW_DIMS_MAX */
	uint32_t space_dims;    /* dims, plus 1 for PHNSW_IP (the norm-completing coordinate) */
	uint32_t code_dims;     /* rotated coordinates that the code keeps; space_dims unless a page is too small */
	uint16_t metric;        /* phnsw_metric */
	uint8_t  bits;          /* of a coordinate: 8 or 4 */
	int8_t   exponent;      /* coordinates are divided by 2^exponent before coding: float32 keeps |x|^2 in range */
	uint64_t rotation_seed; /* splitmix64 stream of sign bits, see codec/README.md */
	float    max_norm;      /* PHNSW_IP: norm that the extra coordinate completes to; otherwise 0 */
	uint32_t m;             /* M */
} phnsw_codec_params;
PHNSW_STATIC_ASSERT(sizeof(phnsw_codec_params) == 32, "phnsw_codec_params has no hidden padding");

/* Content of block 0, from PHNSW_PAGE_HEADER on. */
typedef struct phnsw_meta
{
	uint32_t           magic;
	uint32_t           format_version;
	uint64_t           build_id;         /* random: tells one build from the next in the same file */
	phnsw_codec_params codec;
	uint64_t           level_seed;
	uint32_t           change;           /* counts changes of this page, not of aux_free alone: caches compare it */
	uint32_t           ef_construction;
	uint32_t           slot_bytes;
	uint32_t           slots_per_page;
	uint32_t           aux_bytes;
	uint32_t           aux_per_page;
	uint32_t           centre_block;     /* 0: the centre is zero and there are no centre pages */
	uint32_t           centre_pages;
	uint32_t           entry;            /* node id, PHNSW_NONE: the index is empty */
	uint32_t           entry_version;
	uint32_t           entry_level;
	uint32_t           aux_free;         /* first free aux record, PHNSW_NONE */
	uint32_t           built_nodes;      /* nodes at the last bulk build */
	uint32_t           calibrations;
	phnsw_calibration  calibration[PHNSW_CALIBRATION_MAX];
	uint32_t           calibrated_nodes; /* limit when a vacuum measured it anew, 0: it is the build's */
	uint32_t           calibrated_by;    /* phnsw_calibrated_by */
	phnsw_stop         stop[PHNSW_CALIBRATION_MAX]; /* of calibration[i]; indexes older than it have zeros */
	uint64_t           reserved[3];
	phnsw_space        nodes;
	phnsw_space        aux;
} phnsw_meta;
PHNSW_STATIC_ASSERT(sizeof(phnsw_meta) <= PHNSW_PAGE_CONTENT, "the meta page holds phnsw_meta");

/* Floats on one centre page. */
#define PHNSW_CENTRE_FLOATS (PHNSW_PAGE_CONTENT / sizeof(float))

/* ---- arithmetic ------------------------------------------------------------------------------ */

#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast" /* C has no other */
#endif

/* Bytes of the code on a page, padded so that the links behind it are aligned. */
static inline uint32_t
phnsw_code_bytes(uint32_t code_dims, uint32_t bits)
{
	uint32_t bytes = bits == 8 ? code_dims : (code_dims + 1) / 2;

	return (bytes + 3u) & ~3u;
}

static inline uint32_t
phnsw_slot_bytes(uint32_t code_dims, uint32_t bits, uint32_t m)
{
	return (uint32_t) offsetof(phnsw_slot, code) + phnsw_code_bytes(code_dims, bits) + 2 * m * 4;
}

static inline uint32_t
phnsw_aux_payload_bytes(uint32_t m)
{
	return m * 4 > 64 ? m * 4 : 64;
}

static inline uint32_t
phnsw_aux_bytes(uint32_t m)
{
	return (uint32_t) offsetof(phnsw_aux, payload) + phnsw_aux_payload_bytes(m);
}

/* TIDs that one aux record holds. */
static inline uint32_t
phnsw_aux_tids_max(uint32_t m)
{
	return phnsw_aux_payload_bytes(m) / (uint32_t) sizeof(phnsw_tid);
}

/* Level-0 links of a slot. */
static inline uint32_t *
phnsw_slot_links(phnsw_slot *slot, uint32_t code_bytes)
{
	return (uint32_t *) (void *) (slot->code + code_bytes);
}

static inline const uint32_t *
phnsw_slot_links_const(const phnsw_slot *slot, uint32_t code_bytes)
{
	return (const uint32_t *) (const void *) (slot->code + code_bytes);
}

/*
 * Where an id lives.  Returns the block (0 when the id is beyond the extents: block 0 is never a node or aux page) and
 * stores the index within the page.  per_page: slots or records on one page.  Extents ascend by first_id, so a binary
 * search finds the only one that may hold the id: an index that grew by inserts has a hundred.
 */
static inline uint32_t
phnsw_locate(const phnsw_space *space, uint32_t per_page, uint32_t id, uint32_t *index)
{
	uint32_t low = 0;
	uint32_t high = space->extents;

	while (high > low + 1)
	{
		uint32_t middle = (low + high) / 2;

		if (space->extent[middle].first_id <= id)
			low = middle;
		else
			high = middle;
	}
	if (high > 0)
	{
		const phnsw_extent *extent = &space->extent[low];
		uint32_t            page = (id - extent->first_id) / per_page;

		if (page < extent->pages && id >= extent->first_id)
		{
			*index = (id - extent->first_id) - page * per_page;
			return extent->first_block + page;
		}
	}
	*index = 0;
	return 0;
}

#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#endif /* PHNSW_FORMAT_H */
