// Selection of neighbours against a transcription of the papers' definitions over a matrix of distances.
#include "graph/select.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/rng.hpp"

namespace {

using phnsw::Rng;

// Points in the plane, the node in the origin; a coarse grid makes many distances equal.
struct Scene {
  std::vector<float> x, y, distances;
  std::vector<std::uint32_t> ids;

  Scene(Rng &rng, std::uint32_t n, std::uint32_t grid) : x(n), y(n), distances(n), ids(n) {
    std::iota(ids.begin(), ids.end(), 1000u);
    for (std::uint32_t i = n; i > 1; i--) std::swap(ids[i - 1], ids[rng.below(i)]);
    for (std::uint32_t i = 0; i < n; i++) {
      x[i] = static_cast<float>(rng.below(grid)) - static_cast<float>(grid / 2);
      y[i] = static_cast<float>(rng.below(grid)) - static_cast<float>(grid / 2);
      distances[i] = x[i] * x[i] + y[i] * y[i];
    }
  }
  float between(std::uint32_t i, std::uint32_t j) const {
    return (x[i] - x[j]) * (x[i] - x[j]) + (y[i] - y[j]) * (y[i] - y[j]);
  }
};

// Algorithm 4 as printed: a working queue W, a result R, a queue of discarded W_d.
std::vector<std::uint16_t> oracle_select(const Scene &scene, std::uint32_t m) {
  const auto before = [&](std::uint16_t a, std::uint16_t b) {
    return scene.distances[a] != scene.distances[b] ? scene.distances[a] < scene.distances[b]
                                                    : scene.ids[a] < scene.ids[b];
  };
  std::vector<std::uint16_t> working(scene.ids.size());
  std::iota(working.begin(), working.end(), std::uint16_t{0});
  std::sort(working.begin(), working.end(), before);
  std::vector<std::uint16_t> result;
  std::vector<std::uint16_t> discarded;
  for (const std::uint16_t e : working) {
    if (result.size() >= m) break;
    bool closer_to_a_kept_one = false;
    for (const std::uint16_t r : result) closer_to_a_kept_one |= scene.between(e, r) < scene.distances[e];
    (closer_to_a_kept_one ? discarded : result).push_back(e);
  }
  for (const std::uint16_t e : discarded) {
    if (result.size() < m) result.push_back(e);
  }
  std::sort(result.begin(), result.end(), before);
  return result;
}

TEST(Select, AgreesWithThePaper) {
  const std::uint64_t seed = 21;
  Rng rng(seed);
  for (std::uint32_t round = 0; round < 3000; round++) {
    const std::uint32_t n = rng.below(round % 100 == 0 ? PHNSW_SELECT_MAX + 1 : 90);
    const std::uint32_t m = 1 + rng.below(40);
    const Scene scene(rng, n, round % 2 == 0 ? 7 : 2001);
    std::vector<std::uint16_t> chosen(m);
    const auto covered = [&](std::uint32_t i, const std::uint16_t *kept, std::uint32_t count, float than) {
      return std::any_of(kept, kept + count, [&](std::uint16_t k) { return scene.between(i, k) < than; });
    };
    chosen.resize(phnsw::select_neighbours(scene.distances.data(), scene.ids.data(), n, m, covered, chosen.data()));
    ASSERT_EQ(chosen, oracle_select(scene, m)) << "seed " << seed << " round " << round;
  }
}

TEST(Select, NotANumberIsFarthest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float distances[] = {nan, 2.0f, nan, 1.0f};
  const std::uint32_t ids[] = {1, 2, 3, 4};
  std::uint16_t chosen[4];
  const auto uncovered = [](std::uint32_t, const std::uint16_t *, std::uint32_t, float) { return false; };
  ASSERT_EQ(phnsw::select_neighbours(distances, ids, 4, 3, uncovered, chosen), 3u);
  EXPECT_EQ(chosen[0], 3);
  EXPECT_EQ(chosen[1], 1);
  EXPECT_EQ(chosen[2], 0);
}

// The rule in three separate passes.
std::uint32_t oracle_victim(float fresh, const std::vector<float> &owner, const std::vector<float> &apart) {
  const std::uint32_t n = static_cast<std::uint32_t>(owner.size());
  for (std::uint32_t i = 0; i < n; i++) {
    if (owner[i] < fresh && apart[i] < fresh) return n;
  }
  for (const bool must_be_covered : {true, false}) {
    std::uint32_t farthest = n;
    for (std::uint32_t i = 0; i < n; i++) {
      if (owner[i] <= fresh || (must_be_covered && apart[i] >= owner[i])) continue;
      if (farthest == n || owner[i] > owner[farthest]) farthest = i;
    }
    if (farthest != n) return farthest;
  }
  return n;
}

TEST(BacklinkVictim, AgreesWithTheRule) {
  Rng rng(22);
  std::uint32_t lost = 0;
  std::uint32_t won = 0;
  for (std::uint32_t round = 0; round < 20000; round++) {
    const Scene scene(rng, 2 + rng.below(33), round % 2 == 0 ? 9 : 2001);
    const std::uint32_t n = static_cast<std::uint32_t>(scene.ids.size()) - 1;
    std::vector<float> owner(scene.distances.begin(), scene.distances.end() - 1);
    std::vector<float> apart(n);
    for (std::uint32_t i = 0; i < n; i++) apart[i] = scene.between(i, n);
    const std::uint32_t victim = phnsw::backlink_victim(scene.distances[n], owner.data(), apart.data(), n);
    ASSERT_EQ(victim, oracle_victim(scene.distances[n], owner, apart)) << "round " << round;
    (victim == n ? lost : won)++;
  }
  EXPECT_GT(lost, 1000u);
  EXPECT_GT(won, 1000u);
}

TEST(BacklinkVictim, CoveredNewcomerLosesAndUncoveredOneEvicts) {
  const float owner[] = {1.0f, 4.0f, 9.0f, 16.0f};
  const float covered[] = {1.5f, 5.0f, 20.0f, 20.0f};
  EXPECT_EQ(phnsw::backlink_victim(2.0f, owner, covered, 4), 4u);
  const float covers_entry_2[] = {3.0f, 5.0f, 8.0f, 20.0f};
  EXPECT_EQ(phnsw::backlink_victim(2.0f, owner, covers_entry_2, 4), 2u);
  const float covers_none[] = {3.0f, 5.0f, 20.0f, 20.0f};
  EXPECT_EQ(phnsw::backlink_victim(2.0f, owner, covers_none, 4), 3u);
  const float far_from_all[] = {30.0f, 30.0f, 30.0f, 30.0f};
  EXPECT_EQ(phnsw::backlink_victim(25.0f, owner, far_from_all, 4), 4u);
}

}  // namespace
