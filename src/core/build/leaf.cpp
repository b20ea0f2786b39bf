#include "build/leaf.hpp"

#include <algorithm>

#include "base/rng.hpp"

namespace phnsw {

void LeafWorkspace::allocate(const GemmKernels &gemm, std::uint32_t groups, std::uint32_t points_max) {
  const std::size_t padded = (points_max + gemm.panel - 1) / gemm.panel * gemm.panel;
  data_.reset(padded * gemm.packed_bytes(groups));
  norm2_.reset(padded);
  scale_.reset(padded);
  panels = {data_.data(), norm2_.data(), scale_.data(), 0};
  ids.reset(padded);
  keys.reset(padded * kNeighboursMax);
  column_keys.reset(padded * kNeighboursMax);
  scratch.reset(gemm.scratch_bytes(groups));
}

std::uint32_t far_member(const std::uint32_t *ids, std::uint32_t n, std::uint32_t i,
                         std::uint32_t far_leaves) noexcept {
  const std::uint64_t random = mix64((std::uint64_t{ids[i]} << 32) + n);
  return (random >> 32) * far_leaves >> 32 != 0 ? i : static_cast<std::uint32_t>(random % n);
}

void Leaves::process(const std::uint32_t *places, std::uint32_t n, const GraphParams &params,
                     LeafWorkspace &work) noexcept {
  const std::uint32_t neighbours = params.leaf_neighbours;
  if (n < 2) return;
  Finds &finds = work.finds;
  std::uint32_t *ids = work.ids.data();
  for (std::uint32_t i = 0; i < n; i++) ids[i] = finds.ids()[places[i]];
  const std::uint32_t groups = points_.groups();
  gemm_.pack(points_.rows, ids, 0, n, groups, &work.panels);
  const std::uint64_t per_row = std::uint64_t{n} * groups * 4;
  const std::uint32_t fit = static_cast<std::uint32_t>(std::min<std::uint64_t>(n, kMultiplyAddsPerStep / per_row));
  const std::uint32_t rows = std::max(1u, fit / gemm_.rows) * gemm_.rows;
  for (std::uint32_t begin = 0; begin < n; begin += rows) {
    if (team_.stopped()) return;
    gemm_.self_nearest(neighbours, points_.rows, ids, begin, std::min(n, begin + rows), work.panels, groups,
                       work.scratch.data(), work.column_keys.data(), work.keys.data());
  }
  for (std::uint32_t i = 0; i < n; i++) {
    const std::uint32_t before = finds.count(places[i]);
    for (std::uint32_t x = 0; x < neighbours; x++) {
      const std::uint32_t key = work.keys[i * neighbours + x];
      if (!short_key_valid(key)) break;
      finds.add(places[i], places[short_key_index(key)], short_key_distance(key), before);
    }
    // What links a small, separate cluster to the rest (README.md).
    const std::uint32_t far = far_member(ids, n, i, params.far_leaves);
    if (far != i) finds.add_far(places[i], places[far]);
  }
}

void Leaves::process_whole_level(std::uint32_t n, const Sketches &sketches, Reservoirs &reservoirs,
                                 LeafWorkspace &work) {
  const std::uint32_t groups = points_.groups(), k = std::min(n, reservoirs.capacity());
  Array<std::uint64_t> best(k);
  float distance;
  float own[Sketches::kLanes], other[Sketches::kLanes];
  gemm_.pack(points_.rows, nullptr, 0, n, groups, &work.panels);
  for (std::uint32_t i = 0; i < n && !team_.stopped(); i++) {
    const GemmNearest nearest{best.data(), &distance, k};
    clear_nearest(nearest, 1);
    gemm_.nearest(points_.rows, nullptr, i, i + 1, work.panels, 0, groups, work.scratch.data(), nearest);
    sketches.load(i, own);
    for (const std::uint64_t key : best) {
      const std::uint32_t j = neighbour_index(key);
      if (j == i || j >= n) continue;
      sketches.load(j, other);
      reservoirs.offer(i, reservoir_entry(neighbour_distance(key), j, sketches.bucket(own, other, j)));
      reservoirs.offer(j, reservoir_entry(neighbour_distance(key), i, sketches.bucket(other, own, i)));
    }
  }
}

}  // namespace phnsw
