// Sketches: the direction of one point from another, in a few bits.
#pragma once

#include "build/reservoir.hpp"

namespace phnsw {

// Directions for the reservoirs' buckets: the first rotated coordinates are random projections already.
class Sketches {
 public:
  static constexpr std::uint32_t kBits = kBucketBits;
  static constexpr std::uint32_t kLanes = (kBits + 3) / 4 * 4;

  explicit Sketches(const Points &points) noexcept
      : points_(points), bits_(points.dims < kBits ? points.dims : kBits) {}

  void prefetch(std::uint32_t id) const noexcept {
    __builtin_prefetch(points_.rows.row(id));
    __builtin_prefetch(&points_.rows.heads[id]);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
  }

  // sketch[kLanes]: the coordinates of a point, zero beyond.
  void load(std::uint32_t id, float *sketch) const noexcept {
    const std::int8_t *code = points_.rows.row(id);
    const float scale = points_.rows.heads[id].scale;
    for (std::uint32_t j = 0; j < bits_; j++) sketch[j] = scale * static_cast<float>(code[j]);
    for (std::uint32_t j = bits_; j < kLanes; j++) sketch[j] = 0.0f;
  }
  // The bucket of `other`, seen from the point of sketch `own`.  With fewer coordinates than bits, the rest are bits of
  // the other's id: a direction then keeps several nearest.
  [[nodiscard]] std::uint32_t bucket(const float *own, const float *other, std::uint32_t other_id) const noexcept {
    typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
    typedef std::int32_t Bits __attribute__((vector_size(16)));
    Bits bits{};
    for (std::uint32_t j = 0; j < kLanes; j += 4) {
      const Bits larger = *reinterpret_cast<const Four *>(other + j) > *reinterpret_cast<const Four *>(own + j);
      bits |= larger & (Bits{1, 2, 4, 8} << static_cast<std::int32_t>(j));
    }
    std::uint32_t bucket = static_cast<std::uint32_t>((bits[0] | bits[1]) | (bits[2] | bits[3]));
    if (bits_ < kBits) bucket |= ((other_id * 2654435769u) >> (32 - kBits)) & ~((1u << bits_) - 1u);
    return bucket;
  }

 private:
  const Points &points_;
  std::uint32_t bits_;
};

}  // namespace phnsw
