// Checks bytes from disk: whether a slot's head says what its code says.
#pragma once

#include "codec/codec.hpp"

namespace phnsw {

// The first fault of head, code or padding; nullptr when there is none.
const char *find_code_fault(const Codec &codec, const phnsw_slot &slot) noexcept;

}  // namespace phnsw
