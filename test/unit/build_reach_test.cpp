// Reachability: graphs that fall apart are joined, within the lists' capacity, whether the lists are full or empty.
#include <algorithm>
#include <set>

#include "build/reach.hpp"
#include "points_harness.hpp"

namespace phnsw {
namespace {

using points_test::World;

std::uint32_t reached_from(const LevelLinks &links, std::uint32_t entry, std::uint32_t n) {
  std::vector<bool> seen(n);
  std::vector<std::uint32_t> queue{entry};
  seen[entry] = true;
  for (std::size_t i = 0; i < queue.size(); i++) {
    for (std::uint32_t k = 0; k < links.counts[queue[i]]; k++) {
      const std::uint32_t to = links.list(queue[i])[k];
      if (!seen[to]) queue.push_back(to);
      seen[to] = true;
    }
  }
  return static_cast<std::uint32_t>(queue.size());
}

TEST(Reach, JoinsWhatFellApart) {
  constexpr std::uint32_t kPoints = 1000;
  World world(kPoints, 16, 7);
  std::mt19937 random(7);
  for (const std::uint32_t filled : {0u, 1u, 2u, 4u}) {
    for (const std::uint32_t island : {1u, 10u, 250u}) {
      LevelLinks links;
      ASSERT_TRUE(links.allocate(world.arena, kPoints, 4).ok());
      for (std::uint32_t i = 0; i < kPoints; i++) {
        // Links within islands of consecutive points only.
        std::set<std::uint32_t> to;
        for (std::uint32_t k = 0; k < filled; k++) to.insert(i / island * island + random() % island);
        to.erase(i);
        links.counts[i] = static_cast<std::uint8_t>(to.size());
        std::copy(to.begin(), to.end(), links.list(i));
      }
      ASSERT_TRUE(attach_unreached(world.context, world.points, 3, &links).ok());
      EXPECT_EQ(reached_from(links, 3, kPoints), kPoints) << filled << " " << island;
      for (std::uint32_t i = 0; i < kPoints; i++) {
        ASSERT_LE(links.counts[i], 4);
        const std::set<std::uint32_t> to(links.list(i), links.list(i) + links.counts[i]);
        ASSERT_EQ(to.size(), links.counts[i]);
        ASSERT_EQ(to.count(i), 0u);
      }
    }
  }
}

}  // namespace
}  // namespace phnsw
