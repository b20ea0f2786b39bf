// See reach.hpp.
#include "graph/reach.hpp"

#include <cstddef>

#include "base/array.hpp"
#include "capi/phnsw_format.h"

namespace phnsw {

Reach reach(const std::uint32_t *links, const std::uint16_t *counts, const std::uint8_t *live, std::uint32_t n,
            std::uint32_t stride, std::uint32_t entry) {
  Array<std::uint64_t> found;
  found.reset_zero(n / 64 + 1);
  Array<std::uint32_t> queue(n);
  std::size_t head = 0;
  std::size_t tail = 0;
  const auto visit = [&](std::uint32_t id) {
    if (id >= n) return;
    const std::uint64_t bit = std::uint64_t{1} << (id % 64);
    if ((found[id / 64] & bit) != 0) return;
    found[id / 64] |= bit;
    queue[tail++] = id;
  };

  visit(entry);
  while (head < tail) {
    const std::uint32_t node = queue[head++];
    const std::uint32_t *row = links + std::size_t{node} * stride;
    for (std::uint32_t i = 0; i < counts[node]; i++) visit(row[i]);
  }

  Reach result;
  result.first_unreached = PHNSW_NONE;
  for (std::uint32_t id = 0; id < n; id++) {
    if (live[id] == 0) continue;
    if ((found[id / 64] >> (id % 64) & 1) != 0) {
      result.reached_live++;
    } else if (result.first_unreached == PHNSW_NONE) {
      result.first_unreached = id;
    }
  }
  return result;
}

}  // namespace phnsw
