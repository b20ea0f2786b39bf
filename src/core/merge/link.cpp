#include "merge/link.hpp"

#include <algorithm>
#include <limits>

#include "build/level.hpp"
#include "build/prune.hpp"
#include "graph/select.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kChooseBlock = 32;
constexpr std::uint32_t kOwnerBlock = 256;

bool contains(const std::uint32_t *list, std::uint32_t n, std::uint32_t id) noexcept {
  return std::find(list, list + n, id) != list + n;
}

class Linker {
 public:
  Linker(BuildContext &context, MergeGraph &graph)
      : context_(context), graph_(graph), points_(graph.points()), gemm_(gemm_kernels()), orders_(context.team.threads()) {}

  // The M links that every new point chooses among the nodes and the other new points.
  Status choose(const LevelLinks &fresh) {
    return each_block(graph_.places(), kChooseBlock, [&](std::uint32_t place, unsigned) {
      constexpr std::uint32_t kMax = MergeGraph::kWindowMax + MergeGraph::kFreshMax;
      const std::uint32_t point = graph_.limit() + place, row = graph_.row_of(place);
      std::uint64_t keys[kMax];
      std::uint32_t ids[MergeGraph::kFreshMax];
      float distances[MergeGraph::kFreshMax];
      std::uint32_t n = graph_.window_size(row);
      std::copy(graph_.window(row), graph_.window(row) + n, keys);
      const std::uint32_t others = std::min<std::uint32_t>(fresh.counts[place], MergeGraph::kFreshMax);
      for (std::uint32_t i = 0; i < others; i++) ids[i] = graph_.limit() + fresh.list(place)[i];
      measure(point, ids, others, distances);
      for (std::uint32_t i = 0; i < others; i++) keys[n++] = neighbour_key(distances[i], ids[i]);
      graph_.lists.counts[point] = static_cast<std::uint8_t>(prune(points_, keys, n, graph_.m(), graph_.lists.list(point)));
    });
  }

  // Offers of links, by the point they are for: edge = place * M + position in the list of that place.
  Status gather_offers() {
    const std::uint32_t n = points_.n, m = graph_.m();
    begin_.reset_zero(std::size_t{n} + 1);
    each_edge([&](std::uint32_t, std::uint32_t target) { begin_[target + 1]++; });
    for (std::uint32_t i = 0; i < n; i++) begin_[i + 1] += begin_[i];
    edges_.reset(begin_[n]);
    victims_.reset(std::size_t{graph_.places()} * m);
    std::fill(victims_.begin(), victims_.end(), PHNSW_NONE);
    changes_.reset(begin_[graph_.limit()]);
    for (ListChange &change : changes_) change.owner = PHNSW_NONE;
    Array<std::uint32_t> next(n);
    std::copy(begin_.begin(), begin_.begin() + n, next.begin());
    each_edge([&](std::uint32_t edge, std::uint32_t target) { edges_[next[target]++] = edge; });
    return context_.team.stopped() ? kStopped : Status();
  }

  Status enter_in_nodes() {
    return each_block(graph_.limit(), kOwnerBlock, [&](std::uint32_t owner, unsigned worker) {
      const std::uint32_t begin = begin_[owner], n = begin_[owner + 1] - begin;
      if (n == 0) return;
      std::uint32_t before[PHNSW_LINKS_MAX];
      const std::uint32_t count = graph_.lists.counts[owner];
      const std::uint32_t *list = graph_.lists.list(owner);
      std::copy(list, list + count, before);
      enter(owner, n, orders_[worker]);
      std::uint32_t written = begin;
      for (std::uint32_t i = 0; i < graph_.lists.counts[owner]; i++) {
        if (i >= count) {
          changes_[written++] = {owner, PHNSW_NONE, list[i]};
        } else if (list[i] != before[i]) {
          changes_[written++] = {owner, before[i], list[i]};
        }
      }
    });
  }

