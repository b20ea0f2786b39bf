// CodedPoint: a coded point that is compared with many others.
//
// Its code is brought once into the form that the kernel for whole batches takes.  Distances are those of
// phnsw_codec_distance(), bit for bit.  Lives on the stack of a call; neither allocates nor fails.
#pragma once

#include <cstdint>

#include "codec/codec.hpp"

namespace phnsw {

class CodedPoint {
 public:
  // codec and slot outlive the point.
  CodedPoint(const Codec &codec, const phnsw_slot &slot) noexcept;

  // Codes, and what heads say of them, may be anything.
  void distances(const phnsw_slot *const *slots, std::uint32_t n, float *distances) const noexcept;
  // One of them is nearer than that; does not look at all when an early one is.
  [[nodiscard]] bool any_nearer(const phnsw_slot *const *slots, std::uint32_t n, float than) const noexcept;

 private:
  static constexpr std::uint32_t kBatch = 32;
  // any_nearer() looks after so many: as many as the kernel sums together.
  static constexpr std::uint32_t kGlance = 4;

  // REQUIRES: n <= kBatch.
  void batch(const phnsw_slot *const *slots, std::uint32_t n, float *distances) const noexcept;

  const Codec &codec_;
  const phnsw_slot &slot_;
  std::uint8_t code_[PHNSW_PAGE_CONTENT];  // its coordinates + 128, code_dims; 4-bit codes are taken as they are
};

}  // namespace phnsw
