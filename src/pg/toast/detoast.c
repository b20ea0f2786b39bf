/*
 * detoast.c
 *    Vectors as functions read them.
 *
 * A vector of 500 dimensions or more is stored out of line, in chunks of 1,996 bytes.  Every row that a scan
 * rechecks costs such a read, which in PostgreSQL opens and locks two relations, sets up a scan of the TOAST
 * index and goes through it with all the machinery of an index scan, for two tuples.  Here the tree is only asked
 * where the chunks might be (toast_tree.c), and the chunks are read there.
 *
 * What is found is proved by the chunk itself, under its page's share lock: it says whose it is and which, its
 * length is the one it has to be, and it passes SnapshotToast, PostgreSQL's own test.  A value has one chunk of
 * each number (ids are given out again only when no chunk has them), so a chunk that says all this is the right
 * one, whatever led there.  A pin keeps its bytes in place while they are copied.
 *
 * A build, which wants every value once and in order, has the coordinates put straight
 * into its own memory, and the pages to come asked for.
 *
 * Everything else is left to PostgreSQL's detoast_attr(): compressed values, TOAST tables in
 * local buffers or of another access method, snapshots that may expire, and every value whose
 * chunks are not found, so that errors are PostgreSQL's own.
 */
#include "postgres.h"

#include "toast/detoast.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "common/hashfn.h"
#include "toast/toast_tree.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A chunk's row: chunk_id, chunk_seq, chunk_data. */
#define PHNSW_CHUNK_HEADER (sizeof(Oid) + sizeof(int32))

/* The bytes of a stored value: what follows the length word. */
#define PHNSW_STORED_MIN ((int32) (PHNSW_VECTOR_SIZE(1) - VARHDRSZ))
#define PHNSW_STORED_MAX ((int32) (PHNSW_VECTOR_SIZE(PHNSW_DIMS_MAX) - VARHDRSZ))
#define PHNSW_LINE 64			/* of the processor's caches */
#define PHNSW_CHUNKS_MAX (PHNSW_STORED_MAX / TOAST_MAX_CHUNK_SIZE + 1)

static Vector *spaces[PHNSW_DETOAST_SPACES];
static Size space_bytes[PHNSW_DETOAST_SPACES];

