// Partition: every point is carved into leaves with near ones, none is lost, the home order is an order of all points.
#include "build/partition.hpp"

#include <algorithm>

#include "points_harness.hpp"

namespace phnsw {
namespace {

using points_test::World;

GraphParams params_of(std::uint32_t leaf, std::uint32_t carve_dims = 1000) {
  return {leaf, 2, 4, 8, 3, 64, carve_dims, 99};
}

// carve_dims: of 20 coordinates, those that the points are carved by.
void expect_near_candidates(std::uint32_t carve_dims) {
  World world(5000, 20, 1);
  Reservoirs reservoirs;
  ASSERT_TRUE(reservoirs.allocate(world.context, 5000, 68).ok());
  const GraphParams params = params_of(256, carve_dims);
  Partition partition(world.context, world.points, params, reservoirs);
  ASSERT_TRUE(partition.run().ok());

  std::vector<std::uint32_t> order(partition.home_order().data(), partition.home_order().data() + 5000);
  ASSERT_EQ(partition.home_begin().front(), 0u);
  ASSERT_EQ(partition.home_begin().back(), 5000u);
  std::sort(order.begin(), order.end());
  for (std::uint32_t i = 0; i < 5000; i++) ASSERT_EQ(order[i], i);

  std::uint32_t found = 0;
  for (std::uint32_t i = 0; i < 5000; i += 50) {
    std::uint64_t keys[Reservoirs::kCapacityMax];
    const std::uint32_t n = reservoirs.candidates(i, keys);
    ASSERT_GE(n, 4u);
    std::uint32_t nearest = i == 0 ? 1 : 0;
    for (std::uint32_t j = 0; j < 5000; j++) {
      if (j != i && world.distance(i, j) < world.distance(i, nearest)) nearest = j;
    }
    for (std::uint32_t k = 0; k < n; k++) found += neighbour_index(keys[k]) == nearest;
  }
  EXPECT_GE(found, 95u);  // of 100
}

TEST(Partition, GivesEveryPointNearCandidates) { expect_near_candidates(20); }

// Half of the coordinates is enough to carve by, if the sums and norms are those of that half: by
// whole ones a point would go where the other half's sum takes it.
TEST(Partition, CarvesByHalfOfTheCoordinates) { expect_near_candidates(12); }

// What lies beyond carve_dims has no say in which parts a point belongs to.
TEST(Partition, CarvesByTheFirstCoordinatesOnly) {
  World world(5000, 40, 5), other(5000, 40, 5);
  std::mt19937 random(6);
  for (std::uint32_t i = 0; i < 5000; i++) {
    std::int32_t sum = 0, squares = 0;
    for (std::uint32_t j = 0; j < 40; j++) {
      std::int8_t &x = other.codes[i * 64 + j];
      if (j >= 20) x = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
      sum += x;
      squares += x * x;
    }
    other.heads[i] = {0.01f, 0.0001f * static_cast<float>(squares), sum, 0};
  }
  std::vector<std::vector<std::uint32_t>> homes[2];  // in no particular order: that is a tour by all coordinates
  for (World *one : {&world, &other}) {
    Reservoirs reservoirs;
    ASSERT_TRUE(reservoirs.allocate(one->context, 5000, 68).ok());
    const GraphParams params = params_of(256, 20);
    Partition partition(one->context, one->points, params, reservoirs);
    ASSERT_TRUE(partition.run().ok());
    const std::uint32_t *order = partition.home_order().data();
    const std::vector<std::uint32_t> &begin = partition.home_begin();
    std::vector<std::vector<std::uint32_t>> &home = homes[one == &other];
    for (std::size_t i = 0; i + 1 < begin.size(); i++) home.emplace_back(order + begin[i], order + begin[i + 1]);
    std::sort(home.begin(), home.end());
  }
  EXPECT_GT(homes[0].size(), 10u);
  EXPECT_EQ(homes[0], homes[1]);
}

// All distances are alike, so that carving never ends by itself.
TEST(Partition, CutsWhatCannotBeCarved) {
  World world(3000, 64, 2, 1);
  for (std::uint32_t i = 0; i < 3000; i++) {
    std::fill_n(world.codes.data() + i * 64, 64, std::int8_t{0});
    world.codes[i * 64 + i % 64] = 1;
    world.heads[i] = {1.0f, 1.0f, 1, 0};
  }
  Reservoirs reservoirs;
  ASSERT_TRUE(reservoirs.allocate(world.context, 3000, 68).ok());
  const GraphParams params = params_of(128);
  Partition partition(world.context, world.points, params, reservoirs);
  ASSERT_TRUE(partition.run().ok());
  for (std::uint32_t i = 0; i < 3000; i++) {
    std::uint64_t keys[Reservoirs::kCapacityMax];
    ASSERT_GE(reservoirs.candidates(i, keys), 1u);
  }
}

TEST(Partition, StopsWhenAsked) {
  World world(5000, 20, 3);
  world.stop = true;
  Reservoirs reservoirs;
  world.stop = false;
  ASSERT_TRUE(reservoirs.allocate(world.context, 5000, 68).ok());
  world.stop = true;
  const GraphParams params = params_of(256);
  Partition partition(world.context, world.points, params, reservoirs);
  EXPECT_EQ(partition.run().code(), PHNSW_CANCELLED);
}

TEST(GroupByKey, IsAStableSort) {
  World world(1, 4, 4);
  constexpr std::uint32_t kRows = 20000, kGroups = 37;
  std::vector<std::uint16_t> keys(kRows * 3);
  std::vector<std::uint32_t> ids(kRows), members(kRows * 2), begin;
  std::mt19937 random(1);
  for (std::uint16_t &key : keys) key = static_cast<std::uint16_t>(random() % kGroups);
  for (std::uint32_t &id : ids) id = random();
  ASSERT_TRUE(group_by_key(world.team, keys.data(), 3, 2, ids.data(), kRows, kGroups, members.data(), &begin).ok());
  std::uint32_t at = 0;
  for (std::uint32_t group = 0; group < kGroups; group++) {
    ASSERT_EQ(begin[group], at);
    for (std::uint32_t i = 0; i < kRows; i++) {
      for (std::uint32_t x = 0; x < 2; x++) {
        if (keys[i * 3 + x] != group) continue;
        ASSERT_EQ(members[at++], ids[i]);
      }
    }
  }
  EXPECT_EQ(begin[kGroups], at);
}

}  // namespace
}  // namespace phnsw
