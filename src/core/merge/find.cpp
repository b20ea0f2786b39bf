#include "merge/find.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

#include "build/leaf.hpp"
#include "graph/search.hpp"
#include "kernel/kernels.hpp"

namespace phnsw {
namespace {

// Searches start from the nearest of a sample of the nodes: one in 16, as many as HNSW has on its first level, but
// 4,096, and of few rows fewer, since all samples are gathered once for them.
constexpr std::uint32_t kNodesPerSample = 16, kSamplesMin = 2048, kSamplesMax = 4096, kSamplesPerRow = 16;
constexpr std::uint32_t kPanel = kShortIndexes;
constexpr std::uint32_t kEntriesMax = 8;
// Of long codes so many dimensions say which samples are near: all are alike, since codes are rotated at random.
constexpr std::uint32_t kStartDims = 256;
constexpr std::uint32_t kSearchBlock = 8;
// Eighths of ef_construction: with the new points as further candidates, fewer nodes do (README.md).  Of
// some hundred rows they replace some, of one for so many nodes more.
constexpr std::uint32_t kFewShare = 7;
constexpr std::uint32_t kSomeRows = 256, kSomeShare = 6;
constexpr std::uint32_t kNodesPerCandidate = 32, kManyShare = 5;

std::uint32_t search_width(const MergeGraph &graph) noexcept {
  const std::uint32_t rows = graph.rows();
  const std::uint32_t share = rows >= graph.limit() / kNodesPerCandidate ? kManyShare
                              : rows >= kSomeRows                        ? kSomeShare
                                                                         : kFewShare;
  return std::max(1u, graph.ef() * share / 8);
}

struct Start {
  std::uint32_t nearest = 0;  // ordinal of the nearest sample
  std::uint32_t n = 0;
  std::uint32_t ids[kEntriesMax];
};

class Starts {
 public:
  Starts(BuildContext &context, const MergeGraph &graph) : context_(context), graph_(graph), gemm_(gemm_kernels()) {
    draw();
  }

  // starts[row] for every row.
  Status find(Array<Start> *starts) {
    const Points points = graph_.points();
    const std::uint32_t groups = std::min(points.groups(), kStartDims / 4), block_size = gemm_.rows;
    const auto panels = static_cast<std::uint32_t>((samples_.size() + kPanel - 1) / kPanel);
    const std::uint32_t per_panel = panels == 1 ? kEntriesMax : panels == 2 ? kEntriesMax / 2 : kEntriesMax / 4;
    std::vector<LeafWorkspace> packed(panels), work(context_.team.threads());
    const Status status = context_.team.for_each(panels, [&](std::size_t i, unsigned) {
      const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(kPanel, samples_.size() - i * kPanel));
      const std::uint32_t *ids = samples_.data() + i * kPanel;
      packed[i].allocate(gemm_, groups, n);
      gemm_.pack(points.rows, ids, 0, n, groups, &packed[i].panels);
      if (groups == points.groups()) return;
      for (std::uint32_t k = 0; k < n; k++) packed[i].panels.norm2[k] = partial_head(points.rows, ids[k]).norm2;
    });
    if (!status.ok()) return status;
    for (LeafWorkspace &own : work) own.allocate(gemm_, groups, block_size);
    starts->reset(graph_.rows());
    CodeRows rows = graph_.row_codes();
    Array<phnsw_code_head> heads;
    if (groups < points.groups()) {
      heads.reset(graph_.rows());
      for (std::uint32_t row = 0; row < graph_.rows(); row++) heads[row] = partial_head(rows, row);
      rows.heads = heads.data();
    }
    Array<float> nearest(graph_.rows());
    return context_.team.for_each((graph_.rows() + block_size - 1) / block_size,
                                  [&](std::size_t block, unsigned worker) {
                                    const std::uint32_t begin = static_cast<std::uint32_t>(block) * block_size;
                                    const std::uint32_t end = std::min(graph_.rows(), begin + block_size);
                                    for (std::uint32_t row = begin; row < end; row++) (*starts)[row].n = 0;
                                    for (std::uint32_t i = 0; i < panels && !context_.team.stopped(); i++) {
                                      const std::uint32_t *keys = work[worker].keys.data();
                                      gemm_.few_nearest(per_panel, rows, nullptr, begin, end, packed[i].panels, groups,
                                                        work[worker].scratch.data(), work[worker].keys.data());
                                      for (std::uint32_t row = begin; row < end; row++, keys += per_panel) {
                                        Start &start = (*starts)[row];
                                        for (std::uint32_t x = 0; x < per_panel && short_key_valid(keys[x]); x++) {
                                          const std::uint32_t sample = i * kPanel + short_key_index(keys[x]);
                                          const float distance = short_key_distance(keys[x]);
                                          if (start.n == 0 || distance < nearest[row]) {
                                            nearest[row] = distance;
                                            start.nearest = sample;
                                          }
                                          start.ids[start.n++] = samples_[sample];
                                        }
                                        // Nothing is infinitely far from everything; should it be, any sample will do.
                                        if (start.n == 0 && i + 1 == panels) {
                                          start.nearest = 0;
                                          start.ids[start.n++] = samples_[0];
                                        }
                                      }
                                    }
                                  });
  }

