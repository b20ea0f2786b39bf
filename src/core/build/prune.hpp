// Prune: from a point's candidates to its list, by the HNSW heuristic.
//
// Nearest first, a candidate is kept unless a kept one is nearer to it than the point is; places that
// stay empty are filled from the others (Malkov and Yashunin, algorithm 4, keepPrunedConnections):
// with those whose own neighbours are the farthest for their distance, since few other lists have
// them.  Ties go to the smaller id, of fill to the nearer.  Pure.
#pragma once

#include "build/context.hpp"

namespace phnsw {

// Pruned candidates fill a list up to this share of the squared distance of the candidate that ends the first quarter.
inline constexpr float kFillShare = 1.2f;

// keys[n]: candidates (distance to the point, id), distinct, n <= 256; sorted on return.  Writes at most m ids, nearest
// first.  radius: of every point the squared distance of one of its near ones; null: fill is the nearest.
std::uint32_t prune(const Points &points, std::uint64_t *keys, std::uint32_t n, std::uint32_t m, const float *radius,
                    std::uint32_t *list) noexcept;

// Asks for what prune() will read.
void prefetch_candidates(const Points &points, const std::uint64_t *keys, std::uint32_t n) noexcept;

// Squared distance of two points.
inline float coded_distance(const Points &points, std::uint32_t a, std::uint32_t b, std::int32_t dot) noexcept {
  const phnsw_code_head &x = points.rows.heads[a], &y = points.rows.heads[b];
  const float d = x.norm2 + y.norm2 - 2.0f * x.scale * y.scale * static_cast<float>(dot);
  return d > 0.0f ? d : 0.0f;
}

}  // namespace phnsw
