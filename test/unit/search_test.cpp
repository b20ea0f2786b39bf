// The search machine on random graphs with a fake scorer, against a transcription of HNSW's algorithm 2 over ordered
// sets that shares no code with it: the same nodes are expanded in the same order and the same window results.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "search_harness.hpp"

namespace {

using namespace phnsw::search_test;
using phnsw::Rng;
using Key = std::pair<float, std::uint32_t>;

// Algorithm 2 (SEARCH-LAYER): candidates C, found nearest neighbours W.
struct Oracle {
  std::vector<std::uint32_t> expanded;
  std::set<Key> found;

  Oracle(const Graph &graph, const std::vector<std::uint32_t> &entries, std::uint32_t ef) {
    std::set<std::uint32_t> visited;
    std::set<Key> candidates;
    const auto consider = [&](std::uint32_t id) {
      if (!visited.insert(id).second) return;
      const Key key{graph.score[id], id};
      if (found.size() >= ef && !(key < *found.rbegin())) return;
      candidates.insert(key);
      found.insert(key);
      if (found.size() > ef) found.erase(std::prev(found.end()));
    };
    for (const std::uint32_t id : entries) consider(id);
    while (!candidates.empty()) {
      const Key nearest = *candidates.begin();
      candidates.erase(candidates.begin());
      if (*found.rbegin() < nearest) break;
      expanded.push_back(nearest.second);
      for (const std::uint32_t id : graph.links[nearest.second]) consider(id);
    }
  }
};

TEST(Search, AgreesWithTheAlgorithmOfThePaper) {
  const std::uint64_t seed = 31;
  Rng rng(seed);
  SearchHandle search;
  for (std::uint32_t round = 0; round < 600; round++) {
    const std::uint32_t n = 1 + rng.below(2000);
    const Graph graph(rng, n, 12, round % 3 == 0 ? 20 : 1u << 24);
    const std::uint32_t ef = 1 + rng.below(round % 4 == 0 ? 700 : 60);
    std::vector<std::uint32_t> entries(1 + rng.below(4));
    for (std::uint32_t &id : entries) id = rng.below(n);
    const bool keep_reserve = round % 2 == 0;

    ASSERT_EQ(phnsw_search_begin(search, ef, n, keep_reserve, nullptr), PHNSW_OK);
    offer(search, graph, entries);
    const std::vector<std::uint32_t> expanded = run(search, graph);
    const Oracle oracle(graph, entries, ef);
    ASSERT_EQ(expanded, oracle.expanded) << "seed " << seed << " round " << round;

    const std::vector<phnsw_candidate> window = window_of(search);
    ASSERT_EQ(window.size(), oracle.found.size());
    std::size_t i = 0;
    for (const Key &key : oracle.found) {
      ASSERT_EQ(window[i].id, key.second);
      ASSERT_EQ(window[i].score, key.first);
      ASSERT_EQ(window[i].version, Graph::version(key.second));
      ASSERT_EQ(window[i].expanded, 1u);
      i++;
    }
  }
}

// With stop_beyond: expands what the search without it would, in that order, and ends at the first candidate
// that is farther than the rule allows, whether what is farther enters the window or not.  The rule is
// written out in double over a sorted copy of what has been scored.
TEST(Search, EndsWhereTheNextCandidateIsTooFar) {
  const std::uint64_t seed = 33;
  Rng rng(seed);
  SearchHandle search;
  std::uint32_t earlier = 0;
  for (std::uint32_t round = 0; round < 400; round++) {
    const std::uint32_t n = 1 + rng.below(2000);
    Graph graph(rng, n, 12, 4000);
    const float offset = static_cast<float>(rng.below(5000));
    for (float &score : graph.score) score -= offset;
    const std::uint32_t ef = 1 + rng.below(60), rank = 1 + rng.below(12);
    const float slack = static_cast<float>(rng.below(8)) / 8;
    const std::vector<std::uint32_t> entries{rng.below(n)};

    ASSERT_EQ(phnsw_search_begin(search, ef, n, false, nullptr), PHNSW_OK);
    phnsw_search_stop_beyond(search, rank, slack, offset);
    if (round % 2 == 0) phnsw_search_forget_beyond(search);
    offer(search, graph, entries);
    const std::vector<std::uint32_t> expanded = run(search, graph);
    const Oracle oracle(graph, entries, ef);
    ASSERT_LE(expanded.size(), oracle.expanded.size());
    ASSERT_TRUE(std::equal(expanded.begin(), expanded.end(), oracle.expanded.begin()))
        << "seed " << seed << " round " << round;

    std::set<Key> seen;
    std::set<std::uint32_t> scored(entries.begin(), entries.end());
    const auto may_go_on = [&](std::uint32_t next) {
      seen.clear();
      for (const std::uint32_t id : scored) seen.insert({graph.score[id], id});
      if (std::min<std::size_t>(seen.size(), ef) < rank) return true;
      const double far = double{graph.score[next]} + double{offset};
      const double near = double{std::next(seen.begin(), rank - 1)->first} + double{offset};
      return far <= (1.0 + double{slack}) * (1.0 + double{slack}) * near;
    };
    for (const std::uint32_t id : expanded) {
      ASSERT_TRUE(may_go_on(id)) << "seed " << seed << " round " << round;
      scored.insert(graph.links[id].begin(), graph.links[id].end());
    }
    if (expanded.size() == oracle.expanded.size()) continue;
    ASSERT_FALSE(may_go_on(oracle.expanded[expanded.size()])) << "seed " << seed << " round " << round;
    earlier++;
    // The rule goes with its search.
    ASSERT_EQ(phnsw_search_begin(search, ef, n, false, nullptr), PHNSW_OK);
    offer(search, graph, entries);
    ASSERT_EQ(run(search, graph), oracle.expanded);
  }
  EXPECT_GT(earlier, 50u);
}

// What is farther than stop_beyond() will ever expand does not enter the window after forget_beyond(), and is not asked
// for: by the nearest as it was then.  Without, the rule may be relaxed later, and all of it is there.
TEST(Search, WhatIsBeyondReachStaysOut) {
  SearchHandle search;
  const auto offer_scores = [&](std::uint32_t first, std::vector<float> scores) {
    std::vector<std::uint32_t> ids(scores.size()), versions(scores.size(), 1);
    std::iota(ids.begin(), ids.end(), first);
    ASSERT_EQ(phnsw_search_offer(search, ids.data(), scores.data(), versions.data(),
                                 static_cast<std::uint32_t>(ids.size()), nullptr),
              PHNSW_OK);
  };
  const auto scores_of_window = [&] {
    std::vector<float> scores;
    for (const phnsw_candidate &candidate : window_of(search)) scores.push_back(candidate.score);
    return scores;
  };
  for (const bool keep : {false, true}) {
    std::uint32_t node = 0;
    ASSERT_EQ(phnsw_search_begin(search, 4, 100, false, nullptr), PHNSW_OK);
    phnsw_search_stop_beyond(search, 1, 0.5f, 8);  // 2.25 times as far in squared distances, which are scores + 8
    if (!keep) phnsw_search_forget_beyond(search);
    EXPECT_EQ(phnsw_search_limit(search), std::numeric_limits<float>::infinity());
    offer_scores(0, {32});
    ASSERT_TRUE(phnsw_search_pop(search, &node));
    EXPECT_EQ(phnsw_search_limit(search), keep ? std::numeric_limits<float>::infinity() : 82.0f);
    offer_scores(1, {83, 82, 81});
    EXPECT_EQ(scores_of_window(), keep ? (std::vector<float>{32, 81, 82, 83}) : (std::vector<float>{32, 81, 82}));
    offer_scores(4, {12, 36, 38});
    EXPECT_EQ(scores_of_window(), (std::vector<float>{12, 32, 36, 38}));
    EXPECT_EQ(phnsw_search_limit(search), keep ? 38.0f : 37.0f);
    offer_scores(7, {37.5f});
    EXPECT_EQ(scores_of_window(),
              keep ? (std::vector<float>{12, 32, 36, 37.5f}) : (std::vector<float>{12, 32, 36, 38}));
    ASSERT_TRUE(phnsw_search_pop(search, &node));
    EXPECT_EQ(node, 4u);
    ASSERT_TRUE(phnsw_search_pop(search, &node));
    EXPECT_EQ(node, 5u);
    EXPECT_FALSE(phnsw_search_pop(search, &node));
  }
}

// A search that is stopped by a slack and goes on with a larger one is the search with that one;
// without any, the whole search.  With slack 0 it is over when it has expanded the nearest `rank`,
// as a search of that width: the same nodes, the same nearest.
TEST(Search, AStoppedSearchGoesOn) {
  Rng rng(35);
  SearchHandle pieces, whole;
  for (std::uint32_t round = 0; round < 300; round++) {
    const std::uint32_t n = 100 + rng.below(2000);
    Graph graph(rng, n, 12, 1u << 24);
    const std::uint32_t ef = 10 + rng.below(60), rank = 1 + rng.below(10);
    const std::vector<std::uint32_t> entries{rng.below(n)};
    ASSERT_EQ(phnsw_search_begin(pieces, ef, n, true, nullptr), PHNSW_OK);
    offer(pieces, graph, entries);
    std::vector<std::uint32_t> expanded;
    for (const float slack : {0.01f, 0.05f, 0.2f, -1.0f}) {
      phnsw_search_stop_beyond(pieces, slack < 0 ? 0 : rank, slack < 0 ? 0 : slack, 0);
      const std::vector<std::uint32_t> more = run(pieces, graph);
      expanded.insert(expanded.end(), more.begin(), more.end());
      ASSERT_EQ(phnsw_search_begin(whole, ef, n, true, nullptr), PHNSW_OK);
      if (slack >= 0) phnsw_search_stop_beyond(whole, rank, slack, 0);
      offer(whole, graph, entries);
      ASSERT_EQ(run(whole, graph), expanded) << round << " " << slack;
      std::uint32_t size, settled = phnsw_search_settled(pieces);
      const phnsw_candidate *window = phnsw_search_window(pieces, &size);
      ASSERT_EQ(settled, phnsw_search_settled(whole));
      for (std::uint32_t i = 0; i < settled; i++) ASSERT_EQ(window[i].expanded, 1u);
      if (slack < 0) {
        ASSERT_EQ(settled, size);
      } else if (settled < size) {
        ASSERT_EQ(window[settled].expanded, 0u);
        ASSERT_GE(settled, rank);
      }
    }

    const std::uint32_t narrow = 1 + rng.below(ef);
    ASSERT_EQ(phnsw_search_begin(pieces, ef, n, true, nullptr), PHNSW_OK);
    phnsw_search_stop_beyond(pieces, narrow, 0, 0);
    offer(pieces, graph, entries);
    ASSERT_EQ(phnsw_search_begin(whole, narrow, n, true, nullptr), PHNSW_OK);
    offer(whole, graph, entries);
    ASSERT_EQ(run(pieces, graph), run(whole, graph));
    std::uint32_t size, more;
    const phnsw_candidate *wanted = phnsw_search_window(whole, &size);
    const phnsw_candidate *window = phnsw_search_window(pieces, &more);
    ASSERT_GE(more, size);
    ASSERT_GE(phnsw_search_settled(pieces), size);
    for (std::uint32_t i = 0; i < size; i++) ASSERT_EQ(window[i].id, wanted[i].id);
  }
}

// Dropping leaves the candidates behind the dropped ones, no more; the next take fills the window again, with what it
// would have had: nothing is lost, nothing comes twice, every node comes.
TEST(Search, DroppedPlacesComeBackWithTheNextTake) {
  Rng rng(37);
  SearchHandle search;
  for (std::uint32_t round = 0; round < 200; round++) {
    const std::uint32_t n = 100 + rng.below(1500), ef = 10 + rng.below(60);
    Graph graph(rng, n, 12, 1u << 24);
    const std::vector<std::uint32_t> entries{rng.below(n)};
    const std::size_t reachable = Oracle(graph, entries, n).found.size();
    ASSERT_EQ(phnsw_search_begin(search, ef, n, true, nullptr), PHNSW_OK);
    phnsw_search_stop_beyond(search, 5, 0.05f, 0);
    offer(search, graph, entries);
    run(search, graph);
    std::set<std::uint32_t> seen;
    std::uint32_t size;
    const auto collect = [&](std::uint32_t count) {
      const phnsw_candidate *window = phnsw_search_window(search, &size);
      for (std::uint32_t i = 0; i < count; i++) ASSERT_TRUE(seen.insert(window[i].id).second) << round;
    };
    const std::uint32_t dropped = std::min(phnsw_search_settled(search), ef - 1);
    collect(dropped);
    const std::uint32_t before = size;
    phnsw_search_drop(search, dropped);
    phnsw_search_window(search, &size);
    ASSERT_EQ(size, before - dropped);
    phnsw_search_stop_beyond(search, 0, 0, 0);
    run(search, graph);
    phnsw_search_window(search, &size);
    ASSERT_LE(size, ef - dropped);
    while (size > 0) {
      ASSERT_EQ(phnsw_search_settled(search), size);
      collect(size);
      ASSERT_EQ(phnsw_search_take(search, size, nullptr), PHNSW_OK);
      phnsw_search_window(search, &size);
      ASSERT_LE(size, ef);
      run(search, graph);
      phnsw_search_window(search, &size);
    }
    ASSERT_EQ(seen.size(), reachable) << round;
  }
}

// What the search has passed over: of all nodes scored, those behind the window, nearest first.  Scores in few or many
// steps, some infinite.  Asking changes nothing: it may be repeated, and the stream goes on as if nobody had asked.
TEST(Search, PassedIsWhatFollowsTheWindow) {
  Rng rng(36);
  SearchHandle search;
  for (std::uint32_t round = 0; round < 300; round++) {
    const std::uint32_t n = 1 + rng.below(2000);
    Graph graph(rng, n, 12, round % 3 == 0 ? 20 : 1u << 24);
    for (std::uint32_t i = 0; round % 4 == 0 && i < n; i += 5) graph.score[i] = std::numeric_limits<float>::infinity();
    const std::uint32_t ef = 1 + rng.below(60);
    const std::uint32_t entry = rng.below(n);
    ASSERT_EQ(phnsw_search_begin(search, ef, n, true, nullptr), PHNSW_OK);
    offer(search, graph, {entry});
    std::set<std::uint32_t> scored{entry};
    for (const std::uint32_t id : run(search, graph)) scored.insert(graph.links[id].begin(), graph.links[id].end());
    std::set<Key> behind;
    for (const std::uint32_t id : scored) behind.insert({graph.score[id], id});
    const std::vector<phnsw_candidate> window = window_of(search);
    for (const phnsw_candidate &candidate : window) ASSERT_EQ(behind.erase({candidate.score, candidate.id}), 1u);

    for (int time = 0; time < 2; time++) {
      const std::uint32_t wanted = rng.below(200);
      std::uint32_t count = wanted;
      const phnsw_candidate *passed = nullptr;
      ASSERT_EQ(phnsw_search_passed(search, &count, &passed, nullptr), PHNSW_OK);
      ASSERT_EQ(count, std::min<std::size_t>(wanted, behind.size())) << "round " << round;
      auto expected = behind.begin();
      for (std::uint32_t i = 0; i < count; i++, ++expected) {
        ASSERT_EQ(Key(passed[i].score, passed[i].id), *expected) << "round " << round;
        ASSERT_EQ(passed[i].version, Graph::version(passed[i].id));
      }
    }
    ASSERT_EQ(phnsw_search_take(search, static_cast<std::uint32_t>(window.size()), nullptr), PHNSW_OK);
    const std::vector<phnsw_candidate> next = window_of(search);
    ASSERT_EQ(next.size(), std::min<std::size_t>(ef, behind.size()));
    if (!next.empty()) {
      ASSERT_EQ(Key(next[0].score, next[0].id), *behind.begin());
    }
  }
}

// Streaming until nothing is left returns every reachable node once, and, taking k at a time, each group in order.
TEST(Search, StreamReturnsEveryReachableNodeOnce) {
  Rng rng(32);
  SearchHandle search;
  for (std::uint32_t round = 0; round < 100; round++) {
    const std::uint32_t n = 1 + rng.below(3000);
    const Graph graph(rng, n, 8, round % 3 == 0 ? 20 : 1u << 24);
    const std::uint32_t entry = rng.below(n);
    const std::uint32_t at_a_time = 1 + rng.below(40);
    std::vector<bool> reachable(n, false);
    std::vector<std::uint32_t> stack{entry};
    std::size_t reachable_nodes = 1;
    reachable[entry] = true;
    while (!stack.empty()) {
      const std::uint32_t node = stack.back();
      stack.pop_back();
      for (const std::uint32_t id : graph.links[node]) {
        if (reachable[id]) continue;
        reachable[id] = true;
        reachable_nodes++;
        stack.push_back(id);
      }
    }

    ASSERT_EQ(phnsw_search_begin(search, 1 + rng.below(60), n, true, nullptr), PHNSW_OK);
    offer(search, graph, {entry});
    std::vector<bool> returned(n, false);
    std::size_t count = 0;
    for (;;) {
      run(search, graph);
      const std::vector<phnsw_candidate> window = window_of(search);
      if (window.empty()) break;
      const std::size_t taken = std::min<std::size_t>(at_a_time, window.size());
      for (std::size_t i = 0; i < taken; i++) {
        ASSERT_TRUE(reachable[window[i].id]);
        ASSERT_FALSE(returned[window[i].id]) << "twice";
        returned[window[i].id] = true;
        if (i > 0) {
          ASSERT_LT(Key(window[i - 1].score, window[i - 1].id), Key(window[i].score, window[i].id));
        }
        count++;
      }
      ASSERT_EQ(phnsw_search_take(search, at_a_time, nullptr), PHNSW_OK);
    }
    ASSERT_EQ(count, reachable_nodes) << "round " << round;
  }
}

// Without a graph in the way (all nodes are entry points) the stream is the sorted list, whatever ef is.
TEST(Search, StreamOfEntryPointsIsSorted) {
  Rng rng(33);
  SearchHandle search;
  for (const std::uint32_t ef : {1u, 7u, 300u}) {
    const Graph graph(rng, 2000, 0, 500);
    std::vector<std::uint32_t> all(2000);
    for (std::uint32_t i = 0; i < 2000; i++) all[i] = (i * 7) % 2000;
    ASSERT_EQ(phnsw_search_begin(search, ef, 2000, true, nullptr), PHNSW_OK);
    offer(search, graph, all);
    Key previous{-1.0f, 0};
    std::uint32_t count = 0;
    for (run(search, graph); !window_of(search).empty(); run(search, graph), count++) {
      const phnsw_candidate first = window_of(search)[0];
      ASSERT_LT(previous, Key(first.score, first.id));
      previous = Key(first.score, first.id);
      ASSERT_EQ(phnsw_search_take(search, 1, nullptr), PHNSW_OK);
    }
    EXPECT_EQ(count, 2000u);
  }
}

TEST(Search, RepeatedAndForeignEntryPointsAreDropped) {
  SearchHandle search;
  ASSERT_EQ(phnsw_search_begin(search, 10, 100, true, nullptr), PHNSW_OK);
  const std::uint32_t ids[] = {5, 5, 100, 6, PHNSW_NONE};
  const float scores[] = {1, 1, 0, 2, 0};
  const std::uint32_t versions[] = {0, 0, 0, 0, 0};
  ASSERT_EQ(phnsw_search_offer(search, ids, scores, versions, 5, nullptr), PHNSW_OK);
  const std::vector<phnsw_candidate> window = window_of(search);
  ASSERT_EQ(window.size(), 2u);
  EXPECT_EQ(window[0].id, 5u);
  EXPECT_EQ(window[1].id, 6u);
  const std::uint32_t links[] = {6, 7, 5, 7, 101};
  std::uint32_t fresh[5];
  std::uint32_t n = 0;
  ASSERT_EQ(phnsw_search_fresh(search, links, 5, fresh, &n, nullptr), PHNSW_OK);
  ASSERT_EQ(n, 1u);
  EXPECT_EQ(fresh[0], 7u);
}

TEST(Search, NotANumberIsFarthest) {
  SearchHandle search;
  ASSERT_EQ(phnsw_search_begin(search, 2, 100, true, nullptr), PHNSW_OK);
  const std::uint32_t ids[] = {1, 2, 3, 4};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float scores[] = {nan, 3, nan, -std::numeric_limits<float>::infinity()};
  const std::uint32_t versions[] = {0, 0, 0, 0};
  ASSERT_EQ(phnsw_search_offer(search, ids, scores, versions, 4, nullptr), PHNSW_OK);
  std::vector<std::uint32_t> order;
  for (std::uint32_t i = 0; i < 4; i++) {
    const phnsw_candidate first = window_of(search).at(0);
    order.push_back(first.id);
    EXPECT_FALSE(std::isnan(first.score));
    ASSERT_EQ(phnsw_search_take(search, 1, nullptr), PHNSW_OK);
  }
  EXPECT_EQ(order, (std::vector<std::uint32_t>{4, 2, 1, 3}));
  EXPECT_TRUE(window_of(search).empty());
}

TEST(Search, EfOutOfRangeIsRefused) {
  SearchHandle search;
  phnsw_error error{};
  EXPECT_EQ(phnsw_search_begin(search, 0, 10, false, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_STREQ(error.message, "ef is out of range");
  EXPECT_EQ(phnsw_search_begin(search, PHNSW_EF_MAX + 1, 10, false, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_search_begin(search, PHNSW_EF_MAX, 10, false, &error), PHNSW_OK);
}

// A search that is repeated asks for no more memory, and a small index costs kilobytes.
TEST(Search, MemoryIsKeptAndReported) {
  Rng rng(34);
  const Graph graph(rng, 3000, 16, 1u << 24);
  SearchHandle search;
  std::size_t after_first = 0;
  for (std::uint32_t round = 0; round < 3; round++) {
    ASSERT_EQ(phnsw_search_begin(search, 40, 3000, true, nullptr), PHNSW_OK);
    offer(search, graph, {17});
    run(search, graph);
    if (round == 0) after_first = phnsw_search_memory(search);
    EXPECT_EQ(phnsw_search_memory(search), after_first);
  }
  EXPECT_GT(after_first, 4096u);
  EXPECT_LT(after_first, 200000u);
}

// What one search of everything has needed is given back, and later searches are as
// before: with bits and, beyond 16 million, with a hash.
TEST(Search, IsTrimmed) {
  Rng rng(35);
  const Graph graph(rng, 3000, 16, 1u << 24);
  for (const std::uint32_t id_limit : {3000u, (16u << 20) + 1}) {
    SearchHandle search;
    const auto search_for = [&](std::uint32_t ef) {
      EXPECT_EQ(phnsw_search_begin(search, ef, id_limit, true, nullptr), PHNSW_OK);
      offer(search, graph, {17});
      run(search, graph);
      std::vector<std::uint32_t> ids;
      for (const phnsw_candidate &found : window_of(search)) ids.push_back(found.id);
      return ids;
    };
    const std::vector<std::uint32_t> before = search_for(20);
    const std::size_t small = phnsw_search_memory(search);
    search_for(3000);
    const std::size_t large = phnsw_search_memory(search);
    EXPECT_GT(large, small + 50000);
    phnsw_search_trim(search, large);
    EXPECT_EQ(phnsw_search_memory(search), large);
    phnsw_search_trim(search, large / 4);
    EXPECT_LT(phnsw_search_memory(search), small);
    EXPECT_EQ(search_for(20), before);
    EXPECT_LE(phnsw_search_memory(search), small);
    phnsw_search_trim(search, 0);
    phnsw_search_trim(search, 0);
    EXPECT_EQ(search_for(20), before);
  }
}

}  // namespace
