#include "build/prune.hpp"

#include <algorithm>
#include <atomic>

#include "base/array.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kCandidatesMax = 256;

// By counting how many are smaller, without a branch: of a few dozen keys nothing can be predicted.  That is done with the
// upper 24 bits of the distances; the insertions at the end put the rest right.
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

std::uint32_t prune(const Points &points, std::uint64_t *keys, std::uint32_t n, std::uint32_t m, std::uint32_t *list) noexcept {
  const GemmKernels &gemm = gemm_kernels();
  sort_keys(keys, n);
  // Each candidate that is kept strikes out those that are nearer to it than to the point; what remains is always `alive`.
  std::uint32_t alive[kCandidatesMax], ids[kCandidatesMax];
  std::int32_t dots[kCandidatesMax];
  bool chosen[kCandidatesMax] = {};
  std::uint32_t count = 0, remaining = n;
  for (std::uint32_t i = 0; i < n; i++) {
    alive[i] = i;
    ids[i] = neighbour_index(keys[i]);
  }
  while (remaining != 0 && count < m) {
    chosen[alive[0]] = true;
    count++;
    const std::uint32_t id = ids[0];
    gemm.dots(points.rows.row(id), points.rows, ids + 1, remaining - 1, points.row_bytes(), dots);
    std::uint32_t left = 0;
    for (std::uint32_t x = 1; x < remaining; x++) {
      const std::uint32_t place = alive[x], other = ids[x];
      const bool struck = coded_distance(points, other, id, dots[x - 1]) < neighbour_distance(keys[place]);
      alive[left] = place;
      ids[left] = other;
      left += !struck;
    }
    remaining = left;
  }
  // Far offers earn their place by the heuristic only: as fill they would make every hop dearer and lead nowhere new.
  const float fill_limit = n == 0 ? 0.0f : kFillShare * neighbour_distance(keys[n / 4]);
  for (std::uint32_t i = 0; i < n && count < m; i++) {
    if (chosen[i]) continue;
    if (neighbour_distance(keys[i]) > fill_limit) break;
    chosen[i] = true;
    count++;
  }
  std::uint32_t written = 0;
  for (std::uint32_t i = 0; i < n; i++) {
    if (chosen[i]) list[written++] = neighbour_index(keys[i]);
  }
  return written;
}

}  // namespace phnsw
