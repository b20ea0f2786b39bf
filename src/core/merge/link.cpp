#include "merge/link.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

#include "build/level.hpp"
#include "build/prune.hpp"
#include "merge/fellows.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kChooseBlock = 12;
constexpr std::uint32_t kOwnerBlock = 32;
// Fewer offers than one for so many points are sorted, more are counted.
constexpr std::uint32_t kPointsPerSortedEdge = 8;
// So many new points at most meet all others, if a cache holds their codes; of more, build_level() finds who is near.
constexpr std::uint32_t kAllPairsMax = 1024, kAllPairsBytes = 512u << 10;
constexpr std::uint32_t kCoveredBlock = 8;
// A list is asked for so many lists before it is looked at; what it names, one before.
constexpr std::uint32_t kListsAhead = 3;
// Of a code, what is asked for ahead; the rest comes with it.
constexpr std::uint32_t kPrefetchBytes = 4 * kCacheLine;

bool contains(const std::uint32_t *list, std::uint32_t n, std::uint32_t id) noexcept {
  return std::find(list, list + n, id) != list + n;
}

class Linker {
 public:
  Linker(BuildContext &context, MergeGraph &graph)
      : context_(context),
        graph_(graph),
        points_(graph.points()),
        gemm_(gemm_kernels()),
        orders_(context.team.threads()) {}

  // The M links that every new point chooses among the nodes and the other new points: those in its list of `fresh`.
  Status choose(const LevelLinks &fresh) {
    return each_block(graph_.places(), kChooseBlock, [&](std::uint32_t place, unsigned) {
      std::uint32_t ids[MergeGraph::kFreshMax];
      const std::uint32_t n = std::min<std::uint32_t>(fresh.counts[place], MergeGraph::kFreshMax);
      for (std::uint32_t i = 0; i < n; i++) ids[i] = graph_.limit() + fresh.list(place)[i];
      choose_links(place, ids, n);
    });
  }

  // The same among the nodes and the nearest of all other new points.
  Status choose_among_all() {
    Fellows fellows(graph_.new_points(), context_.team.threads());
    return context_.team.for_each(
        (graph_.places() + kChooseBlock - 1) / kChooseBlock, [&](std::size_t block, unsigned worker) {
          const std::uint32_t begin = static_cast<std::uint32_t>(block) * kChooseBlock;
          const std::uint32_t end = std::min(graph_.places(), begin + kChooseBlock);
          fellows.find(begin, end, worker);
          for (std::uint32_t place = begin; place < end && !context_.team.stopped(); place++) {
            std::uint32_t ids[Fellows::kMost];
            const std::uint32_t n = fellows.take(place, worker, ids);
            for (std::uint32_t i = 0; i < n; i++) ids[i] += graph_.limit();
            choose_links(place, ids, n);
          }
        });
  }

  // Offers of links, by the point they are for: edge = place * M + position in the list of that place.
  Status gather_offers() {
    const std::uint32_t places = graph_.places(), m = graph_.m();
    std::uint32_t edges = 0;
    each_edge([&](std::uint32_t, std::uint32_t) { edges++; });
    edges_.reset(edges);
    if (edges < points_.n / kPointsPerSortedEdge) {
      sort_edges();
    } else {
      count_edges();
    }
    // Edges that a stopped pass has not come to are no numbers.
    if (context_.team.stopped()) return kStopped;
    for (std::uint32_t i = 0; i < edges; i++) {
      if (i == 0 || target(edges_[i]) != target(edges_[i - 1])) offers_.push_back({target(edges_[i]), i});
    }
    offers_of_nodes_ = 0;
    while (offers_of_nodes_ < offers_.size() && offers_[offers_of_nodes_].to < graph_.limit()) offers_of_nodes_++;
    own_offers_.reset(places);
    std::fill(own_offers_.begin(), own_offers_.end(), PHNSW_NONE);
    for (std::uint32_t i = offers_of_nodes_; i < offers_.size(); i++) own_offers_[offers_[i].to - graph_.limit()] = i;
    victims_.reset(std::size_t{places} * m);
    std::fill(victims_.begin(), victims_.end(), PHNSW_NONE);
    changes_.reset(offers_of_nodes_ < offers_.size() ? offers_[offers_of_nodes_].begin : edges);
    for (ListChange &change : changes_) change.owner = PHNSW_NONE;
    return context_.team.stopped() ? kStopped : Status();
  }

