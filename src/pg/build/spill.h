/*
 * spill.h
 *    Temporary files that the core maps as memory (spill.c).
 */
#ifndef PHNSW_SPILL_H
#define PHNSW_SPILL_H

#include "phnsw.h"

#include "storage/fd.h"

/*
 * Writes zeros behind the file's *size bytes until it has `bytes`; they are written, not left as a hole, so that a full
 * disk is an error here and not a SIGBUS in a thread.  *file: -1 before the first call.  Interrupts.
 */
extern void phnsw_spill_extend(File *file, uint64 *size, uint64 bytes);

/*
 * FileWrite() for a caller that can do without: what temp_file_limit does not allow
 * is not an error, but fails as on a full disk (-1).
 */
extern int	phnsw_spill_write(File file, char *data, int bytes, off_t offset);

/*
 * phnsw_spill_extend() for a caller that can do without: false where temp_file_limit or
 * the disk does not allow it; then there is no file (-1).
 */
extern bool phnsw_spill_try(File *file, uint64 *size, uint64 bytes);

#endif							/* PHNSW_SPILL_H */
