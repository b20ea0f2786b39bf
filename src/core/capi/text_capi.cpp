// The text entry of phnsw_text.h: forwards to text/vector_text.hpp, which neither throws nor allocates.
#include "capi/phnsw_text.h"
#include "text/vector_text.hpp"

phnsw_text_result phnsw_text_parse(const char *text, size_t length, float *values, uint32_t capacity, uint32_t *dims,
                                   size_t *offset, size_t *token_length) noexcept {
  const phnsw::VectorText parsed = phnsw::parse_vector_text({text, length}, {values, capacity});
  *dims = parsed.dims;
  *offset = parsed.offset;
  *token_length = parsed.length;
  return parsed.result;
}
