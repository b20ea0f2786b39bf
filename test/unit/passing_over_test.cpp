// A search whose caller passes over nodes that cannot enter the window, instead
// of scoring them (graph/README.md, Passed over).
#include <algorithm>
#include <limits>
#include <set>
#include <vector>

#include "search_harness.hpp"

namespace {

using namespace phnsw::search_test;
using phnsw::Rng;

// A caller that passes over what is beyond the limit: the same window, expansion by expansion, as one
// that scores everything; and the stream that follows has every reachable node once, those that were
// passed over among them.  Some callers miss a few below the limit.
TEST(PassingOver, WhatIsPassedOverComesInTheStream) {
  Rng rng(33);
  SearchHandle search, other;
  std::uint64_t passed_over = 0, missed = 0;
  for (std::uint32_t round = 0; round < 120; round++) {
    const std::uint32_t n = 500 + rng.below(3000), ef = 5 + rng.below(40);
    const bool exact = round % 2 == 0;
    const Graph graph(rng, n, 16, round % 3 == 0 ? 20 : 1u << 24);
    const std::uint32_t entry = rng.below(n);
    for (phnsw_search *each : {static_cast<phnsw_search *>(search), static_cast<phnsw_search *>(other)}) {
      ASSERT_EQ(phnsw_search_begin(each, ef, n, true, nullptr), PHNSW_OK);
      offer(each, graph, {entry});
    }
    const auto run_passing_over = [&] {
      std::vector<std::uint32_t> expanded;
      std::uint32_t node = 0;
      while (phnsw_search_pop(search, &node)) {
        expanded.push_back(node);
        std::vector<std::uint32_t> fresh(graph.links[node].size()), within, beyond;
        std::uint32_t count = 0;
        EXPECT_EQ(phnsw_search_fresh(search, graph.links[node].data(), static_cast<std::uint32_t>(fresh.size()),
                                     fresh.data(), &count, nullptr),
                  PHNSW_OK);
        fresh.resize(count);
        const float limit = phnsw_search_limit(search);
        const bool asked = limit < std::numeric_limits<float>::infinity();
        for (const std::uint32_t id : fresh) {
          const bool miss = asked && !exact && rng.below(20) == 0;
          missed += miss && graph.score[id] < limit;
          (graph.score[id] > limit || miss ? beyond : within).push_back(id);
        }
        if (asked) {
          EXPECT_EQ(
              phnsw_search_pass_over(search, beyond.data(), static_cast<std::uint32_t>(beyond.size()), count, nullptr),
              PHNSW_OK);
        }
        passed_over += beyond.size();
        offer(search, graph, within);
      }
      return expanded;
    };
    const std::vector<std::uint32_t> expanded = run_passing_over();
    const std::vector<std::uint32_t> whole = run(other, graph);
    ASSERT_TRUE(!exact || expanded == whole);
    std::set<std::uint32_t> returned;
    std::vector<std::uint32_t> ids(7);
    const std::uint32_t at_a_time = 1 + rng.below(40);
    for (;;) {
      const std::vector<phnsw_candidate> window = window_of(search), expected = window_of(other);
      if (window.empty() && expected.empty()) break;
      ASSERT_EQ(window.size(), expected.size()) << "after " << returned.size();
      const std::uint32_t taken = std::min<std::uint32_t>(at_a_time, static_cast<std::uint32_t>(window.size()));
      for (std::uint32_t i = 0; i < taken; i++) {
        ASSERT_TRUE(returned.insert(window[i].id).second) << "twice";
        ASSERT_TRUE(!exact || window[i].id == expected[i].id) << "after " << returned.size();
      }
      ASSERT_EQ(phnsw_search_take(search, taken, nullptr), PHNSW_OK);
      ASSERT_EQ(phnsw_search_take(other, taken, nullptr), PHNSW_OK);
      while (const std::uint32_t some = phnsw_search_unscored(search, ids.data(), 7)) {
        offer(search, graph, std::vector<std::uint32_t>(ids.begin(), ids.begin() + some));
      }
      ASSERT_EQ(phnsw_search_limit(search), std::numeric_limits<float>::infinity()) << "what is farther is wanted, too";
      run(search, graph);
      run(other, graph);
    }
  }
  EXPECT_GT(passed_over, 1000u);
  EXPECT_GT(missed, 100u);
}

// Where hardly anything is beyond the limit a search stops asking, and asks again later.
TEST(PassingOver, PausesWhereItDoesNotPay) {
  constexpr std::uint32_t kNodes = 20000;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  SearchHandle search;
  ASSERT_EQ(phnsw_search_begin(search, 4, kNodes, false, nullptr), PHNSW_OK);
  std::uint32_t next = 0, asked = 0;
  const auto hop = [&](bool beyond) {
    std::uint32_t ids[16], n = 0;
    for (std::uint32_t &id : ids) id = next++;
    ASSERT_EQ(phnsw_search_fresh(search, ids, 16, ids, &n, nullptr), PHNSW_OK);
    ASSERT_EQ(n, 16u);
    const float limit = phnsw_search_limit(search);
    if (limit < kInfinity) {
      asked += n;
      ASSERT_EQ(phnsw_search_pass_over(search, ids, beyond ? n : 0, n, nullptr), PHNSW_OK);
      if (beyond) n = 0;
    }
    const std::vector<float> scores(16, -static_cast<float>(next));
    const std::uint32_t versions[16] = {};
    ASSERT_EQ(phnsw_search_offer(search, ids, scores.data(), versions, n, nullptr), PHNSW_OK);
  };
  hop(false);
  for (int i = 0; i < 400; i++) hop(false);
  EXPECT_GT(asked, 200u) << "it is tried again";
  EXPECT_LT(asked, 6400u / 6) << "seldom";
  for (int i = 0; i < 100; i++) hop(true);
  asked = 0;
  for (int i = 0; i < 100; i++) hop(true);
  EXPECT_EQ(asked, 1600u) << "where it pays it is done all the time";
  phnsw_search_unscored(search, nullptr, 0);
  std::uint32_t id = 0;
  EXPECT_EQ(phnsw_search_unscored(search, &id, 1), 0u) << "without a reserve nothing is remembered";
}

}  // namespace
