/*
 * phnsw_validate.h
 *    Bytes from disk, checked field by field; any bytes may be given.
 *    What holds for every entry: phnsw_core.h.
 *
 * Pure and cheap: a few hundred nanoseconds each.  false: *what names the first
 * fault (a static text; left alone on success).
 */
#ifndef PHNSW_CORE_VALIDATE_H
#define PHNSW_CORE_VALIDATE_H

#include "phnsw_status.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The meta page, all but the centre's coordinates.  Pages that hold ids below a limit lie inside the file of
 * blocks_in_file blocks; what the extents reserve beyond may not exist yet.  An index of another version of phnsw is
 * told by *what being "format version".
 */
PHNSW_API bool phnsw_meta_validate(const phnsw_meta *meta, uint64_t blocks_in_file, const char **what) PHNSW_NOEXCEPT;

/* REQUIRES: meta is valid; slot has meta->slot_bytes bytes.  The code itself is phnsw_codec_validate()'s. */
PHNSW_API bool phnsw_slot_validate(const phnsw_meta *meta, uint32_t id, const phnsw_slot *slot,
								   const char **what) PHNSW_NOEXCEPT;

/* REQUIRES: meta is valid; aux has meta->aux_bytes bytes. */
PHNSW_API bool phnsw_aux_validate(const phnsw_meta *meta, const phnsw_aux *aux, const char **what) PHNSW_NOEXCEPT;

/*
 * Which live nodes a walk over level 0 from `entry` finds.  links: n rows of `stride` ids, the first counts[i] <=
 * stride in use; live[i] != 0: node i is to be reached (others are waypoints).  Links at or above n are ignored.
 * *first_unreached: the smallest live id that was not found, PHNSW_NONE when all were.
 */
PHNSW_API phnsw_status phnsw_reach_count(const uint32_t *links, const uint16_t *counts, const uint8_t *live, uint32_t n,
                                         uint32_t stride, uint32_t entry, uint64_t *reached_live,
                                         uint32_t *first_unreached, phnsw_error *error) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* PHNSW_CORE_VALIDATE_H */