  Status enter_in_nodes() {
    return each_block(offers_of_nodes_, kOwnerBlock, [&](std::uint32_t i, unsigned worker) {
      const std::uint32_t owner = offers_[i].to, begin = offers_[i].begin;
      // The next block's lists may be another worker's, who writes to them.
      if (i + 1 < offers_of_nodes_ && (i + 1) % kOwnerBlock != 0) prefetch_list(offers_[i + 1].to);
      if (i + kListsAhead < offers_of_nodes_) graph_.lists.prefetch(offers_[i + kListsAhead].to);
      std::uint32_t before[PHNSW_LINKS_MAX];
      const std::uint32_t count = graph_.lists.counts[owner];
      const std::uint32_t *list = graph_.lists.list(owner);
      std::copy(list, list + count, before);
      enter(owner, offers(i), orders_[worker]);
      std::uint32_t written = begin;
      for (std::uint32_t k = 0; k < graph_.lists.counts[owner]; k++) {
        if (k >= count) {
          changes_[written++] = {owner, PHNSW_NONE, list[k]};
        } else if (list[k] != before[k]) {
          changes_[written++] = {owner, before[k], list[k]};
        }
      }
    });
  }

  // A new point first takes over the links that it displaced, M at most, for which there is room beside the M that it
  // chose: so whatever others do to lists meanwhile, who was reached by a displaced link is reached by two.
  Status enter_in_points() {
    return each_block(graph_.places(), kOwnerBlock, [&](std::uint32_t place, unsigned worker) {
      const std::uint32_t point = graph_.limit() + place, m = graph_.m();
      std::uint32_t *list = graph_.lists.list(point);
      std::uint8_t &count = graph_.lists.counts[point];
      const std::uint32_t *victims = victims_.data() + std::size_t{place} * m;
      for (std::uint32_t i = 0; i < m && count < graph_.lists.capacity; i++) {
        if (victims[i] == PHNSW_NONE || victims[i] == point || contains(list, count, victims[i])) continue;
        list[count++] = victims[i];
      }
      if (own_offers_[place] != PHNSW_NONE) fill_up(point, offers(own_offers_[place]), orders_[worker]);
    });
  }

  void take_changes(std::vector<ListChange> *changes) const {
    for (const ListChange &change : changes_) {
      if (change.owner != PHNSW_NONE) changes->push_back(change);
    }
  }

 private:
  template <class Body>
  Status each_block(std::uint32_t n, std::uint32_t block_size, Body &&body) {
    return context_.team.for_each((n + block_size - 1) / block_size, [&](std::size_t block, unsigned worker) {
      const std::uint32_t begin = static_cast<std::uint32_t>(block) * block_size;
      for (std::uint32_t i = begin; i < std::min(n, begin + block_size) && !context_.team.stopped(); i++)
        body(i, worker);
    });
  }

  // Among the row's window and n new points, kFreshMax at most.
  void choose_links(std::uint32_t place, const std::uint32_t *fellows, std::uint32_t n) noexcept {
    std::uint64_t keys[MergeGraph::kWindowMax + MergeGraph::kFreshMax];
    const std::uint32_t point = graph_.limit() + place, row = graph_.row_of(place), known = graph_.window_size(row);
    // The nodes among its candidates come while this one's are looked at.
    if (place + 1 < graph_.places()) {
      const std::uint32_t next = graph_.row_of(place + 1);
      prefetch_candidates(points_, graph_.window(next), graph_.window_size(next));
    }
    std::copy(graph_.window(row), graph_.window(row) + known, keys);
    n = known + measure_keys(point, fellows, n, keys + known);
    graph_.lists.counts[point] =
        static_cast<std::uint8_t>(prune(points_, keys, n, graph_.m(), nullptr, graph_.lists.list(point)));
  }

