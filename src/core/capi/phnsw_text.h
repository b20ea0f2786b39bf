/*
 * phnsw_text.h
 *    The text form of a vector.
 *    What holds for every entry: phnsw_core.h.
 */
#ifndef PHNSW_CORE_TEXT_H
#define PHNSW_CORE_TEXT_H

#include "phnsw_status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum phnsw_text_result
{
	PHNSW_TEXT_OK = 0,
	PHNSW_TEXT_NO_BRACKET,   /* the text does not start with "[" */
	PHNSW_TEXT_SYNTAX,       /* at `offset` */
	PHNSW_TEXT_EMPTY,        /* "[]" */
	PHNSW_TEXT_OUT_OF_RANGE, /* a number too large for a float4; `offset`, `token_length` delimit it */
	PHNSW_TEXT_NAN,          /* likewise delimited */
	PHNSW_TEXT_INFINITE,
	PHNSW_TEXT_TOO_MANY,     /* more than `capacity` numbers */
	PHNSW_TEXT_TRAILING      /* something behind the closing bracket, at `offset` */
} phnsw_text_result;

/*
 * Parses "[1,2.5,-3e-2]" (pgvector's grammar: spaces allowed around brackets and numbers) of
 * `length` bytes; no final zero needed.  Stores at most `capacity` floats, all finite;
 * numbers too small for a float4 become zero.  *dims: how many.
 */
PHNSW_API phnsw_text_result phnsw_text_parse(const char *text, size_t length, float *values, uint32_t capacity,
                                             uint32_t *dims, size_t *offset, size_t *token_length) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* PHNSW_CORE_TEXT_H */
