// What the search machine itself costs per query: no pages, no codes, no scoring.
//
// Searches of a nearest-neighbour graph over random points are recorded once (links of every hop, scores of every fresh
// id) and played back through the C interface.  Ids are spread over `ids` numbers, every search by another offset, so
// that the visited set misses the caches as it would in an index of that size.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "base/rng.hpp"
#include "capi/phnsw_core.h"
#include "graph/candidates.hpp"
#include "graph/select.hpp"
#include "graph/visited.hpp"

namespace {

using phnsw::Rng;

constexpr std::uint32_t kNodes = 8000;
constexpr std::uint32_t kDims = 12;
constexpr std::uint32_t kLinks = 32;
constexpr std::uint32_t kQueries = 1024;

struct Hop {
  std::uint32_t links[kLinks];
  float scores[kLinks];  // of the fresh ones
};

struct Trace {
  std::uint32_t entry;
  float entry_score;
  std::vector<Hop> hops;
};

struct Points {
  std::vector<float> x;
  std::vector<std::uint32_t> links;

  Points() : x(kNodes * kDims), links(kNodes * kLinks) {
    Rng rng(1);
    for (float &value : x) value = static_cast<float>(rng.unit());
    std::vector<std::pair<float, std::uint32_t>> near(kNodes);
    for (std::uint32_t i = 0; i < kNodes; i++) {
      for (std::uint32_t j = 0; j < kNodes; j++) near[j] = {distance(&x[i * kDims], j), j};
      std::partial_sort(near.begin(), near.begin() + kLinks - 4, near.end());
      for (std::uint32_t k = 0; k < kLinks; k++)
        links[i * kLinks + k] = k < kLinks - 5 ? near[k + 1].second : rng.below(kNodes);
    }
  }
  float distance(const float *query, std::uint32_t j) const {
    float sum = 0;
    for (std::uint32_t d = 0; d < kDims; d++) sum += (query[d] - x[j * kDims + d]) * (query[d] - x[j * kDims + d]);
    return sum;
  }
};

// Searches at `ef`, recorded with ids that fill [0, ids).
std::vector<Trace> record(std::uint32_t ef, std::uint32_t ids) {
  static const Points points;
  const std::uint32_t spread = ids / kNodes;
  std::vector<Trace> traces(kQueries);
  phnsw_search *search = nullptr;
  if (phnsw_search_create(&search, nullptr) != PHNSW_OK) return {};
  Rng rng(2);
  for (Trace &trace : traces) {
    float query[kDims];
    for (float &value : query) value = static_cast<float>(rng.unit());
    if (phnsw_search_begin(search, ef, ids, true, nullptr) != PHNSW_OK) return {};
    const std::uint32_t offset = rng.below(spread);
    trace.entry = rng.below(kNodes) * spread + offset;
    trace.entry_score = points.distance(query, trace.entry / spread);
    phnsw_search_offer(search, &trace.entry, &trace.entry_score, &trace.entry, 1, nullptr);
    for (std::uint32_t node = 0; phnsw_search_pop(search, &node);) {
      Hop hop{};
      for (std::uint32_t k = 0; k < kLinks; k++)
        hop.links[k] = points.links[node / spread * kLinks + k] * spread + offset;
      std::uint32_t fresh[kLinks];
      std::uint32_t n = 0;
      phnsw_search_fresh(search, hop.links, kLinks, fresh, &n, nullptr);
      for (std::uint32_t k = 0; k < n; k++) hop.scores[k] = points.distance(query, fresh[k] / spread);
      phnsw_search_offer(search, fresh, hop.scores, fresh, n, nullptr);
      trace.hops.push_back(hop);
    }
  }
  phnsw_search_destroy(search);
  return traces;
}

// Arguments: ef, ids, rows taken one by one behind the first window.
void BM_search(benchmark::State &state) {
  const auto ef = static_cast<std::uint32_t>(state.range(0));
  const auto ids = static_cast<std::uint32_t>(state.range(1));
  const auto rows = static_cast<std::uint32_t>(state.range(2));
  const std::vector<Trace> traces = record(ef, ids);
  phnsw_search *search = nullptr;
  if (phnsw_search_create(&search, nullptr) != PHNSW_OK) return;
  std::uint64_t hops = 0;
  std::uint64_t touches = 0;
  std::size_t next = 0;
  for (auto _ : state) {
    const Trace &trace = traces[next++ % kQueries];
    phnsw_search_begin(search, ef, ids, true, nullptr);
    phnsw_search_offer(search, &trace.entry, &trace.entry_score, &trace.entry, 1, nullptr);
    std::size_t hop = 0;
    for (std::uint32_t node = 0; phnsw_search_pop(search, &node); hop++) {
      std::uint32_t fresh[kLinks];
      std::uint32_t n = 0;
      phnsw_search_fresh(search, trace.hops[hop].links, kLinks, fresh, &n, nullptr);
      phnsw_search_offer(search, fresh, trace.hops[hop].scores, fresh, n, nullptr);
      touches += n;
    }
    hops += hop;
    for (std::uint32_t row = 0; row < rows; row++) phnsw_search_take(search, 1, nullptr);
    std::uint32_t n = 0;
    benchmark::DoNotOptimize(phnsw_search_window(search, &n));
  }
  state.counters["hops"] = benchmark::Counter(static_cast<double>(hops), benchmark::Counter::kAvgIterations);
  state.counters["touches"] = benchmark::Counter(static_cast<double>(touches), benchmark::Counter::kAvgIterations);
  state.counters["bytes"] = static_cast<double>(phnsw_search_memory(search));
  phnsw_search_destroy(search);
}
BENCHMARK(BM_search)
    ->Unit(benchmark::kMicrosecond)
    ->ArgNames({"ef", "ids", "take"})
    ->Args({40, 100000, 0})
    ->Args({40, 100000, 10})
    ->Args({40, 1000000, 0})
    ->Args({40, 10000000, 0})
    ->Args({40, 1000000000, 0})
    ->Args({160, 1000000, 0})
    ->Args({1000, 1000000, 0});

// The visited set alone, in either form: where to change from one to the other.
void BM_visited(benchmark::State &state) {
  const auto ids = static_cast<std::uint32_t>(state.range(0));
  const bool hashed = state.range(1) != 0;
  const std::vector<Trace> traces = record(40, ids);
  phnsw::Visited visited;
  std::size_t next = 0;
  for (auto _ : state) {
    visited.begin(ids, hashed);
    for (const Hop &hop : traces[next++ % kQueries].hops) {
      std::uint32_t fresh[kLinks];
      benchmark::DoNotOptimize(visited.insert_fresh(hop.links, kLinks, fresh));
    }
  }
}
BENCHMARK(BM_visited)
    ->Unit(benchmark::kMicrosecond)
    ->ArgNames({"ids", "hashed"})
    ->ArgsProduct({{100000, 1000000, 4000000, 16000000, 64000000}, {0, 1}});

// What arrives at the window in one search, sorted, hop by hop.
std::vector<std::vector<phnsw::Entry>> arrivals(const Trace &trace, std::uint32_t ids) {
  phnsw::Visited visited;
  visited.begin(ids, true);
  std::vector<std::vector<phnsw::Entry>> hops{{{phnsw::order_key(trace.entry, trace.entry_score), 0, 0}}};
  std::uint32_t fresh[kLinks];
  visited.insert_fresh(&trace.entry, 1, fresh);
  for (const Hop &hop : trace.hops) {
    const std::uint32_t n = visited.insert_fresh(hop.links, kLinks, fresh);
    std::vector<phnsw::Entry> batch;
    for (std::uint32_t i = 0; i < n; i++) batch.push_back({phnsw::order_key(fresh[i], hop.scores[i]), 0, 0});
    std::sort(batch.begin(), batch.end(), phnsw::precedes);
    hops.push_back(std::move(batch));
  }
  return hops;
}

// The candidate array alone: pops and merges of recorded searches.  GB: bytes of the window behind the first place of
// each merge, which have to move, to be held against peak_load.  Argument: ef.
void BM_candidates(benchmark::State &state) {
  const auto ef = static_cast<std::uint32_t>(state.range(0));
  constexpr std::uint32_t kIds = 1000000;
  constexpr std::size_t kPlayed = 64;
  const std::vector<Trace> traces = record(ef, kIds);
  std::vector<std::vector<std::vector<phnsw::Entry>>> played;
  for (std::size_t i = 0; i < kPlayed; i++) played.push_back(arrivals(traces[i], kIds));
  phnsw::Candidates window;
  std::size_t next = 0;
  std::uint64_t merged = 0;
  std::uint64_t moved = 0;
  for (auto _ : state) {
    window.begin(ef);
    for (const std::vector<phnsw::Entry> &hop : played[next++ % kPlayed]) {
      auto n = static_cast<std::uint32_t>(hop.size());
      const phnsw::Entry *end = window.data() + window.size();
      if (window.full()) {
        const auto is_near = [&](const phnsw::Entry &entry) { return phnsw::precedes(entry, end[-1]); };
        n = static_cast<std::uint32_t>(std::partition_point(hop.begin(), hop.end(), is_near) - hop.begin());
      }
      if (n > 0) {
        moved += static_cast<std::uint64_t>(end - std::lower_bound(window.data(), end, hop[0], phnsw::precedes));
        window.merge(hop.data(), n);
        window.cut();
      }
      merged += n;
      std::uint32_t node = 0;
      benchmark::DoNotOptimize(window.pop(&node));
    }
  }
  state.counters["merged"] = benchmark::Counter(static_cast<double>(merged), benchmark::Counter::kAvgIterations);
  state.counters["GB"] =
      benchmark::Counter(static_cast<double>(moved) * sizeof(phnsw::Entry) * 1e-9, benchmark::Counter::kIsRate);
}
BENCHMARK(BM_candidates)->Unit(benchmark::kMicrosecond)->ArgName("ef")->Arg(40)->Arg(160)->Arg(1000);

// The heuristic over a matrix: all but the distances.  Arguments: candidates, m.
void BM_select(benchmark::State &state) {
  const auto n = static_cast<std::uint32_t>(state.range(0));
  const auto m = static_cast<std::uint32_t>(state.range(1));
  Rng rng(3);
  std::vector<float> x(n * kDims);
  std::vector<float> distances(n);
  std::vector<float> matrix(n * n);
  std::vector<std::uint32_t> ids(n);
  for (float &value : x) value = static_cast<float>(rng.unit()) - 0.5f;
  for (std::uint32_t i = 0; i < n; i++) {
    ids[i] = i;
    for (std::uint32_t d = 0; d < kDims; d++) distances[i] += x[i * kDims + d] * x[i * kDims + d];
    for (std::uint32_t j = 0; j < n; j++) {
      for (std::uint32_t d = 0; d < kDims; d++) {
        matrix[i * n + j] += (x[i * kDims + d] - x[j * kDims + d]) * (x[i * kDims + d] - x[j * kDims + d]);
      }
    }
  }
  std::vector<std::uint16_t> chosen(m);
  std::uint64_t pairs = 0;
  const auto covered = [&](std::uint32_t i, const std::uint16_t *kept, std::uint32_t count, float than) {
    for (std::uint32_t k = 0; k < count; k++) {
      pairs++;
      if (matrix[i * n + kept[k]] < than) return true;
    }
    return false;
  };
  for (auto _ : state) {
    benchmark::DoNotOptimize(phnsw::select_neighbours(distances.data(), ids.data(), n, m, covered, chosen.data()));
  }
  state.counters["pairs"] = benchmark::Counter(static_cast<double>(pairs), benchmark::Counter::kAvgIterations);
}
BENCHMARK(BM_select)
    ->Unit(benchmark::kMicrosecond)
    ->ArgNames({"n", "m"})
    ->Args({64, 16})
    ->Args({64, 32})
    ->Args({200, 32});

}  // namespace
