// Leaf: all pairs of a few hundred near points; the nearest few of each are found.
#pragma once

#include "base/array.hpp"
#include "build/finds.hpp"

namespace phnsw {

// One worker's buffers, for leaves and for the leaders of a part.  Bounded: see README.md.
class LeafWorkspace {
 public:
  static constexpr std::uint32_t kNeighboursMax = 8;

  // points_max: of one packed operand, at most kShortIndexes for leaves.
  void allocate(const GemmKernels &gemm, std::uint32_t groups, std::uint32_t points_max);

  GemmPanels panels{};
  Array<std::uint32_t> ids;         // points_max
  Array<std::uint32_t> keys;        // points_max * kNeighboursMax
  Array<std::int32_t> column_keys;  // as many, for whole panels
  Array<std::uint8_t> scratch;      // a tile's left operand
  Finds finds;

 private:
  Array<std::uint8_t> data_;
  Array<float> norm2_, scale_;
};

// The member of a leaf that its point i meets besides its nearest, itself in all leaves but one of far_leaves: the
// same whatever the order of leaves and threads, another one in every leaf.
std::uint32_t far_member(const std::uint32_t *ids, std::uint32_t n, std::uint32_t i, std::uint32_t far_leaves) noexcept;

class Leaves {
 public:
  Leaves(const Team &team, const Points &points) noexcept : team_(team), points_(points), gemm_(gemm_kernels()) {}

  // places: the leaf's points by their places in the part of work.finds, which gets what they find.
  // REQUIRES: places distinct, n <= the workspace's points_max; leaf_neighbours is 2, 4 or 8.
  void process(const std::uint32_t *places, std::uint32_t n, const GraphParams &params, LeafWorkspace &work) noexcept;
  // The only leaf of a level: every point meets every other, as many as a reservoir can use.  REQUIRES: as above.
  void process_whole_level(std::uint32_t n, const Sketches &sketches, Reservoirs &reservoirs, LeafWorkspace &work);

 private:
  const Team &team_;
  const Points &points_;
  const GemmKernels &gemm_;
};

}  // namespace phnsw
