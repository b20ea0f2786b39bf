// Walk: a search in pieces is, after each piece, the search of that width.
#include "build/walk.hpp"

#include <set>

#include "points_harness.hpp"

namespace phnsw {
namespace {

using points_test::World;

TEST(Walk, IsNoDifferentInPieces) {
  constexpr std::uint32_t kPoints = 3000, kLinks = 12, kWidths[] = {1, 2, 10, 40, 41, 200, 900};
  World world(kPoints, 20, 5);
  std::mt19937 random(5);
  LevelLinks links;
  ASSERT_TRUE(links.allocate(world.arena, kPoints, kLinks).ok());
  for (std::uint32_t i = 0; i < kPoints; i++) {
    std::set<std::uint32_t> to;
    while (to.size() < kLinks) to.insert(random() % kPoints);
    to.erase(i);
    links.counts[i] = static_cast<std::uint8_t>(to.size());
    std::copy(to.begin(), to.end(), links.list(i));
  }
  Walk pieces(world.points), whole(world.points);
  for (std::uint32_t target = 0; target < 50; target++) {
    const bool without_target = target % 2 == 1;
    pieces.aim(target);
    whole.aim(target);
    pieces.begin(kPoints - 1, 900, without_target);
    for (const std::uint32_t width : kWidths) {
      pieces.widen(links, width);
      whole.run(links, kPoints - 1, width, without_target);
      ASSERT_EQ(pieces.touches(), whole.touches()) << target << " " << width;
      ASSERT_EQ(pieces.hops(), whole.hops()) << target << " " << width;
      ASSERT_GE(pieces.search().window_size(), whole.search().window_size());
      for (std::uint32_t i = 0; i < whole.search().window_size(); i++) {
        ASSERT_EQ(pieces.search().window()[i].id, whole.search().window()[i].id) << target << " " << width << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace phnsw
