// Leaf: what reaches the reservoirs is exactly the pairs of which one is among the other's nearest, in both directions.
#include "build/leaf.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "points_harness.hpp"

namespace phnsw {
namespace {

using points_test::World;

TEST(Leaf, OffersTheNearestPairsBothWays) {
  for (const std::uint32_t dims : {3u, 40u}) {
    World world(600, dims, dims);
    const Sketches sketches(world.points);
    std::vector<std::uint32_t> ids;
    for (std::uint32_t i = 0; i < 600; i += 2) ids.push_back(i);
    for (const std::uint32_t k : {2u, 4u}) {
      Reservoirs reservoirs;
      ASSERT_TRUE(reservoirs.allocate(world.context, 600, 252).ok());
      LeafWorkspace work;
      work.allocate(gemm_kernels(), world.points.groups(), 300);
      Leaves(world.team, world.points, reservoirs).process(ids.data(), 300, k, work);

      std::vector<std::map<std::uint32_t, std::uint64_t>> expected(600);
      const auto offer = [&](std::uint32_t to, std::uint32_t candidate, float distance) {
        float own[Sketches::kLanes], other[Sketches::kLanes];
        sketches.load(to, own);
        sketches.load(candidate, other);
        const std::uint64_t key = entry_key(reservoir_entry(distance, candidate, 0));  // 21 bits of the distance
        const auto [at, fresh] = expected[to].emplace(sketches.bucket(own, other, candidate), key);
        if (!fresh) at->second = std::min(at->second, key);
      };
      std::uint32_t met_far = 0;
      for (std::uint32_t i = 0; i < 300; i++) {
        std::vector<std::pair<std::uint32_t, std::uint32_t>> near;
        for (std::uint32_t j = 0; j < 300; j++) {
          const float distance = world.distance(ids[i], ids[j]);
          std::uint32_t bits;
          std::memcpy(&bits, &distance, 4);
          if (j != i) near.emplace_back(bits & ~(kShortIndexes - 1), j);
        }
        std::sort(near.begin(), near.end());
        for (std::uint32_t x = 0; x < k; x++) {
          const float distance = short_key_distance(near[x].first);
          offer(ids[i], ids[near[x].second], distance);
          offer(ids[near[x].second], ids[i], distance);
        }
        const std::uint32_t far = far_member(ids.data(), 300, i);
        if (far == i) continue;
        met_far++;
        offer(ids[i], ids[far], world.distance(ids[i], ids[far]));
        offer(ids[far], ids[i], world.distance(ids[i], ids[far]));
      }
      EXPECT_GT(met_far, 40u);
      EXPECT_LT(met_far, 110u);
      for (std::uint32_t i = 0; i < 600; i++) {
        std::uint64_t keys[Reservoirs::kCapacityMax];
        const std::uint32_t n = reservoirs.candidates(i, keys);
        std::set<std::uint64_t> wanted;
        for (const auto &[bucket, key] : expected[i]) wanted.insert(key);
        ASSERT_EQ(std::set<std::uint64_t>(keys, keys + n), wanted) << i;
      }
    }
  }
}

// With fewer coordinates than bits a direction keeps several candidates.
TEST(Leaf, BucketsOfFewCoordinatesKeepSeveral) {
  World world(400, 1, 5);
  const Sketches sketches(world.points);
  const float own[Sketches::kLanes] = {0.5f}, other[Sketches::kLanes] = {0.7f};
  std::set<std::uint32_t> buckets;
  for (std::uint32_t id = 0; id < 50; id++) {
    buckets.insert(sketches.bucket(own, other, id));
    EXPECT_EQ(sketches.bucket(own, other, id) & 1u, 1u);
    EXPECT_EQ(sketches.bucket(other, own, id) & 1u, 0u);
  }
  EXPECT_GT(buckets.size(), 40u);
}

}  // namespace
}  // namespace phnsw
