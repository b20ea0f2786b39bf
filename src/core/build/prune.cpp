#include "build/prune.hpp"

#include <algorithm>
#include <atomic>

#include "base/array.hpp"

namespace phnsw {

std::uint32_t prune(const Points &points, std::uint64_t *keys, std::uint32_t n, std::uint32_t m, std::uint32_t *list) noexcept {
  constexpr std::uint32_t kBatch = 8;
  const GemmKernels &gemm = gemm_kernels();
  for (std::uint32_t i = 0; i < n; i++) {
    const std::int8_t *row = points.rows.row(neighbour_index(keys[i]));
    __builtin_prefetch(&points.rows.heads[neighbour_index(keys[i])]);
    for (std::uint32_t at = 0; at < points.row_bytes(); at += kCacheLine) {
      __builtin_prefetch(row + at);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
    }
  }
  std::sort(keys, keys + n);
  std::uint32_t kept[256];
  bool chosen[256] = {};
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < n && count < m; i++) {
    const std::uint32_t id = neighbour_index(keys[i]);
    const float limit = neighbour_distance(keys[i]);
    bool keep = true;
    for (std::uint32_t at = 0; at < count && keep; at += kBatch) {
      const std::uint32_t batch = std::min(kBatch, count - at);
      std::int32_t dots[kBatch];
      gemm.dots(points.rows.row(id), points.rows, kept + at, batch, points.row_bytes(), dots);
      for (std::uint32_t x = 0; x < batch; x++) keep &= !(coded_distance(points, id, kept[at + x], dots[x]) < limit);
    }
    if (!keep) continue;
    chosen[i] = true;
    kept[count++] = id;
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
