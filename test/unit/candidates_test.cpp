// The window against a sorted std::vector, the reserve against std::multiset, with many equal scores.
#include "graph/candidates.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/rng.hpp"
#include "graph/reserve.hpp"

namespace {

using phnsw::Candidates;
using phnsw::precedes;
using phnsw::Reserve;
using phnsw::Rng;

bool same(const phnsw_candidate &a, const phnsw_candidate &b) {
  return a.score == b.score && a.id == b.id && a.version == b.version && a.expanded == b.expanded;
}

// A vector that is sorted after every step, and scanned from the start for the first unexpanded candidate.
struct NaiveWindow {
  std::vector<phnsw_candidate> entries;

  void merge(const std::vector<phnsw_candidate> &batch, std::uint32_t capacity) {
    entries.insert(entries.end(), batch.begin(), batch.end());
    std::sort(entries.begin(), entries.end(), precedes);
    if (entries.size() > capacity) entries.resize(capacity);
  }
  bool pop(std::uint32_t *id) {
    for (phnsw_candidate &candidate : entries) {
      if (candidate.expanded != 0) continue;
      candidate.expanded = 1;
      *id = candidate.id;
      return true;
    }
    return false;
  }
};

void expect_same(const Candidates &window, const NaiveWindow &naive) {
  ASSERT_EQ(window.size(), naive.entries.size());
  for (std::uint32_t i = 0; i < window.size(); i++) ASSERT_TRUE(same(window.data()[i], naive.entries[i])) << i;
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
      std::vector<phnsw_candidate> batch(rng.below(round % 5 == 0 ? Candidates::kBatch + 1 : 30));
      for (phnsw_candidate &c : batch) {
        c = {static_cast<float>(rng.below(spread)), (next_id++ * 7919) % 100003, rng.below(100), 0};
        if (rng.below(50) == 0) c.score = std::numeric_limits<float>::infinity();
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
        phnsw_candidate last = naive.entries.back();
        last.id = last.id + 200000 + next_id++;
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
    const phnsw_candidate candidate{static_cast<float>(id), id, 0, 0};
    window.merge(&candidate, 1);
  }
  for (std::uint32_t taken = 0; taken < 5000; taken++, id++) {
    ASSERT_EQ(window.data()[0].id, taken);
    window.drop_front(1);
    window.append({static_cast<float>(id), id, 0, 1});
  }
  std::uint32_t node = 0;
  EXPECT_FALSE(window.pop(&node));
}

TEST(Reserve, GivesBackInOrderWhateverTheMixOfAddsAndTakes) {
  Rng rng(12);
  Reserve reserve;
  for (std::uint32_t round = 0; round < 50; round++) {
    reserve.begin();
    std::vector<phnsw_candidate> naive;
    std::uint32_t next_id = 0;
    for (std::uint32_t step = 0; step < 200; step++) {
      const std::uint32_t n = rng.below(round % 2 == 0 ? 3 : 60);
      reserve.make_room(n);
      for (std::uint32_t i = 0; i < n; i++) {
        const phnsw_candidate candidate{static_cast<float>(rng.below(40)), next_id++, rng.below(9), rng.below(2)};
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
