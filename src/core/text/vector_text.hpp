// The text form of a vector, "[1,2.5,-3e-2]", read into float32 coordinates.
//
// The only parser of hostile text in the project, so it stands apart from PostgreSQL, is fuzzed, and reads nothing
// beyond the given view: no terminating zero is needed, a zero byte is an ordinary wrong character.  Pure function of
// its arguments: no allocation, no locale, no state, no exception.  The grammar is in README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "capi/phnsw_text.h"

namespace phnsw {

struct VectorText {
  phnsw_text_result result = PHNSW_TEXT_OK;
  std::uint32_t dims = 0;  // coordinates stored
  std::size_t offset = 0;  // of the offending byte or number, in bytes from the start of the text
  std::size_t length = 0;  // of the offending number, 0 when a byte or the end of the text offends
};

// Stores at most values.size() coordinates, all of them finite.  The first fault from the left decides the result.
[[nodiscard]] VectorText parse_vector_text(std::string_view text, std::span<float> values) noexcept;

}  // namespace phnsw
