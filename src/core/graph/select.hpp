// Selection of neighbours: which candidates become links, and which link gives way to a newcomer.
//
// Pure functions over distances; the caller says how far two candidates are apart (codes on pages, unpacked codes of
// the bulk build, a matrix in a test).  Deterministic: equal distances are ordered by id or, where there are no ids, by
// position.  See README.md for the rules and where they differ from HNSW and Vamana.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "capi/phnsw_codec.h"

namespace phnsw {

namespace select_detail {

struct Ranked {
  float distance;
  std::uint32_t id;
  std::uint32_t index;
};

inline bool nearer(const Ranked &a, const Ranked &b) noexcept {
  return (a.distance < b.distance) | ((a.distance == b.distance) & (a.id < b.id));
}

}  // namespace select_detail

// HNSW's heuristic with keepPrunedConnections.  Walks the candidates nearest first and keeps one unless a
// kept one is nearer to it than the node is; then fills up with the nearest of those passed over.  covered(i,
// kept, count, than): one of the candidates kept[0 ... count) is nearer to candidate i than that; kept only
// grows from call to call.  Writes at most m indexes, nearest first, and returns how many.  A NaN distance
// counts as +inf.  REQUIRES: n <= PHNSW_SELECT_MAX; ids are distinct.
template <class Covered>
std::uint32_t select_neighbours(const float *distances, const std::uint32_t *ids, std::uint32_t n, std::uint32_t m,
                                Covered &&covered, std::uint16_t *chosen) noexcept {
  using select_detail::Ranked;
  Ranked ranked[PHNSW_SELECT_MAX];
  bool kept[PHNSW_SELECT_MAX];
  std::uint16_t kept_indexes[PHNSW_SELECT_MAX];

  for (std::uint32_t i = 0; i < n; i++) {
    const float d = distances[i];
    ranked[i] = {d == d ? d : std::numeric_limits<float>::infinity(), ids[i], i};
    kept[i] = false;
  }
  // The window of a search comes sorted.
  if (!std::is_sorted(ranked, ranked + n, select_detail::nearer)) std::sort(ranked, ranked + n, select_detail::nearer);

  std::uint32_t count = 0;
  std::uint32_t end = 0;  // ranks below it have been looked at
  for (; end < n && count < m; end++) {
    const Ranked &candidate = ranked[end];
    if (covered(candidate.index, kept_indexes, count, candidate.distance)) continue;
    kept[end] = true;
    kept_indexes[count++] = static_cast<std::uint16_t>(candidate.index);
  }
  for (std::uint32_t rank = 0; rank < end && count < m; rank++) {
    count += !kept[rank];
    kept[rank] = true;
  }
  std::uint32_t written = 0;
  for (std::uint32_t rank = 0; rank < end; rank++) {
    if (kept[rank]) chosen[written++] = static_cast<std::uint16_t>(ranked[rank].index);
  }
  return written;
}

// A full list of n entries, at owner_distances from the list's owner, is offered a newcomer at fresh_distance;
// fresh_distances: from the newcomer to the entries.  Returns the entry that gives way, or n when the newcomer loses:
//
//   1. an entry nearer to the owner is nearer to the newcomer than the owner is: the newcomer is covered and loses;
//   2. otherwise the farthest entry that the newcomer covers in the same sense gives way;
//   3. if it covers none, the farthest entry gives way, provided it is farther than the newcomer.
//
// Equal distances: the first entry.  Comparisons with NaN are false, so an entry with a NaN distance stays.
inline std::uint32_t backlink_victim(float fresh_distance, const float *owner_distances, const float *fresh_distances,
                                     std::uint32_t n) noexcept {
  std::uint32_t victim = n;
  std::uint32_t farthest = n;
  float victim_distance = fresh_distance;
  float farthest_distance = fresh_distance;
  for (std::uint32_t i = 0; i < n; i++) {
    const float owner = owner_distances[i];
    const float apart = fresh_distances[i];
    if (owner < fresh_distance) {
      if (apart < fresh_distance) return n;
      continue;
    }
    if (owner > farthest_distance) {
      farthest = i;
      farthest_distance = owner;
    }
    if (owner > victim_distance && apart < owner) {
      victim = i;
      victim_distance = owner;
    }
  }
  return victim != n ? victim : farthest;
}

}  // namespace phnsw
