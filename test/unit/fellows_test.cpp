// Fellows against a plain computation, and that neither blocks nor workers matter.
#include "merge/fellows.hpp"

#include <algorithm>
#include <limits>

#include "points_harness.hpp"

namespace phnsw {
namespace {

using points_test::World;

std::vector<std::uint32_t> fellows_of(Fellows &fellows, std::uint32_t point, unsigned worker) {
  std::uint32_t found[Fellows::kMost];
  const std::uint32_t n = fellows.take(point, worker, found);
  return {found, found + n};
}

TEST(Fellows, OfEachPanelTheNearest) {
  for (const std::uint32_t n : {1u, 2u, 5u, 33u, 100u, 1024u}) {
    const World world(n, 20, n);
    Fellows fellows(world.points, 1), others(world.points, 3);
    for (std::uint32_t begin = 0; begin < n; begin += Fellows::kBlock) {
      const std::uint32_t end = std::min(n, begin + Fellows::kBlock);
      fellows.find(begin, end, 0);
      for (std::uint32_t point = begin; point < end; point++) {
        const std::vector<std::uint32_t> found = fellows_of(fellows, point, 0);
        std::vector<std::uint32_t> sorted = found;
        std::sort(sorted.begin(), sorted.end());
        ASSERT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end());
        ASSERT_FALSE(std::binary_search(sorted.begin(), sorted.end(), point));
        // Of a panel 8 at most, one of which may be the point itself, and none that is left out nearer than
        // one that is found, but for what a short key cannot tell.
        for (std::uint32_t panel = 0; panel < Fellows::kPanels; panel++) {
          float farthest = 0, nearest_left = std::numeric_limits<float>::infinity();
          std::uint32_t all = 0, taken = 0;
          for (std::uint32_t other = panel; other < n; other += Fellows::kPanels) {
            all++;
            if (std::binary_search(sorted.begin(), sorted.end(), other)) {
              farthest = std::max(farthest, world.distance(point, other));
              taken++;
            } else if (other != point) {
              nearest_left = std::min(nearest_left, world.distance(point, other));
            }
          }
          ASSERT_EQ(taken, std::min(all, Fellows::kPerPanel) - (point % Fellows::kPanels == panel))
              << n << " " << point;
          ASSERT_LE(farthest, nearest_left * 1.001f) << n << " " << point;
        }
        others.find(point, point + 1, point % 3);
        ASSERT_EQ(fellows_of(others, point, point % 3), found);
      }
    }
  }
}

}  // namespace
}  // namespace phnsw
