#include "build/leaf.hpp"

#include <algorithm>

#include "base/rng.hpp"
#include "build/prune.hpp"

namespace phnsw {

void LeafWorkspace::allocate(const GemmKernels &gemm, std::uint32_t groups, std::uint32_t points_max) {
  const std::size_t padded = (points_max + gemm.panel - 1) / gemm.panel * gemm.panel;
  data_.reset(padded * gemm.packed_bytes(groups));
  norm2_.reset(padded);
  scale_.reset(padded);
  panels = {data_.data(), norm2_.data(), scale_.data(), 0};
  keys.reset(padded * kNeighboursMax);
  column_keys.reset(padded * kNeighboursMax);
  scratch.reset(gemm.scratch_bytes(groups));
  sketch.reset(std::size_t{points_max} * Sketches::kLanes);
  offers.reset(std::size_t{points_max} * (kNeighboursMax + 1) * 2);
  offers_end.reset(points_max + 1);
}

void Leaves::process(const std::uint32_t *ids, std::uint32_t n, std::uint32_t neighbours, LeafWorkspace &work) noexcept {
  if (n < 2) return;
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
  offer_all(ids, n, neighbours, work);
}

void Leaves::process_whole_level(std::uint32_t n, LeafWorkspace &work) {
  const std::uint32_t groups = points_.groups(), k = std::min(n, reservoirs_.capacity());
  Array<std::uint64_t> best(k);
  float distance;
  float own[Sketches::kLanes], other[Sketches::kLanes];
  gemm_.pack(points_.rows, nullptr, 0, n, groups, &work.panels);
  for (std::uint32_t i = 0; i < n && !team_.stopped(); i++) {
    const GemmNearest nearest{best.data(), &distance, k};
    clear_nearest(nearest, 1);
    gemm_.nearest(points_.rows, nullptr, i, i + 1, work.panels, 0, groups, work.scratch.data(), nearest);
    sketches_.load(i, own);
    for (const std::uint64_t key : best) {
      const std::uint32_t j = neighbour_index(key);
      if (j == i || j >= n) continue;
      sketches_.load(j, other);
      reservoirs_.offer(i, reservoir_entry(neighbour_distance(key), j, sketches_.bucket(own, other, j)));
      reservoirs_.offer(j, reservoir_entry(neighbour_distance(key), i, sketches_.bucket(other, own, i)));
    }
  }
}

namespace {

constexpr std::uint64_t kNoOffer = ~std::uint64_t{0};  // every reservoir refuses it

}  // namespace

std::uint32_t far_member(const std::uint32_t *ids, std::uint32_t n, std::uint32_t i) noexcept {
  const std::uint64_t random = mix64((std::uint64_t{ids[i]} << 32) + n);
  return random >> 62 != 0 ? i : static_cast<std::uint32_t>(random % n);
}

void Leaves::offer_all(const std::uint32_t *ids, std::uint32_t n, std::uint32_t k, LeafWorkspace &work) noexcept {
  const std::uint32_t *keys = work.keys.data();
  // Calls body(i, j, key) for each pair of which at least one is in the other's list, once.
  const auto each_pair = [&](auto &&body) {
    for (std::uint32_t i = 0; i < n; i++) {
      for (std::uint32_t x = 0; x < k; x++) {
        const std::uint32_t key = keys[i * std::size_t{k} + x];
        if (!short_key_valid(key)) break;
        const std::uint32_t j = short_key_index(key);
        bool mutual = false;
        for (std::uint32_t y = 0; y < k; y++) {
          const std::uint32_t back = keys[j * std::size_t{k} + y];
          mutual |= short_key_valid(back) && short_key_index(back) == i;
        }
        if (!mutual || i < j) body(i, j, key);
      }
    }
  };
  // Offers are sorted by the point they are for, so that each reservoir is visited once.
  std::uint32_t *end = work.offers_end.data();
  std::fill(end, end + n + 1, 0u);
  each_pair([&](std::uint32_t i, std::uint32_t j, std::uint32_t) {
    end[i + 1]++;
    end[j + 1]++;
  });
  for (std::uint32_t i = 0; i < n; i++) {
    end[i + 1]++;
    end[far_member(ids, n, i) + 1]++;
  }
  for (std::uint32_t i = 1; i <= n; i++) end[i] += end[i - 1];
  for (std::uint32_t i = 0; i < n; i++) sketches_.load(ids[i], &work.sketch[i * Sketches::kLanes]);
  each_pair([&](std::uint32_t i, std::uint32_t j, std::uint32_t key) {
    const float *own = &work.sketch[i * Sketches::kLanes], *other = &work.sketch[j * Sketches::kLanes];
    const float distance = short_key_distance(key);
    work.offers[end[i]++] = reservoir_entry(distance, ids[j], sketches_.bucket(own, other, ids[j]));
    work.offers[end[j]++] = reservoir_entry(distance, ids[i], sketches_.bucket(other, own, ids[i]));
  });
  // Far offers: what links a small, separate cluster to the rest (README.md).  A point that draws itself offers nothing.
  for (std::uint32_t i = 0; i < n; i++) {
    const std::uint32_t j = far_member(ids, n, i);
    if (i == j) {
      work.offers[end[i]++] = kNoOffer;
      work.offers[end[i]++] = kNoOffer;
      continue;
    }
    const float *own = &work.sketch[i * Sketches::kLanes], *other = &work.sketch[j * Sketches::kLanes];
    std::int32_t dot;
    gemm_.dots(points_.rows.row(ids[i]), points_.rows, &ids[j], 1, points_.row_bytes(), &dot);
    const float distance = coded_distance(points_, ids[i], ids[j], dot);
    work.offers[end[i]++] = reservoir_entry(distance, ids[j], sketches_.bucket(own, other, ids[j]));
    work.offers[end[j]++] = reservoir_entry(distance, ids[i], sketches_.bucket(other, own, ids[i]));
  }
  constexpr std::uint32_t kAhead = 4;
  for (std::uint32_t i = 0; i < n; i++) {
    if (i + kAhead < n) reservoirs_.prefetch(ids[i + kAhead]);
    const std::uint32_t begin = i == 0 ? 0 : end[i - 1];
    reservoirs_.offer(ids[i], &work.offers[begin], end[i] - begin);
  }
}

}  // namespace phnsw
