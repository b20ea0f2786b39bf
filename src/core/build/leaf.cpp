#include "build/leaf.hpp"

#include <algorithm>

namespace phnsw {

void LeafWorkspace::allocate(const GemmKernels &gemm, std::uint32_t groups, std::uint32_t points_max,
                             std::uint32_t neighbours_max) {
  const std::size_t padded = (points_max + gemm.panel - 1) / gemm.panel * gemm.panel;
  data_.reset(padded * gemm.packed_bytes(groups));
  norm2_.reset(padded);
  scale_.reset(padded);
  panels = {data_.data(), norm2_.data(), scale_.data(), 0};
  best.reset(padded * neighbours_max);
  distance.reset(padded + gemm.rows);
  scratch.reset(gemm.scratch_bytes(groups));
  sketch.reset(std::size_t{points_max} * Sketches::kBits);
}

void Leaves::process(const std::uint32_t *ids, std::uint32_t n, std::uint32_t neighbours, LeafWorkspace &work) noexcept {
  if (n < 2) return;
  const std::uint32_t groups = points_.groups();
  const GemmNearest nearest{work.best.data(), work.distance.data(), std::min(neighbours, n - 1)};
  gemm_.pack(points_.rows, ids, 0, n, groups, &work.panels);
  // The thresholds of the last panel are read whole.
  clear_nearest(nearest, n);
  for (std::uint32_t i = n; i < (n + gemm_.panel - 1) / gemm_.panel * gemm_.panel; i++) work.distance[i] = 0.0f;

  const std::uint64_t per_row = std::uint64_t{n} * groups * 4;
  const std::uint32_t rows = std::max<std::uint32_t>(
      gemm_.rows, static_cast<std::uint32_t>(std::min<std::uint64_t>(n, kMultiplyAddsPerStep / per_row)) / gemm_.rows * gemm_.rows);
  for (std::uint32_t begin = 0; begin < n; begin += rows) {
    if (team_.stopped()) return;
    gemm_.self_nearest(points_.rows, ids, begin, std::min(n, begin + rows), work.panels, groups, work.scratch.data(), nearest);
  }
  offer_all(ids, n, nearest.k, work);
}

void Leaves::offer_all(const std::uint32_t *ids, std::uint32_t n, std::uint32_t k, LeafWorkspace &work) noexcept {
  constexpr std::uint32_t kAhead = 4;
  for (std::uint32_t i = 0; i < n; i++) sketches_.load(ids[i], &work.sketch[i * Sketches::kBits]);
  const std::uint64_t *best = work.best.data();
  for (std::uint32_t i = 0; i < n; i++) {
    if (i + kAhead < n) {
      reservoirs_.prefetch(ids[i + kAhead]);
      for (std::uint32_t x = 0; x < k; x++) {
        const std::uint32_t j = neighbour_index(best[(i + kAhead) * std::size_t{k} + x]);
        if (j < n) reservoirs_.prefetch(ids[j]);
      }
    }
    const float *own = &work.sketch[i * Sketches::kBits];
    for (std::uint32_t x = 0; x < k; x++) {
      const std::uint64_t key = best[i * std::size_t{k} + x];
      const std::uint32_t j = neighbour_index(key);
      if (j >= n) break;
      // A pair that is in both lists is offered once.
      const std::uint64_t *others = best + j * std::size_t{k};
      bool mutual = false;
      if (j < i) {
        for (std::uint32_t y = 0; y < k; y++) mutual |= neighbour_index(others[y]) == i;
      }
      if (mutual) continue;
      const float distance = neighbour_distance(key);
      const float *other = &work.sketch[j * Sketches::kBits];
      reservoirs_.offer(ids[i], neighbour_key(distance, ids[j]), sketches_.bucket(own, other, ids[j]));
      reservoirs_.offer(ids[j], neighbour_key(distance, ids[i]), sketches_.bucket(other, own, ids[i]));
    }
  }
}

}  // namespace phnsw
