// A level's lists: every point is in enough of them.
#include "build/level.hpp"

#include <algorithm>

#include "points_harness.hpp"

namespace phnsw {
namespace {

using points_test::World;

// Where distances are all alike, the nearest of most points are the same few; lists filled with the
// nearest then lead to the others from a handful of places.
TEST(Level, LeadsToEveryPointFromManyOthers) {
  constexpr std::uint32_t kPoints = 6000, kCapacity = 16, kFew = 4;
  World world(kPoints, 60, 1, 1);
  LevelLinks links;
  ASSERT_TRUE(build_level(world.context, world.points, graph_params(60, 200, 1), kCapacity, &links, nullptr).ok());
  std::vector<std::uint32_t> in_links(kPoints);
  for (std::uint32_t i = 0; i < kPoints; i++) {
    for (std::uint32_t x = 0; x < links.counts[i]; x++) in_links[links.list(i)[x]]++;
  }
  const auto few = std::count_if(in_links.begin(), in_links.end(), [](std::uint32_t n) { return n < kFew; });
  EXPECT_LT(few, 180);  // 301 when filled with the nearest
}

}  // namespace
}  // namespace phnsw
