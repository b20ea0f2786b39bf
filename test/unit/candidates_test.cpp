// The window against a sorted std::vector, the reserve against std::multiset, with many equal scores.
#include "graph/candidates.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/rng.hpp"
#include "graph/reserve.hpp"

namespace {

using phnsw::candidate_of;
using phnsw::Candidates;
using phnsw::Entry;
using phnsw::order_key;
using phnsw::precedes;
using phnsw::Reserve;
using phnsw::Rng;

Entry entry_of(float score, std::uint32_t id, std::uint32_t version, std::uint32_t expanded) {
  return {order_key(id, score), version, expanded};
}

bool same(const Entry &a, const Entry &b) {
  return a.key == b.key && a.version == b.version && a.expanded == b.expanded;
}

// A vector that is sorted after every step, and scanned from the start for the first unexpanded candidate.
struct NaiveWindow {
  std::vector<Entry> entries;

  void merge(const std::vector<Entry> &batch, std::uint32_t capacity) {
    entries.insert(entries.end(), batch.begin(), batch.end());
    std::sort(entries.begin(), entries.end(), precedes);
    if (entries.size() > capacity) entries.resize(capacity);
  }
  bool pop(std::uint32_t *id) {
    for (Entry &candidate : entries) {
      if (candidate.expanded != 0) continue;
      candidate.expanded = 1;
      *id = id_of(candidate);
      return true;
    }
    return false;
  }
};

void expect_same(const Candidates &window, const NaiveWindow &naive) {
  ASSERT_EQ(window.size(), naive.entries.size());
  for (std::uint32_t i = 0; i < window.size(); i++) ASSERT_TRUE(same(window.data()[i], naive.entries[i])) << i;
  std::vector<std::uint32_t> open;
  for (const Entry &candidate : naive.entries) {
    if (candidate.expanded == 0) open.push_back(id_of(candidate));
  }
  std::vector<std::uint32_t> upcoming(5);
  upcoming.resize(window.upcoming(upcoming.data(), 5));
  open.resize(std::min<std::size_t>(open.size(), 5));
  ASSERT_EQ(upcoming, open);
}

// One integer has the order of (score, id), and gives both back.
TEST(OrderKey, OrdersByScoreThenIdAndLosesNothing) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> ascending{-infinity, -3e38f, -2.0f, -1e-30f, -tiny,   0.0f,
                                     tiny,      1e-30f, 2.0f,  3e38f,   infinity};
  const std::vector<std::uint32_t> ids{0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE};
  std::uint64_t previous = 0;
  for (const float score : ascending) {
    for (const std::uint32_t id : ids) {
      const Entry entry = entry_of(score, id, 7, 1);
      ASSERT_GT(entry.key, previous) << score << " " << id;
      previous = entry.key;
      const phnsw_candidate candidate = candidate_of(entry);
      ASSERT_EQ(candidate.score, score);
      ASSERT_EQ(candidate.id, id);
      ASSERT_EQ(candidate.version, 7u);
      ASSERT_EQ(candidate.expanded, 1u);
    }
  }
  EXPECT_EQ(order_key(3, -0.0f), order_key(3, 0.0f));
  EXPECT_EQ(order_key(3, std::numeric_limits<float>::quiet_NaN()), order_key(3, infinity));
}

// Random merges, pops, takes from the front and appends at the end.
TEST(Candidates, AgreesWithSortedVector) {
  const std::uint64_t seed = 11;
  Rng rng(seed);
  Candidates window;
  for (std::uint32_t round = 0; round < 300; round++) {
    const std::uint32_t capacity = 1 + rng.below(round % 3 == 0 ? 600 : 50);
    const std::uint32_t spread = round % 2 == 0 ? 10 : 100000;
    NaiveWindow naive;
    std::uint32_t next_id = 0;
    window.begin(capacity);
    for (std::uint32_t step = 0; step < 80; step++) {
      std::vector<Entry> batch(rng.below(round % 5 == 0 ? Candidates::kBatch + 1 : 30));
      for (Entry &c : batch) {
        const float score =
            rng.below(50) == 0 ? std::numeric_limits<float>::infinity() : static_cast<float>(rng.below(spread)) - 5;
        c = entry_of(score, (next_id++ * 7919) % 100003, rng.below(100), 0);
      }
      std::sort(batch.begin(), batch.end(), precedes);
      window.merge(batch.data(), static_cast<std::uint32_t>(batch.size()));
      window.cut();
      naive.merge(batch, capacity);
      expect_same(window, naive);

      for (std::uint32_t pops = rng.below(6); pops > 0; pops--) {
        std::uint32_t mine = 0;
        std::uint32_t theirs = 0;
        const bool found = naive.pop(&theirs);
        ASSERT_EQ(window.pop(&mine), found);
        ASSERT_EQ(mine, theirs) << "seed " << seed << " round " << round;
      }
      const std::uint32_t taken = std::min<std::uint32_t>(rng.below(4), window.size());
      window.drop_front(taken);
      naive.entries.erase(naive.entries.begin(), naive.entries.begin() + taken);
      if (!window.full() && window.size() > 0 && rng.below(2) == 0) {
        Entry last = naive.entries.back();
        last.key += 200000 + next_id++;
        last.expanded = rng.below(2);
        window.append(last);
        naive.entries.push_back(last);
      }
      expect_same(window, naive);
    }
  }
}

// A candidate taken from the front thousands of times: the window slides through its buffer and loses nothing.
TEST(Candidates, TakingOneByOneKeepsTheOrder) {
  Candidates window;
  window.begin(8);
  std::uint32_t id = 0;
  for (; id < 8; id++) {
    const Entry candidate = entry_of(static_cast<float>(id), id, 0, 0);
    window.merge(&candidate, 1);
  }
  for (std::uint32_t taken = 0; taken < 5000; taken++, id++) {
    ASSERT_EQ(id_of(window.data()[0]), taken);
    window.drop_front(1);
    window.append(entry_of(static_cast<float>(id), id, 0, 1));
  }
  std::uint32_t node = 0;
  EXPECT_FALSE(window.pop(&node));
}

TEST(Reserve, GivesBackInOrderWhateverTheMixOfAddsAndTakes) {
  Rng rng(12);
  Reserve reserve;
  for (std::uint32_t round = 0; round < 50; round++) {
    reserve.begin();
    std::vector<Entry> naive;
    std::uint32_t next_id = 0;
    for (std::uint32_t step = 0; step < 200; step++) {
      const std::uint32_t n = rng.below(round % 2 == 0 ? 3 : 60);
      reserve.make_room(n);
      for (std::uint32_t i = 0; i < n; i++) {
        const Entry candidate = entry_of(static_cast<float>(rng.below(40)), next_id++, rng.below(9), rng.below(2));
        reserve.tail()[i] = candidate;
        naive.push_back(candidate);
      }
      reserve.added(n);
      for (std::uint32_t takes = rng.below(10); takes > 0 && !naive.empty(); takes--) {
        const auto first = std::min_element(naive.begin(), naive.end(), precedes);
        ASSERT_TRUE(same(reserve.take(), *first));
        naive.erase(first);
      }
      ASSERT_EQ(reserve.size(), naive.size());
    }
  }
}

}  // namespace
