// Reachability: which live nodes a walk along the links of level 0 finds from the entry point.
//
// A plain breadth-first walk over a copy of the links, for tests: one bit and one queue entry per node.
// phnsw_check() and vacuum walk over pages (src/pg/vacuum/reach.c).
#pragma once

#include <cstdint>

namespace phnsw {

struct Reach {
  std::uint64_t reached_live = 0;
  std::uint32_t first_unreached = 0;  // PHNSW_NONE: every live node was found
};

// links: n rows of stride ids, counts[i] of them in use.  Links at or above n, and an entry at or above n, lead
// nowhere. REQUIRES: counts[i] <= stride.  Throws std::bad_alloc.
[[nodiscard]] Reach reach(const std::uint32_t *links, const std::uint16_t *counts, const std::uint8_t *live,
                          std::uint32_t n, std::uint32_t stride, std::uint32_t entry);

}  // namespace phnsw
