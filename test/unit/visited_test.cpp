// Visited against std::unordered_set, in both forms, over many searches: the same ids are fresh, in the same order.
#include "graph/visited.hpp"

#include <gtest/gtest.h>

#include <unordered_set>
#include <vector>

#include "base/rng.hpp"

namespace {

using phnsw::Rng;
using phnsw::Visited;

std::vector<std::uint32_t> oracle_fresh(std::unordered_set<std::uint32_t> &seen, std::uint32_t limit,
                                        const std::vector<std::uint32_t> &links) {
  std::vector<std::uint32_t> fresh;
  for (const std::uint32_t id : links) {
    if (id < limit && seen.insert(id).second) fresh.push_back(id);
  }
  return fresh;
}

void compare(bool hashed, std::uint32_t searches, std::uint32_t id_bound, std::uint32_t hops, std::uint64_t seed) {
  Visited visited;
  Rng rng(seed);
  for (std::uint32_t search = 0; search < searches; search++) {
    const std::uint32_t limit = 1 + rng.below(id_bound);
    std::unordered_set<std::uint32_t> seen;
    visited.begin(limit, hashed);
    const std::uint32_t hops_here = 1 + rng.below(hops);
    for (std::uint32_t hop = 0; hop < hops_here; hop++) {
      std::vector<std::uint32_t> links(rng.below(PHNSW_LINKS_MAX + 1));
      for (std::uint32_t &link : links) link = rng.below(limit + limit / 8 + 1);
      if (!links.empty()) links.back() = PHNSW_NONE;
      std::vector<std::uint32_t> fresh(links.size());
      fresh.resize(visited.insert_fresh(links.data(), static_cast<std::uint32_t>(links.size()), fresh.data()));
      ASSERT_EQ(fresh, oracle_fresh(seen, limit, links)) << "search " << search << " seed " << seed;
    }
  }
}

TEST(Visited, DirectAgreesWithSetOverMoreSearchesThanEpochs) { compare(false, 1000, 5000, 6, 1); }
TEST(Visited, HashedAgreesWithSet) { compare(true, 1000, 5000, 6, 2); }
TEST(Visited, HashedGrowsAndForgets) { compare(true, 40, 0xFFFFFFFE, 400, 3); }
TEST(Visited, HashedFullOfNeighbours) { compare(true, 20, 100000, 1000, 4); }

TEST(Visited, LinksMayBeOverwrittenInPlace) {
  for (const bool hashed : {false, true}) {
    Visited visited;
    visited.begin(100, hashed);
    std::uint32_t links[] = {7, 7, 200, 3, 7, 9};
    ASSERT_EQ(visited.insert_fresh(links, 6, links), 3u);
    EXPECT_EQ(links[0], 7u);
    EXPECT_EQ(links[1], 3u);
    EXPECT_EQ(links[2], 9u);
  }
}

TEST(Visited, EmptyIndexRefusesEverything) {
  for (const bool hashed : {false, true}) {
    Visited visited;
    visited.begin(0, hashed);
    const std::uint32_t links[] = {0, 1};
    std::uint32_t fresh[2];
    EXPECT_EQ(visited.insert_fresh(links, 2, fresh), 0u);
  }
}

// A search of a million nodes makes the table large; the next small searches give the memory back, and a table that is
// well used is kept.
TEST(Visited, HashedMemoryFollowsTheWork) {
  Visited visited;
  const auto work = [&](std::uint32_t ids) {
    visited.begin(1u << 30, true);
    for (std::uint32_t id = 0; id < ids; id++) {
      std::uint32_t fresh;
      ASSERT_EQ(visited.insert_fresh(&id, 1, &fresh), 1u);
    }
  };
  work(1000);
  const std::size_t small = visited.memory();
  work(1000000);
  const std::size_t large = visited.memory();
  EXPECT_GT(large, 4u * 1000000);
  work(900000);
  EXPECT_EQ(visited.memory(), large);
  work(1000);
  work(1000);
  EXPECT_EQ(visited.memory(), small);
}

}  // namespace