 private:
  // The head that a code would have without the dimensions that samples are not compared by.
  [[nodiscard]] phnsw_code_head partial_head(const CodeRows &rows, std::uint32_t id) const noexcept {
    std::int8_t ones[kStartDims];
    std::memset(ones, 1, sizeof ones);
    const std::int8_t *code = rows.row(id);
    phnsw_code_head head = rows.heads[id];
    head.sum = kernels().dot_s8s8(ones, code, kStartDims);
    head.norm2 = head.scale * head.scale * static_cast<float>(kernels().dot_s8s8(code, code, kStartDims));
    return head;
  }

  // Live nodes, spread over the ids: nodes with near ids are mostly near, so all regions are among them.
  void draw() {
    const std::uint32_t limit = graph_.limit();
    const std::uint32_t most =
        std::clamp(std::min(graph_.rows(), kSamplesMax) * kSamplesPerRow, kSamplesMin, kSamplesMax);
    const std::uint32_t wanted = std::clamp(graph_.live() / kNodesPerSample, 1u, most);
    for (std::uint32_t i = 0; i < wanted; i++) {
      const std::uint32_t end = static_cast<std::uint32_t>(std::uint64_t{limit} * (i + 1) / wanted);
      std::uint32_t id = static_cast<std::uint32_t>(std::uint64_t{limit} * i / wanted);
      while (id < end && !graph_.is_live(id)) id++;
      if (id < end) samples_.push_back(id);
    }
  }

  BuildContext &context_;
  const MergeGraph &graph_;
  const GemmKernels &gemm_;
  std::vector<std::uint32_t> samples_;
};

// Searches of one worker side by side: while one waits for the list or the codes of its next node, the others go on.
class Finder {
 public:
  Finder(MergeGraph &graph, const std::vector<std::uint32_t> &order, const Array<Start> &starts, std::uint32_t take,
         std::atomic<std::size_t> *next)
      : graph_(graph),
        nodes_(graph.points().rows),
        gemm_(gemm_kernels()),
        order_(order),
        starts_(starts),
        take_(take),
        next_(*next) {}

  // Until no row is left.
  void run(const Team &team) {
    std::uint32_t busy = 0;
    for (Lane &lane : lanes_) busy += begin(lane);
    while (busy != 0 && !team.stopped()) {
      for (Lane &lane : lanes_) {
        if (!lane.busy) continue;
        step(lane);
        if (!lane.busy && !begin(lane)) busy--;
      }
    }
  }

 private:
  static constexpr std::uint32_t kLanes = 4;
  static constexpr std::uint32_t kVersions[PHNSW_LINKS_MAX] = {};  // nobody asks for them

  struct Lane {
    Search search;
    bool busy = false;
    bool listed = false;  // a node's list is on its way, else codes are
    std::uint32_t row = 0;
    std::uint32_t node = 0;
    std::uint32_t n = 0;  // of fresh
    std::uint32_t fresh[PHNSW_LINKS_MAX];
  };

  // The next row's search; false: there is none.
  bool begin(Lane &lane) {
    while (next_row(&lane.row)) {
      float scores[kEntriesMax];
      const Start &start = starts_[lane.row];
      lane.search.begin(search_width(graph_), graph_.limit(), true);
      score(lane.row, start.ids, start.n, scores);
      lane.search.offer(start.ids, scores, kVersions, start.n);
      pop(lane);
      if (lane.busy) return true;
    }
    return false;
  }

  bool next_row(std::uint32_t *row) noexcept {
    if (at_ == end_) {
      at_ = std::min(next_.fetch_add(take_, std::memory_order_relaxed), order_.size());
      end_ = std::min(at_ + take_, order_.size());
    }
    if (at_ == end_) return false;
    *row = order_[at_++];
    return true;
  }

  void pop(Lane &lane) {
    lane.busy = lane.search.pop(&lane.node);
    if (!lane.busy) {
      keep(lane);
      return;
    }
    lane.listed = true;
    graph_.lists.prefetch(lane.node);
  }

