// For tests of the search machine: a handle, random graphs with a fake scorer, the loop of hops.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "base/rng.hpp"
#include "capi/phnsw_core.h"

namespace phnsw::search_test {

class SearchHandle {
 public:
  SearchHandle() { EXPECT_EQ(phnsw_search_create(&search_, nullptr), PHNSW_OK); }
  ~SearchHandle() { phnsw_search_destroy(search_); }
  SearchHandle(const SearchHandle &) = delete;
  SearchHandle &operator=(const SearchHandle &) = delete;
  operator phnsw_search *() const { return search_; }

 private:
  phnsw_search *search_ = nullptr;
};

struct Graph {
  std::vector<std::vector<std::uint32_t>> links;
  std::vector<float> score;

  // distinct_scores: how many different ones; few make many ties.
  Graph(Rng &rng, std::uint32_t n, std::uint32_t degree, std::uint32_t distinct_scores) : links(n), score(n) {
    for (std::uint32_t i = 0; i < n; i++) {
      score[i] = static_cast<float>(rng.below(distinct_scores));
      for (std::uint32_t k = rng.below(degree + 1); k > 0; k--) links[i].push_back(rng.below(n));
    }
  }
  static std::uint32_t version(std::uint32_t id) { return id * 3 + 1; }
};

inline void offer(phnsw_search *search, const Graph &graph, const std::vector<std::uint32_t> &ids) {
  std::vector<float> scores;
  std::vector<std::uint32_t> versions;
  for (const std::uint32_t id : ids) {
    scores.push_back(graph.score[id]);
    versions.push_back(Graph::version(id));
  }
  ASSERT_EQ(phnsw_search_offer(search, ids.data(), scores.data(), versions.data(),
                               static_cast<std::uint32_t>(ids.size()), nullptr),
            PHNSW_OK);
}

// Runs until the window is expanded; returns the nodes in the order of their expansion.
inline std::vector<std::uint32_t> run(phnsw_search *search, const Graph &graph) {
  std::vector<std::uint32_t> expanded;
  std::uint32_t node = 0;
  while (phnsw_search_pop(search, &node)) {
    expanded.push_back(node);
    const std::vector<std::uint32_t> &links = graph.links[node];
    std::vector<std::uint32_t> fresh(links.size());
    std::uint32_t n = 0;
    EXPECT_EQ(
        phnsw_search_fresh(search, links.data(), static_cast<std::uint32_t>(links.size()), fresh.data(), &n, nullptr),
        PHNSW_OK);
    fresh.resize(n);
    offer(search, graph, fresh);
  }
  return expanded;
}

inline std::vector<phnsw_candidate> window_of(const phnsw_search *search) {
  std::uint32_t n = 0;
  const phnsw_candidate *window = phnsw_search_window(search, &n);
  return std::vector<phnsw_candidate>(window, window + n);
}

}  // namespace phnsw::search_test
