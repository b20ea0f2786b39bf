// Prune against the heuristic written down plainly.
#include "build/prune.hpp"

#include <algorithm>
#include <set>

#include "points_harness.hpp"

namespace phnsw {
namespace {

using points_test::World;

std::vector<std::uint32_t> by_definition(const World &world, std::vector<std::uint64_t> keys, std::uint32_t m,
                                         const float *radius) {
  std::sort(keys.begin(), keys.end());
  std::vector<std::uint64_t> kept, others;
  for (const std::uint64_t key : keys) {
    bool keep = kept.size() < m;
    for (const std::uint64_t other : kept) {
      keep &= !(world.distance(neighbour_index(key), neighbour_index(other)) < neighbour_distance(key));
    }
    (keep ? kept : others).push_back(key);
  }
  const auto unit = [radius](std::uint64_t key) { return radius != nullptr ? radius[neighbour_index(key)] : 1.0f; };
  std::stable_sort(others.begin(), others.end(), [&](std::uint64_t a, std::uint64_t b) {
    return neighbour_distance(a) / unit(a) < neighbour_distance(b) / unit(b);
  });
  for (const std::uint64_t key : others) {
    const bool near = neighbour_distance(key) <= kFillShare * neighbour_distance(keys[keys.size() / 4]);
    if (near && kept.size() < m) kept.push_back(key);
  }
  std::sort(kept.begin(), kept.end());
  std::vector<std::uint32_t> ids;
  for (const std::uint64_t key : kept) ids.push_back(neighbour_index(key));
  return ids;
}

TEST(Prune, IsTheHeuristic) {
  for (const std::uint32_t dims : {2u, 30u, 200u}) {
    World world(500, dims, dims + 3);
    std::mt19937 random(dims);
    std::vector<float> radius(500);
    for (float &x : radius) x = std::uniform_real_distribution<float>(0.5f, 2.0f)(random);
    for (const std::uint32_t n : {0u, 1u, 2u, 9u, 33u, 68u, 250u}) {
      for (const std::uint32_t m : {1u, 4u, 32u, 200u}) {
        std::set<std::uint32_t> candidates;
        while (candidates.size() < n) candidates.insert(1 + random() % 499);
        std::vector<std::uint64_t> keys;
        for (const std::uint32_t id : candidates) keys.push_back(neighbour_key(world.distance(0, id), id));
        std::shuffle(keys.begin(), keys.end(), random);
        for (const float *unit : {static_cast<const float *>(nullptr), static_cast<const float *>(radius.data())}) {
          const std::vector<std::uint32_t> expected = by_definition(world, keys, m, unit);
          std::vector<std::uint32_t> list(m);
          list.resize(prune(world.points, keys.data(), n, m, unit, list.data()));
          ASSERT_EQ(list, expected) << n << " " << m;
        }
      }
    }
  }
}

}  // namespace
}  // namespace phnsw