  void step(Lane &lane) {
    if (!lane.listed) {
      float scores[PHNSW_LINKS_MAX];
      score(lane.row, lane.fresh, lane.n, scores);
      lane.search.offer(lane.fresh, scores, kVersions, lane.n);
      pop(lane);
      return;
    }
    const std::uint32_t row_bytes = graph_.points().row_bytes();
    lane.listed = false;
    lane.n = lane.search.fresh(graph_.lists.list(lane.node), graph_.lists.counts[lane.node], lane.fresh);
    for (std::uint32_t i = 0; i < lane.n; i++) {
      const std::int8_t *code = nodes_.row(lane.fresh[i]);
      __builtin_prefetch(&nodes_.heads[lane.fresh[i]]);
      for (std::uint32_t at = 0; at < row_bytes && at < 4 * kCacheLine; at += kCacheLine) {
        __builtin_prefetch(code + at);
        std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
      }
    }
  }

  void score(std::uint32_t row, const std::uint32_t *ids, std::uint32_t n, float *scores) const noexcept {
    std::int32_t dots[PHNSW_LINKS_MAX];
    const phnsw_code_head &head = graph_.row_codes().heads[row];
    gemm_.dots(graph_.row_codes().row(row), nodes_, ids, n, graph_.points().row_bytes(), dots);
    for (std::uint32_t i = 0; i < n; i++) scores[i] = coded_distance(head, nodes_.heads[ids[i]], dots[i]);
  }

  [[nodiscard]] bool equal(std::uint32_t row, std::uint32_t id) const noexcept {
    const phnsw_code_head &mine = graph_.row_codes().heads[row], &its = nodes_.heads[id];
    return mine.scale == its.scale && its.residual >= mine.residual &&
           std::memcmp(graph_.row_codes().row(row), nodes_.row(id), nodes_.stride) == 0;
  }

  // The window, and what the search has passed over as far as there is room: of the nodes it has seen anyway, the
  // more the heuristic chooses among the better (src/pg/insert/README.md).
  void keep(Lane &lane) {
    std::uint32_t n = 0;
    if (!add(lane.row, lane.search.window(), lane.search.window_size(), &n)) return;
    std::uint32_t passed = graph_.window_width() - n;
    const phnsw_candidate *candidates = lane.search.passed(&passed);
    if (add(lane.row, candidates, passed, &n)) graph_.set_window_size(lane.row, n);
  }

  // false: the row has joined one of them.
  bool add(std::uint32_t row, const phnsw_candidate *candidates, std::uint32_t count, std::uint32_t *n) noexcept {
    std::uint64_t *window = graph_.window(row);
    for (std::uint32_t i = 0; i < count && *n < graph_.window_width(); i++) {
      if (!graph_.is_live(candidates[i].id)) continue;
      if (equal(row, candidates[i].id)) {
        graph_.join(row, candidates[i].id);
        return false;
      }
      window[(*n)++] = neighbour_key(candidates[i].score, candidates[i].id);
    }
    return true;
  }

  MergeGraph &graph_;
  const CodeRows nodes_;
  const GemmKernels &gemm_;
  const std::vector<std::uint32_t> &order_;
  const Array<Start> &starts_;
  const std::uint32_t take_;
  std::atomic<std::size_t> &next_;  // in order_, of all workers
  std::size_t at_ = 0, end_ = 0;    // what this one has taken
  Lane lanes_[kLanes];
};

}  // namespace

Status find_nearest(BuildContext &context, MergeGraph &graph, std::vector<std::uint32_t> *order) {
  Array<Start> starts;
  if (const Status status = Starts(context, graph).find(&starts); !status.ok()) return status;
  *order = graph.unique();
  std::sort(order->begin(), order->end(), [&](std::uint32_t a, std::uint32_t b) {
    return starts[a].nearest != starts[b].nearest ? starts[a].nearest < starts[b].nearest : a < b;
  });
  // Near rows follow each other in one worker, as long as each has enough of them.
  const unsigned threads = context.team.threads();
  const auto take =
      static_cast<std::uint32_t>(std::clamp<std::size_t>(order->size() / (std::size_t{16} * threads), 1, kSearchBlock));
  std::atomic<std::size_t> next{0};
  const Status status = context.team.for_each(threads, [&](std::size_t, unsigned) {
    const auto finder = std::make_unique<Finder>(graph, *order, starts, take, &next);
    finder->run(context.team);
  });
  if (!status.ok()) return status;
  order->erase(std::remove_if(order->begin(), order->end(),
                              [&](std::uint32_t row) { return graph.fate(row).joined != PHNSW_NONE; }),
               order->end());
  return {};
}

}  // namespace phnsw
