// Validation of what stands on pages: meta page, slots, aux records.
//
// Pure functions that accept any bytes: nothing is asserted, nothing is read beyond the struct before the count that
// says how far has been checked.  Each returns the first fault as a static text, nullptr when there is none.  The texts
// are part of a user's error message: they name the field, not the value.
#pragma once

#include <cstdint>

#include "capi/phnsw_format.h"

namespace phnsw {

// Text of the fault "another version of phnsw wrote this".
inline constexpr const char *kFaultFormatVersion = "format version";

// blocks_in_file: pages that exist; ids below a limit must lie on them.
[[nodiscard]] const char *meta_fault(const phnsw_meta &meta, std::uint64_t blocks_in_file) noexcept;

// REQUIRES: meta has no fault; slot has meta.slot_bytes bytes, 4-byte aligned.
[[nodiscard]] const char *slot_fault(const phnsw_meta &meta, std::uint32_t id, const phnsw_slot &slot) noexcept;

// REQUIRES: meta has no fault; aux has meta.aux_bytes bytes, 4-byte aligned.
[[nodiscard]] const char *aux_fault(const phnsw_meta &meta, const phnsw_aux &aux) noexcept;

}  // namespace phnsw