  template <class Body>
  void each_edge(Body &&body) const {
    for (std::uint32_t place = 0; place < graph_.places(); place++) {
      if ((place & kPollMask) == 0 && context_.team.stopped()) return;
      const std::uint32_t *list = graph_.lists.list(graph_.limit() + place);
      for (std::uint32_t i = 0; i < graph_.lists.counts[graph_.limit() + place]; i++)
        body(place * graph_.m() + i, list[i]);
    }
  }

  [[nodiscard]] std::uint32_t target(std::uint32_t edge) const noexcept {
    return graph_.lists.list(source(edge))[edge % graph_.m()];
  }

  // edges_ by target, each one's ascending: few of them ...
  void sort_edges() {
    std::vector<std::uint64_t> keys;
    keys.reserve(edges_.size());
    each_edge([&](std::uint32_t edge, std::uint32_t to) { keys.push_back(std::uint64_t{to} << 32 | edge); });
    keys.resize(edges_.size());
    std::sort(keys.begin(), keys.end());
    for (std::size_t i = 0; i < keys.size(); i++) edges_[i] = static_cast<std::uint32_t>(keys[i]);
  }

  // ... or many.
  void count_edges() {
    Array<std::uint32_t> next;
    next.reset_zero(std::size_t{points_.n} + 1);
    each_edge([&](std::uint32_t, std::uint32_t to) { next[to + 1]++; });
    for (std::uint32_t i = 0; i < points_.n; i++) next[i + 1] += next[i];
    each_edge([&](std::uint32_t edge, std::uint32_t to) { edges_[next[to]++] = edge; });
  }

  struct Edges {
    const std::uint32_t *edges;
    std::uint32_t n;
  };
  [[nodiscard]] Edges offers(std::size_t i) const noexcept {
    const std::size_t end = i + 1 < offers_.size() ? offers_[i + 1].begin : edges_.size();
    return {edges_.data() + offers_[i].begin, static_cast<std::uint32_t>(end - offers_[i].begin)};
  }

  void measure(std::uint32_t from, const std::uint32_t *ids, std::uint32_t n, float *distances) const noexcept {
    constexpr std::uint32_t kBatch = 64;
    std::int32_t dots[kBatch];
    for (std::uint32_t at = 0; at < n; at += kBatch) {
      const std::uint32_t batch = std::min(kBatch, n - at);
      gemm_.dots(points_.rows.row(from), points_.rows, ids + at, batch, points_.row_bytes(), dots);
      for (std::uint32_t i = 0; i < batch; i++) distances[at + i] = coded_distance(points_, from, ids[at + i], dots[i]);
    }
  }

  std::uint32_t measure_keys(std::uint32_t from, const std::uint32_t *ids, std::uint32_t n,
                             std::uint64_t *keys) const noexcept {
    constexpr std::uint32_t kBatch = 64;
    float distances[kBatch];
    for (std::uint32_t at = 0; at < n; at += kBatch) {
      const std::uint32_t batch = std::min(kBatch, n - at);
      measure(from, ids + at, batch, distances);
      for (std::uint32_t i = 0; i < batch; i++) keys[at + i] = neighbour_key(distances[i], ids[at + i]);
    }
    return n;
  }