static Vector *
space_of(int space, Size bytes)
{
	if (space_bytes[space] < bytes)
	{
		Size		size = Max(bytes, space_bytes[space] * 2);

		if (spaces[space] != NULL)
			pfree(spaces[space]);
		spaces[space] = NULL;
		space_bytes[space] = 0;
		spaces[space] = MemoryContextAlloc(TopMemoryContext, size);
		space_bytes[space] = size;
	}
	return spaces[space];
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* The data of a chunk, if the tuple is chunk `seq` of the value and has that many bytes; NULL otherwise. */
static const char *
chunk_data(const HeapTupleData *tuple, Oid value, int32 seq, int32 bytes)
{
	const HeapTupleHeaderData *header = tuple->t_data;
	const char *row = (const char *) header + header->t_hoff;
	uint32		left = tuple->t_len - header->t_hoff;
	Oid			chunk_id;
	int32		chunk_seq;
	const char *data;

	if ((header->t_infomask & (HEAP_HASNULL | HEAP_HASEXTERNAL)) != 0 || HeapTupleHeaderGetNatts(header) != 3 ||
		tuple->t_len < header->t_hoff + PHNSW_CHUNK_HEADER + VARHDRSZ)
		return NULL;
	memcpy(&chunk_id, row, sizeof(chunk_id));
	memcpy(&chunk_seq, row + sizeof(chunk_id), sizeof(chunk_seq));
	if (chunk_id != value || chunk_seq != seq)
		return NULL;
	data = row + PHNSW_CHUNK_HEADER;
	if (VARATT_IS_SHORT(data))
		return VARSIZE_SHORT(data) - VARHDRSZ_SHORT == bytes && left == PHNSW_CHUNK_HEADER + VARSIZE_SHORT(data) ?
			VARDATA_SHORT(data) : NULL;
	if (!VARATT_IS_4B_U(data))
		return NULL;
	return VARSIZE(data) - VARHDRSZ == bytes && left == PHNSW_CHUNK_HEADER + VARSIZE(data) ? VARDATA(data) : NULL;
}

/* The tuple at an offset of a locked page, if a reader of TOAST values may see it. */
static bool
visible_tuple(Buffer buffer, OffsetNumber offset, HeapTuple tuple)
{
	SnapshotData toast = {.snapshot_type = SNAPSHOT_TOAST};
	Page		page = BufferGetPage(buffer);
	ItemId		item;

	if (offset < FirstOffsetNumber || offset > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, offset);
	if (!ItemIdIsNormal(item) || ItemIdGetLength(item) < SizeofHeapTupleHeader ||
		ItemIdGetOffset(item) + ItemIdGetLength(item) > BLCKSZ)
		return false;
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_len = ItemIdGetLength(item);
	ItemPointerSet(&tuple->t_self, BufferGetBlockNumber(buffer), offset);
	return HeapTupleSatisfiesVisibility(tuple, &toast, buffer);
}

/* Where the bytes of a value go. */
typedef struct Target
{
	char	   *head;			/* the first few */
	uint32		head_bytes;		/* fewer than a chunk has */
	char	   *rest;
	bool		run;			/* the values behind this one will be wanted next */
} Target;

/* Copies a chunk; returns where the next one goes. */
static inline char *
copy_chunk(const Target *target, char *to, const char *data, int32 size, bool first)
{
	if (first && target->head_bytes != 0)
	{
		memcpy(target->head, data, target->head_bytes);
		data += target->head_bytes;
		size -= target->head_bytes;
	}
	/*
	 * Of a size that it knows to be small gcc copies with a string instruction,
	 * which takes a third longer than the library.
	 */
	__asm__("":"+r"(size));
	memcpy(to, data, size);
	return to + size;
}

/*
 * Asks for the whole of the page behind this one.  What reads pages in order waits for each of
 * their lines otherwise: tuples stand from a page's end to its beginning, and the processor
 * looks ahead in one direction, and not into another page.
 */
static void
ask_next_page(PhnswToastSource *source, BlockNumber block)
{
	Buffer		next = phnsw_buffer_map_next(&source->table, block);
	const char *page;

	if (next <= InvalidBuffer)
		return;
	page = BufferGetPage(next);
	for (uint32 line = 0; line < BLCKSZ; line += PHNSW_LINE)
		__builtin_prefetch(page + line, 0, 2);
}

/* Reads n chunks, which make up `bytes` bytes, from where they might be.  false: not all of them are there. */
static bool
read_chunks(PhnswToastSource *source, Oid value, const ItemPointerData *places, uint32 n, const Target *target,
			int32 bytes)
{
	static BlockNumber asked = InvalidBlockNumber;	/* the page behind this one */
	char	   *to = target->rest;
	Buffer		buffer = InvalidBuffer;
	BlockNumber at = InvalidBlockNumber;	/* which a damaged index may name */
	uint32		i;

	for (i = 0; i < n; i++)
	{
		BlockNumber block = ItemPointerGetBlockNumberNoCheck(&places[i]);
		int32		size = Min(bytes, TOAST_MAX_CHUNK_SIZE);
		HeapTupleData tuple;
		bool		visible;
		const char *data;

		if (block != at || !BufferIsValid(buffer))
		{
			if (BufferIsValid(buffer))
				ReleaseBuffer(buffer);
			buffer = phnsw_buffer_map_pin(&source->table, block);
			at = block;
			if (!BufferIsValid(buffer))
				return false;
			if (target->run && block != asked)
			{
				ask_next_page(source, block);
				asked = block;
			}
		}
		tuple.t_tableOid = source->table.relid;
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		visible = visible_tuple(buffer, ItemPointerGetOffsetNumberNoCheck(&places[i]), &tuple);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		data = visible ? chunk_data(&tuple, value, (int32) i, size) : NULL;
		if (data == NULL)
			break;
		to = copy_chunk(target, to, data, size, i == 0);
		bytes -= size;
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return i == n;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* Places of chunks that were looked up ahead: a hint as those from the tree are. */
typedef struct Ahead
{
	Oid			relid;
	Oid			value;
	uint32		n;				/* 0: nothing */
	ItemPointerData places[PHNSW_DETOAST_AHEAD];
} Ahead;

static Ahead ahead[64];

static inline Ahead *
ahead_of(const varatt_external *pointer)
{
	return &ahead[murmurhash32(pointer->va_valueid) % lengthof(ahead)];
}

/* Whether the value is one that is read here; *chunks: how many it has. */
static bool
read_here(const varatt_external *pointer, uint32 *chunks)
{
	int32		bytes = VARATT_EXTERNAL_GET_EXTSIZE(*pointer);

	if (VARATT_EXTERNAL_IS_COMPRESSED(*pointer) || bytes < PHNSW_STORED_MIN || bytes > PHNSW_STORED_MAX ||
		PhnswSnapshotsExpire() || !HaveRegisteredOrActiveSnapshot())
		return false;
	*chunks = (bytes - 1) / TOAST_MAX_CHUNK_SIZE + 1;
	return true;
}

bool
phnsw_ahead_leaf(const struct varlena *datum, PhnswAhead *look)
{
	VARATT_EXTERNAL_GET_POINTER(look->pointer, datum);
	if (!read_here(&look->pointer, &look->n) || look->n > PHNSW_DETOAST_AHEAD)
		return false;
	look->source = phnsw_toast_source(look->pointer.va_toastrelid);
	if (look->source == NULL)
		return false;
	look->leaf = phnsw_toast_ask_leaf(&look->source->tree, look->pointer.va_valueid);
	return BlockNumberIsValid(look->leaf);
}

bool
phnsw_ahead_places(PhnswAhead *look)
{
	Ahead	   *entry = ahead_of(&look->pointer);

	entry->relid = look->pointer.va_toastrelid;
	entry->value = look->pointer.va_valueid;
	entry->n = phnsw_toast_find(&look->source->tree, look->pointer.va_valueid, look->n, entry->places, look->leaf,
								true);
	look->places = entry->places;
	return entry->n == look->n;
}

/* A value out of line that has that many bytes.  false: PostgreSQL has to read it. */
static bool
read_value(const varatt_external *pointer, PhnswToastSource *source, uint32 n, const Target *target)
{
	Oid			value = pointer->va_valueid;
	int32		bytes = VARATT_EXTERNAL_GET_EXTSIZE(*pointer);
	const Ahead *entry = ahead_of(pointer);
	ItemPointerData places[PHNSW_CHUNKS_MAX];

	if (entry->value == value && entry->relid == pointer->va_toastrelid && entry->n == n &&
		read_chunks(source, value, entry->places, n, target, bytes))
		return true;
	return phnsw_toast_find(&source->tree, value, n, places, InvalidBlockNumber, false) == n &&
		read_chunks(source, value, places, n, target, bytes);
}

/* A value out of line, in a space.  NULL: PostgreSQL has to read it. */
static const Vector *
read_external(const struct varlena *datum, int space)
{
	varatt_external pointer;
	PhnswToastSource *source;
	Target		target = {0};
	uint32		n;
	int32		bytes;
	Vector	   *vector;

	VARATT_EXTERNAL_GET_POINTER(pointer, datum);
	if (!read_here(&pointer, &n))
		return NULL;
	source = phnsw_toast_source(pointer.va_toastrelid);
	if (source == NULL)
		return NULL;
	bytes = VARATT_EXTERNAL_GET_EXTSIZE(pointer);
	vector = space_of(space, bytes + VARHDRSZ);
	SET_VARSIZE(vector, bytes + VARHDRSZ);
	target.rest = VARDATA(vector);
	return read_value(&pointer, source, n, &target) ? vector : NULL;
}

bool
phnsw_detoast_run(const struct varlena *datum, uint32 dims, float *to)
{
	varatt_external pointer;
	PhnswToastSource *source;
	Vector		header;
	Target		target = {.head = VARDATA(&header), .head_bytes = offsetof(Vector, x) - VARHDRSZ, .rest = (char *) to,
		.run = true};
	uint32		n;

	if (!VARATT_IS_EXTERNAL_ONDISK(datum))
		return false;
	VARATT_EXTERNAL_GET_POINTER(pointer, datum);
	if (!read_here(&pointer, &n) || VARATT_EXTERNAL_GET_EXTSIZE(pointer) != PHNSW_VECTOR_SIZE(dims) - VARHDRSZ)
		return false;
	source = phnsw_toast_source(pointer.va_toastrelid);
	return source != NULL && read_value(&pointer, source, n, &target) && header.dim == dims;
}

/* ---- vectors --------------------------------------------------------------------------------- */

const Vector *
phnsw_detoast_extended(Datum datum, int space)
{
	struct varlena *stored = (struct varlena *) DatumGetPointer(datum);
	struct varlena *plain;
	Vector	   *vector;

	if (VARATT_IS_EXTERNAL_ONDISK(stored))
	{
		const Vector *read = read_external(stored, space);

		if (read != NULL)
			return read;
	}
	else if (VARATT_IS_SHORT(stored))
	{
		Size		bytes = VARSIZE_SHORT(stored) - VARHDRSZ_SHORT;

		vector = space_of(space, bytes + VARHDRSZ);
		SET_VARSIZE(vector, bytes + VARHDRSZ);
		memcpy(VARDATA(vector), VARDATA_SHORT(stored), bytes);
		return vector;
	}

	plain = detoast_attr(stored);
	vector = space_of(space, VARSIZE(plain));
	memcpy(vector, plain, VARSIZE(plain));
	pfree(plain);
	return vector;
}
