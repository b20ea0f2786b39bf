// Prune: from a point's candidates to its list, by the HNSW heuristic.
//
// Nearest first, a candidate is kept unless a kept one is nearer to it than the point is; places that stay empty are
// filled with the nearest of the others (Malkov and Yashunin, algorithm 4, keepPrunedConnections).  Ties go to the smaller
// id.  Pure but for the caller's workspace.
#pragma once

#include "base/array.hpp"
#include "build/context.hpp"

namespace phnsw {

struct PruneWorkspace {
  explicit PruneWorkspace(const Points &points) : biased(points.row_bytes()) {}
  Array<std::uint8_t> biased;  // a candidate's code, plus 128
};

// keys[n]: candidates (distance to the point, id), distinct, n <= 256; sorted on return.  Writes at most m ids, nearest first.
std::uint32_t prune(const Points &points, std::uint64_t *keys, std::uint32_t n, std::uint32_t m, PruneWorkspace &work,
                    std::uint32_t *list) noexcept;

// Squared distance of two points.
inline float coded_distance(const Points &points, std::uint32_t a, std::uint32_t b, std::int32_t dot) noexcept {
  const phnsw_code_head &x = points.rows.heads[a], &y = points.rows.heads[b];
  const float d = x.norm2 + y.norm2 - 2.0f * x.scale * y.scale * static_cast<float>(dot);
  return d > 0.0f ? d : 0.0f;
}

inline void bias_code(const std::int8_t *code, std::uint32_t bytes, std::uint8_t *biased) noexcept {
  for (std::uint32_t i = 0; i < bytes; i++) biased[i] = static_cast<std::uint8_t>(code[i]) ^ 0x80u;
}

}  // namespace phnsw