  // Distances to the entries of a list; a link beyond the limit has none, and so never gives way.
  void measure_list(std::uint32_t from, const std::uint32_t *list, std::uint32_t n, float *distances) const noexcept {
    std::uint32_t known[PHNSW_LINKS_MAX];
    for (std::uint32_t i = 0; i < n; i++) known[i] = list[i] == PHNSW_NONE ? from : list[i];
    measure(from, known, n, distances);
    for (std::uint32_t i = 0; i < n; i++) {
      if (list[i] == PHNSW_NONE) distances[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }

  // What enter() will read.
  void prefetch_list(std::uint32_t owner) const noexcept {
    const std::uint32_t *list = graph_.lists.list(owner);
    for (std::uint32_t i = 0; i < graph_.lists.counts[owner]; i++) {
      if (list[i] == PHNSW_NONE) continue;
      __builtin_prefetch(&points_.rows.heads[list[i]]);
      for (std::uint32_t at = 0; at < points_.row_bytes() && at < kPrefetchBytes; at += kCacheLine) {
        __builtin_prefetch(points_.rows.row(list[i]) + at);
        std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
      }
    }
  }

  // The offers to a point, (distance, edge), nearest first.
  void sort_offers(std::uint32_t owner, Edges offered, std::vector<std::uint64_t> &order) const {
    order.clear();
    for (std::uint32_t i = 0; i < offered.n; i++) {
      const std::uint32_t point = source(offered.edges[i]);
      float distance;
      measure(owner, &point, 1, &distance);
      order.push_back(neighbour_key(distance, offered.edges[i]));
    }
    std::sort(order.begin(), order.end());
  }

  // Offers to a new point take the places that are left: what it displaced must stay in its list, and what
  // others would displace here would have nobody to take it over.
  void fill_up(std::uint32_t owner, Edges offered, std::vector<std::uint64_t> &order) {
    std::uint32_t *list = graph_.lists.list(owner);
    std::uint8_t &count = graph_.lists.counts[owner];
    if (count == graph_.lists.capacity) return;
    sort_offers(owner, offered, order);
    for (std::size_t i = 0; i < order.size() && count < graph_.lists.capacity; i++) {
      const std::uint32_t point = source(neighbour_index(order[i]));
      if (!contains(list, count, point)) list[count++] = point;
    }
  }

  // Offers to a node, nearest first: while there is room, then in the place of what is gone or gives way.
  void enter(std::uint32_t owner, Edges offered, std::vector<std::uint64_t> &order) {
    const std::uint32_t capacity = graph_.lists.capacity;
    std::uint32_t *list = graph_.lists.list(owner);
    std::uint8_t &count = graph_.lists.counts[owner];
    if (count + offered.n <= capacity) {
      for (std::uint32_t i = 0; i < offered.n; i++) list[count++] = source(offered.edges[i]);
      return;
    }
    sort_offers(owner, offered, order);
    float owner_distances[PHNSW_LINKS_MAX];
    measure_list(owner, list, count, owner_distances);
    for (const std::uint64_t key : order) {
      const std::uint32_t edge = neighbour_index(key), point = source(edge);
      std::uint32_t at = count;
      if (count < capacity) {
        count++;
      } else {
        for (at = 0; at < capacity && (list[at] == PHNSW_NONE || !graph_.is_free(list[at])); at++) {
        }
        if (at == capacity) {
          at = victim(list, owner_distances, count, point, neighbour_distance(key));
          if (at == count) continue;
          victims_[edge] = list[at];
        }
      }
      list[at] = point;
      owner_distances[at] = neighbour_distance(key);
    }
  }

  // Who gives way in a full list to a newcomer, as in an insert (pg/insert/choose.c): the
  // farthest of all, the newcomer included, that one nearer to the owner is nearer to; n: the
  // newcomer.  An unknown one, whose distance is NaN, stays.
  std::uint32_t victim(const std::uint32_t *list, const float *distances, std::uint32_t n, std::uint32_t newcomer,
                       float distance) const noexcept {
    std::uint32_t ids[PHNSW_LINKS_MAX + 1], places[PHNSW_LINKS_MAX + 1], known = 0;
    float near[PHNSW_LINKS_MAX + 1], apart[kCoveredBlock];
    for (std::uint32_t i = 0; i <= n; i++) {
      near[known] = i == n ? distance : distances[i];
      ids[known] = i == n ? newcomer : list[i];
      places[known] = i;
      known += near[known] == near[known];
    }
    // The farthest of those not looked at, of two at one distance the one behind: mostly
    // the first or the second is it, so nothing is sorted.
    std::uint32_t farthest = places[0];
    for (std::uint32_t left = known; left-- > 1;) {
      std::uint32_t at = 0;
      for (std::uint32_t i = 1; i <= left; i++) at = near[i] >= near[at] ? i : at;
      const std::uint32_t id = ids[at], place = places[at];
      const float its = near[at];
      if (left + 1 == known) farthest = place;
      std::copy(near + at + 1, near + left + 1, near + at);
      std::copy(ids + at + 1, ids + left + 1, ids + at);
      std::copy(places + at + 1, places + left + 1, places + at);
      // A few at a time: mostly one of the first is near to it.
      for (std::uint32_t begin = 0; begin < left; begin += kCoveredBlock) {
        const std::uint32_t end = std::min(left, begin + kCoveredBlock);
        measure(id, ids + begin, end - begin, apart);
        for (std::uint32_t i = begin; i < end; i++) {
          if (near[i] < its && apart[i - begin] < its) return place;
        }
      }
    }
    return farthest;
  }

  [[nodiscard]] std::uint32_t source(std::uint32_t edge) const noexcept { return graph_.limit() + edge / graph_.m(); }

  BuildContext &context_;
  MergeGraph &graph_;
  const Points points_;
  const GemmKernels &gemm_;
  struct Offers {
    std::uint32_t to;     // point
    std::uint32_t begin;  // in edges_
  };
  Array<std::uint32_t> edges_;  // the offers, by the point they are for
  std::vector<Offers> offers_;  // whose they are, ascending
  std::uint32_t offers_of_nodes_ = 0;
  Array<std::uint32_t> own_offers_;                 // of a place: where its offers are in offers_; PHNSW_NONE: none
  Array<std::uint32_t> victims_;                    // of an edge: what it displaced
  Array<ListChange> changes_;                       // of nodes; those of one begin where its offers do
  std::vector<std::vector<std::uint64_t>> orders_;  // a worker's scratch
};

}  // namespace

bool all_linked(const MergeGraph &graph, const std::vector<ListChange> &changes) {
  std::vector<std::uint8_t> reached(graph.places());
  std::vector<std::uint32_t> queue;
  const auto reach = [&](std::uint32_t point) {
    if (point < graph.limit() || point == PHNSW_NONE || reached[point - graph.limit()] != 0) return;
    reached[point - graph.limit()] = 1;
    queue.push_back(point);
  };
  for (const ListChange &change : changes) reach(change.added);
  for (std::size_t i = 0; i < queue.size(); i++) {
    const std::uint32_t *list = graph.lists.list(queue[i]);
    for (std::uint32_t k = 0; k < graph.lists.counts[queue[i]]; k++) reach(list[k]);
  }
  return queue.size() == graph.places();
}

Status link_points(BuildContext &context, MergeGraph &graph, std::uint64_t seed, std::vector<ListChange> *changes) {
  const Points fresh = graph.new_points();
  if (fresh.n == 0) return {};
  Linker linker(context, graph);
  Status status;
  if (fresh.n <= std::min(kAllPairsMax, kAllPairsBytes / fresh.row_bytes())) {
    status = linker.choose_among_all();
  } else {
    LevelLinks among;
    status = build_level(context, fresh, graph_params(fresh.dims, graph.ef(), seed), 2 * graph.m(), &among, nullptr);
    if (status.ok()) status = linker.choose(among);
  }
  if (status.ok()) status = linker.gather_offers();
  if (status.ok()) status = linker.enter_in_nodes();
  if (status.ok()) status = linker.enter_in_points();
  if (status.ok()) linker.take_changes(changes);
  return status;
}

}  // namespace phnsw
