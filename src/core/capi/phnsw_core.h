/*
 * phnsw_core.h
 *    The one door between the C access method (src/pg) and the C++ core (src/core).
 *
 * Valid C11 and C++20.  Conventions:
 *
 *  - Every entry is noexcept.  Fallible ones return phnsw_status and describe the failure in *error (caller-owned).
 *  - Handles are opaque; destroy functions accept NULL and cannot fail.
 *  - No callbacks into C, no I/O, no PostgreSQL.  Threads exist only between phnsw_build_start() and
 *    phnsw_build_join(), and between phnsw_merge_start() and phnsw_merge_destroy().
 *  - One handle is used by one thread at a time; a phnsw_codec is immutable and may be shared.
 *  - "Leaf kernels" are pure: no state, no allocation, no failure; they may be called on bytes of pinned pages, which
 *    another process may be changing: they read inside the given slot only and return some float, never a trap.
 */
#ifndef PHNSW_CORE_H
#define PHNSW_CORE_H

#include "phnsw_status.h"

#include "phnsw_build.h"
#include "phnsw_codec.h"
#include "phnsw_half.h"
#include "phnsw_merge.h"
#include "phnsw_search.h"
#include "phnsw_text.h"
#include "phnsw_validate.h"

#endif /* PHNSW_CORE_H */
