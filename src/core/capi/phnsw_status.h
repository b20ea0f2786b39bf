/*
 * phnsw_status.h
 *    How entries of the core are declared, how they say what failed, and which instructions they use.
 *    What holds for every entry: phnsw_core.h.
 */
#ifndef PHNSW_CORE_STATUS_H
#define PHNSW_CORE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "phnsw_format.h"

#ifdef __cplusplus
#define PHNSW_NOEXCEPT noexcept
#else
#define PHNSW_NOEXCEPT
#endif

#if defined(__GNUC__)
#define PHNSW_API __attribute__((visibility("default")))
#else
#define PHNSW_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ---------------------------------------------------------------------------------- */

typedef enum phnsw_status
{
	PHNSW_OK = 0,
	PHNSW_RUNNING,       /* phnsw_build_wait(): not done yet */
	PHNSW_NOT_INDEXED,   /* phnsw_codec_encode(): a zero vector under cosine has no place in the index */
	PHNSW_OUT_OF_MEMORY, /* SQLSTATE 53200 */
	PHNSW_CORRUPT,       /* XX002 */
	PHNSW_LIMIT,         /* 54000 */
	PHNSW_BAD_ARGUMENT,  /* 22023 */
	PHNSW_CANCELLED,     /* the caller asked for it */
	PHNSW_INTERNAL       /* XX000 */
} phnsw_status;

typedef struct phnsw_error
{
	phnsw_status status;
	char         message[256];
} phnsw_error;

/* ---- instruction sets ------------------------------------------------------------------------ */

/* Name of the kernels in use: "scalar", "avx2", "avxvnni", "avx512". */
PHNSW_API const char *phnsw_simd_name(void) PHNSW_NOEXCEPT;

/* Forces kernels by name; "auto" chooses the best.  false: unknown, or not supported by this machine. */
PHNSW_API bool phnsw_simd_force(const char *name) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* PHNSW_CORE_STATUS_H */