  // A new point first takes over the links that it displaced, M at most, for which there is room beside the M that it chose: so
  // whatever others do to lists meanwhile, who was reached by a displaced link is reached by two.
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
      fill_up(point, begin_[point + 1] - begin_[point], orders_[worker]);
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
      for (std::uint32_t i = begin; i < std::min(n, begin + block_size) && !context_.team.stopped(); i++) body(i, worker);
    });
  }

  template <class Body>
  void each_edge(Body &&body) const {
    for (std::uint32_t place = 0; place < graph_.places(); place++) {
      if ((place & kPollMask) == 0 && context_.team.stopped()) return;
      const std::uint32_t *list = graph_.lists.list(graph_.limit() + place);
      for (std::uint32_t i = 0; i < graph_.lists.counts[graph_.limit() + place]; i++) body(place * graph_.m() + i, list[i]);
    }
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

  // Distances to the entries of a list; a link beyond the limit has none, and so never gives way.
  void measure_list(std::uint32_t from, const std::uint32_t *list, std::uint32_t n, float *distances) const noexcept {
    std::uint32_t known[PHNSW_LINKS_MAX];
    for (std::uint32_t i = 0; i < n; i++) known[i] = list[i] == PHNSW_NONE ? from : list[i];
    measure(from, known, n, distances);
    for (std::uint32_t i = 0; i < n; i++) {
      if (list[i] == PHNSW_NONE) distances[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }

  // The offers to a point, (distance, edge), nearest first.
  void sort_offers(std::uint32_t owner, std::uint32_t n, std::vector<std::uint64_t> &order) const {
    const std::uint32_t *edges = edges_.data() + begin_[owner];
    order.clear();
    for (std::uint32_t i = 0; i < n; i++) {
      const std::uint32_t point = source(edges[i]);
      float distance;
      measure(owner, &point, 1, &distance);
      order.push_back(neighbour_key(distance, edges[i]));
    }
    std::sort(order.begin(), order.end());
  }

  // Offers to a new point take the places that are left: what it displaced must stay in its list, and what others would displace
  // here would have nobody to take it over.
  void fill_up(std::uint32_t owner, std::uint32_t n, std::vector<std::uint64_t> &order) {
    std::uint32_t *list = graph_.lists.list(owner);
    std::uint8_t &count = graph_.lists.counts[owner];
    if (count == graph_.lists.capacity) return;
    sort_offers(owner, n, order);
    for (std::size_t i = 0; i < order.size() && count < graph_.lists.capacity; i++) {
      const std::uint32_t point = source(neighbour_index(order[i]));
      if (!contains(list, count, point)) list[count++] = point;
    }
  }

  // Offers to a node, nearest first: while there is room, then in the place of what is gone or gives way.
  void enter(std::uint32_t owner, std::uint32_t n, std::vector<std::uint64_t> &order) {
    const std::uint32_t *edges = edges_.data() + begin_[owner];
    const std::uint32_t capacity = graph_.lists.capacity;
    std::uint32_t *list = graph_.lists.list(owner);
    std::uint8_t &count = graph_.lists.counts[owner];
    if (count + n <= capacity) {
      for (std::uint32_t i = 0; i < n; i++) list[count++] = source(edges[i]);
      return;
    }
    sort_offers(owner, n, order);
    float owner_distances[PHNSW_LINKS_MAX], point_distances[PHNSW_LINKS_MAX];
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
          measure_list(point, list, count, point_distances);
          at = backlink_victim(neighbour_distance(key), owner_distances, point_distances, count);
          if (at == count) continue;
          victims_[edge] = list[at];
        }
      }
      list[at] = point;
      owner_distances[at] = neighbour_distance(key);
    }
  }

  [[nodiscard]] std::uint32_t source(std::uint32_t edge) const noexcept { return graph_.limit() + edge / graph_.m(); }

  BuildContext &context_;
  MergeGraph &graph_;
  const Points points_;
  const GemmKernels &gemm_;
  Array<std::uint32_t> begin_;       // of a point's offers
  Array<std::uint32_t> edges_;       // the offers, by the point they are for
  Array<std::uint32_t> victims_;     // of an edge: what it displaced
  Array<ListChange> changes_;        // of nodes; those of one begin where its offers do
  std::vector<std::vector<std::uint64_t>> orders_;  // a worker's scratch
};

}  // namespace

Status link_points(BuildContext &context, MergeGraph &graph, std::uint64_t seed, std::vector<ListChange> *changes) {
  const Points fresh = graph.new_points();
  if (fresh.n == 0) return {};
  Linker linker(context, graph);
  {
    LevelLinks among;
    Status status = build_level(context, fresh, graph_params(fresh.dims, graph.ef(), seed), 2 * graph.m(), &among, nullptr);
    if (status.ok()) status = linker.choose(among);
    if (!status.ok()) return status;
  }
  Status status = linker.gather_offers();
  if (status.ok()) status = linker.enter_in_nodes();
  if (status.ok()) status = linker.enter_in_points();
  if (status.ok()) linker.take_changes(changes);
  return status;
}

}  // namespace phnsw
