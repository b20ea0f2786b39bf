// Leaf and finds: what reaches the reservoirs is exactly the pairs of which one is among
// the other's nearest in some leaf, in both directions.
#include "build/leaf.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "points_harness.hpp"

namespace phnsw {
namespace {

using points_test::World;

TEST(Leaf, OffersTheNearestPairsBothWays) {
  std::mt19937 random(1);
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
      std::vector<std::uint32_t> places(300);
      std::iota(places.begin(), places.end(), 0u);
      std::shuffle(places.begin(), places.end(), random);
      work.finds.begin(ids.data(), 300, 2, k);
      Leaves leaves(world.team, world.points);
      GraphParams params{};
      params.leaf_neighbours = k;
      params.far_leaves = k;
      leaves.process(places.data(), 300, params, work);
      // A second leaf of the same part, in which some of the pairs meet again.
      leaves.process(places.data() + 100, 150, params, work);
      work.finds.deliver(world.points, sketches, reservoirs);

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
      const auto expect_leaf = [&](const std::uint32_t *members, std::uint32_t n) {
        std::vector<std::uint32_t> leaf(n);
        for (std::uint32_t i = 0; i < n; i++) leaf[i] = ids[members[i]];
        for (std::uint32_t i = 0; i < n; i++) {
          std::vector<std::pair<std::uint32_t, std::uint32_t>> near;
          for (std::uint32_t j = 0; j < n; j++) {
            const float distance = world.distance(leaf[i], leaf[j]);
            std::uint32_t bits;
            std::memcpy(&bits, &distance, 4);
            if (j != i) near.emplace_back(bits & ~(kShortIndexes - 1), j);
          }
          std::sort(near.begin(), near.end());
          for (std::uint32_t x = 0; x < k; x++) {
            const float distance = short_key_distance(near[x].first);
            offer(leaf[i], leaf[near[x].second], distance);
            offer(leaf[near[x].second], leaf[i], distance);
          }
          const std::uint32_t far = far_member(leaf.data(), n, i, params.far_leaves);
          if (far == i) continue;
          met_far++;
          offer(leaf[i], leaf[far], world.distance(leaf[i], leaf[far]));
          offer(leaf[far], leaf[i], world.distance(leaf[i], leaf[far]));
        }
      };
      expect_leaf(places.data(), 300);
      expect_leaf(places.data() + 100, 150);
      EXPECT_GT(met_far, 240 / params.far_leaves);
      EXPECT_LT(met_far, 660 / params.far_leaves);
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
