// Leaf: all pairs of a part, the nearest few of each point go to both points' reservoirs.
#pragma once

#include "base/array.hpp"
#include "build/reservoir.hpp"

namespace phnsw {

// Directions for the reservoirs' buckets: the first rotated coordinates are random projections already.
class Sketches {
 public:
  static constexpr std::uint32_t kBits = kBucketBits;
  static constexpr std::uint32_t kLanes = (kBits + 3) / 4 * 4;

  explicit Sketches(const Points &points) noexcept
      : points_(points), bits_(points.dims < kBits ? points.dims : kBits) {}

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

// One worker's buffers, for leaves and for the leaders of a part.  Bounded: see README.md.
class LeafWorkspace {
 public:
  static constexpr std::uint32_t kNeighboursMax = 8;

  // points_max: of one packed operand, at most kShortIndexes for leaves.
  void allocate(const GemmKernels &gemm, std::uint32_t groups, std::uint32_t points_max);

  GemmPanels panels{};
  Array<std::uint32_t> keys;         // points_max * kNeighboursMax
  Array<std::int32_t> column_keys;   // as many, for whole panels
  Array<std::uint8_t> scratch;       // a tile's left operand
  Array<float> sketch;               // points_max * Sketches::kLanes
  Array<std::uint64_t> offers;       // 2 * points_max * (kNeighboursMax + 1), by the point they are for
  Array<std::uint32_t> offers_end;   // points_max + 1

 private:
  Array<std::uint8_t> data_;
  Array<float> norm2_, scale_;
};

// The member of a leaf that its point i meets besides its nearest, itself in three leaves of four: the same whatever the order
// of leaves and threads, another one in every leaf.
std::uint32_t far_member(const std::uint32_t *ids, std::uint32_t n, std::uint32_t i) noexcept;

class Leaves {
 public:
  Leaves(const Team &team, const Points &points, Reservoirs &reservoirs) noexcept
      : team_(team), points_(points), reservoirs_(reservoirs), sketches_(points), gemm_(gemm_kernels()) {}

  // REQUIRES: ids distinct, n <= the workspace's points_max; neighbours is 2, 4 or 8.
  void process(const std::uint32_t *ids, std::uint32_t n, std::uint32_t neighbours, LeafWorkspace &work) noexcept;
  // The only leaf of a level: every point meets every other, as many as a reservoir can use.  REQUIRES: as above.
  void process_whole_level(std::uint32_t n, LeafWorkspace &work);

 private:
  void offer_all(const std::uint32_t *ids, std::uint32_t n, std::uint32_t k, LeafWorkspace &work) noexcept;

  const Team &team_;
  const Points &points_;
  Reservoirs &reservoirs_;
  Sketches sketches_;
  const GemmKernels &gemm_;
};

}  // namespace phnsw
