// Reservoirs against their definition: of each bucket's nearest offer the
// nearest `capacity`, whatever the order of offers.
#include "build/reservoir.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>
#include <vector>

namespace phnsw {
namespace {

class NoFile : public SpillSource {
  Status extend(std::uint64_t, int *) override { return {PHNSW_INTERNAL, "no file"}; }
};

struct Fixture {
  std::atomic<bool> stop{false};
  NoFile no_file;
  Team team{1, stop};
  Arena arena{std::size_t{1} << 30, no_file};
  BuildProgress progress;
  BuildContext context{team, arena, progress};
};

std::vector<std::uint64_t> content(const Reservoirs &reservoirs, std::uint32_t point) {
  std::vector<std::uint64_t> keys(Reservoirs::kCapacityMax);
  keys.resize(reservoirs.candidates(point, keys.data()));
  std::sort(keys.begin(), keys.end());
  return keys;
}

std::vector<std::uint64_t> by_definition(const std::vector<std::uint64_t> &offers, std::size_t capacity) {
  std::map<std::uint64_t, std::uint64_t> nearest;
  for (const std::uint64_t offer : offers) {
    const auto [at, fresh] = nearest.emplace(offer % (1u << kBucketBits), offer);
    if (!fresh) at->second = std::min(at->second, offer);
  }
  std::vector<std::uint64_t> keys;
  for (const auto &[bucket, entry] : nearest) keys.push_back(entry_key(entry));
  std::sort(keys.begin(), keys.end());
  if (keys.size() > capacity) keys.resize(capacity);
  return keys;
}

// Few distances, so that there are ties; more buckets than places, so that there are evictions.
std::vector<std::uint64_t> random_offers(std::mt19937 &random, std::size_t n, std::uint32_t buckets) {
  std::vector<std::uint64_t> offers;
  for (std::size_t i = 0; i < n; i++) {
    const std::uint32_t id = static_cast<std::uint32_t>(random() % 500);
    offers.push_back(reservoir_entry(static_cast<float>((id * 31) % 60), id, (id * 2654435761u >> 8) % buckets));
  }
  return offers;
}

TEST(Reservoirs, EntriesKeepDistanceIdAndOrder) {
  for (const float distance : {0.0f, 1.0f, 1.5f, 3.0e38f}) {
    for (const std::uint32_t id : {0u, 77u, 0xFFFFFFFEu}) {
      const std::uint64_t key = entry_key(reservoir_entry(distance, id, 2047));
      EXPECT_EQ(neighbour_index(key), id);
      EXPECT_NEAR(neighbour_distance(key), distance, distance * 2e-4f);
      EXPECT_LT(reservoir_entry(distance, id, 2047), reservoir_entry(distance * 1.01f + 1e-30f, 0, 0));
      EXPECT_LT(reservoir_entry(distance, id, 2047), reservoir_entry(distance, id + 1, 0));
    }
  }
}

TEST(Reservoirs, MatchTheirDefinitionInAnyOrder) {
  Fixture f;
  std::mt19937 random(1);
  for (const std::uint32_t wanted : {4u, 30u, 64u, 250u}) {
    Reservoirs reservoirs;
    const std::uint32_t capacity = Reservoirs::capacity_for(wanted);
    EXPECT_GE(capacity, wanted);
    ASSERT_TRUE(reservoirs.allocate(f.context, 50, capacity).ok());
    for (const std::uint32_t buckets : {1u, 20u, 100u, 2048u}) {
      for (int round = 0; round < 10; round++) {
        ASSERT_TRUE(reservoirs.allocate(f.context, 2, capacity).ok());
        std::vector<std::uint64_t> offers = random_offers(random, round * 40, buckets);
        for (std::uint32_t point : {0u, 1u}) {
          std::shuffle(offers.begin(), offers.end(), random);
          reservoirs.offer(point, offers.data(), static_cast<std::uint32_t>(offers.size()));
          ASSERT_EQ(content(reservoirs, point), by_definition(offers, capacity)) << capacity << " " << buckets;
        }
      }
    }
  }
}

TEST(Reservoirs, TakeOffersFromManyThreads) {
  Fixture f;
  std::mt19937 random(2);
  Reservoirs reservoirs;
  ASSERT_TRUE(reservoirs.allocate(f.context, 3, 64).ok());
  const std::vector<std::uint64_t> offers = random_offers(random, 20000, 300);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      for (std::size_t i = t; i < offers.size(); i += 4) reservoirs.offer(1, offers[i]);
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(content(reservoirs, 1), by_definition(offers, 64));
  EXPECT_TRUE(content(reservoirs, 0).empty());
  EXPECT_TRUE(content(reservoirs, 2).empty());
}

// Lists written over their reservoirs are moved together: in the same memory,
// or, where that cannot be given to others, in new.
TEST(Reservoirs, BecomeLists) {
  struct Case {
    std::uint32_t n, capacity, list;
    bool in_place;
  };
  for (const Case &c :
       {Case{50000, 62, 32, true}, Case{20001, 32, 32, true}, Case{9000, 254, 200, true}, Case{20, 62, 32, false}}) {
    Fixture f;
    Reservoirs reservoirs;
    ASSERT_TRUE(reservoirs.allocate(f.context, c.n, Reservoirs::capacity_for(c.capacity)).ok());
    const void *const begin = reservoirs.list(0);
    for (std::uint32_t i = 0; i < c.n; i++) {
      for (std::uint32_t x = 0; x < c.list; x++) reservoirs.list(i)[x] = i * 256 + x;
    }
    const std::size_t before = f.arena.anonymous_bytes();
    ArenaArray<std::uint32_t> lists;
    ASSERT_TRUE(reservoirs.become_lists(f.context, c.n, c.list, &lists).ok());
    EXPECT_EQ(static_cast<const void *>(lists.data()) == begin, c.in_place);
    for (std::uint32_t i = 0; i < c.n; i++) {
      for (std::uint32_t x = 0; x < c.list; x++) ASSERT_EQ(lists[std::size_t{i} * c.list + x], i * 256 + x) << c.n;
    }
    if (c.in_place) {
      EXPECT_EQ(f.arena.anonymous_bytes() + f.arena.warm_bytes(), before);
    }
    EXPECT_LE(f.arena.anonymous_bytes(), std::size_t{c.n} * c.list * 4 + Arena::kPiece);
  }
}

}  // namespace
}  // namespace phnsw
