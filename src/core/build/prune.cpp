#include "build/prune.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

#include "base/array.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kCandidatesMax = 256;

// By counting how many are smaller, without a branch: of a few dozen keys nothing can be predicted.  That is done with
// the upper 24 bits of the distances; the insertions at the end put the rest right.
void sort_keys(std::uint64_t *keys, std::uint32_t n) noexcept {
  std::int32_t approximate[kCandidatesMax];
  std::uint64_t sorted[kCandidatesMax];
  for (std::uint32_t i = 0; i < n; i++) approximate[i] = static_cast<std::int32_t>(keys[i] >> 40 << 8 | i);
  for (std::uint32_t i = 0; i < n; i++) {
    const std::int32_t own = approximate[i];
    std::int32_t rank = 0;
    for (std::uint32_t j = 0; j < n; j++) rank += approximate[j] < own;
    sorted[rank] = keys[i];
  }
  for (std::uint32_t i = 0; i < n; i++) {
    std::uint32_t place = i;
    for (; place > 0 && keys[place - 1] > sorted[i]; place--) keys[place] = keys[place - 1];
    keys[place] = sorted[i];
  }
}

}  // namespace

void prefetch_candidates(const Points &points, const std::uint64_t *keys, std::uint32_t n) noexcept {
  for (std::uint32_t i = 0; i < n; i++) {
    const std::int8_t *row = points.rows.row(neighbour_index(keys[i]));
    __builtin_prefetch(&points.rows.heads[neighbour_index(keys[i])]);
    for (std::uint32_t at = 0; at < points.row_bytes(); at += kCacheLine) {
      __builtin_prefetch(row + at);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
    }
  }
}

std::uint32_t prune(const Points &points, std::uint64_t *keys, std::uint32_t n, std::uint32_t m, const float *radius,
                    std::uint32_t *list) noexcept {
  const GemmKernels &gemm = gemm_kernels();
  sort_keys(keys, n);
  // Each candidate that is kept strikes out those that are nearer to it than to the point; what remains is
  // always `alive`, with what its distances are made of beside it.
  std::uint32_t alive[kCandidatesMax], ids[kCandidatesMax];
  float twice_scale[kCandidatesMax], norm2[kCandidatesMax], limit[kCandidatesMax];
  std::int32_t dots[kCandidatesMax], struck[kCandidatesMax];
  bool chosen[kCandidatesMax] = {};
  std::uint32_t count = 0, remaining = n;
  for (std::uint32_t i = 0; i < n; i++) {
    const phnsw_code_head &head = points.rows.heads[neighbour_index(keys[i])];
    alive[i] = i;
    ids[i] = neighbour_index(keys[i]);
    twice_scale[i] = 2.0f * head.scale;
    norm2[i] = head.norm2;
    limit[i] = neighbour_distance(keys[i]);
  }
  while (remaining != 0 && count < m) {
    chosen[alive[0]] = true;
    count++;
    gemm.dots(points.rows.row(ids[0]), points.rows, ids + 1, remaining - 1, points.row_bytes(), dots + 1);
    const float own_scale = 0.5f * twice_scale[0], own_norm2 = norm2[0];
    for (std::uint32_t x = 1; x < remaining; x++) {
      const float d = norm2[x] + own_norm2 - twice_scale[x] * own_scale * static_cast<float>(dots[x]);
      struck[x] = (d > 0.0f ? d : 0.0f) < limit[x];  // coded_distance()
    }
    std::uint32_t left = 0;
    for (std::uint32_t x = 1; x < remaining; x++) {
      alive[left] = alive[x];
      ids[left] = ids[x];
      twice_scale[left] = twice_scale[x];
      norm2[left] = norm2[x];
      limit[left] = limit[x];
      left += static_cast<std::uint32_t>(!struck[x]);
    }
    remaining = left;
  }
  // Far offers earn their place by the heuristic only: as fill they would make every hop dearer and lead nowhere new.
  const float fill_limit = n == 0 ? 0.0f : kFillShare * neighbour_distance(keys[n / 4]);
  std::uint64_t fill[kCandidatesMax];
  std::uint32_t fills = 0;
  for (std::uint32_t i = 0; i < n && neighbour_distance(keys[i]) <= fill_limit; i++) {
    if (!chosen[i]) fill[fills++] = neighbour_key(neighbour_distance(keys[i]), i);
  }
  const std::uint32_t places = m - count;
  if (fills > places && radius != nullptr) {
    for (std::uint32_t x = 0; x < fills; x++) {
      const std::uint32_t i = neighbour_index(fill[x]);
      const float unit = std::max(radius[neighbour_index(keys[i])], std::numeric_limits<float>::min());
      fill[x] = neighbour_key(neighbour_distance(keys[i]) / unit, i);
    }
    std::nth_element(fill, fill + places, fill + fills);
  }
  for (std::uint32_t x = 0; x < std::min(fills, places); x++) chosen[neighbour_index(fill[x])] = true;
  std::uint32_t written = 0;
  for (std::uint32_t i = 0; i < n; i++) {
    if (chosen[i]) list[written++] = neighbour_index(keys[i]);
  }
  return written;
}

}  // namespace phnsw
