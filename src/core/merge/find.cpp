#include "merge/find.hpp"

#include <algorithm>
#include <memory>

#include "build/leaf.hpp"
#include "graph/search.hpp"

namespace phnsw {
namespace {

// Searches start from the nearest of a sample of the nodes: one in 16, as many as HNSW has on its first level, but 4,096.
constexpr std::uint32_t kNodesPerSample = 16, kSamplesMax = 4096;
constexpr std::uint32_t kPanel = kShortIndexes;
constexpr std::uint32_t kPerPanel = 2;
constexpr std::uint32_t kEntriesMax = kSamplesMax / kPanel * kPerPanel;
constexpr std::uint32_t kEntryBlock = 32;
constexpr std::uint32_t kSearchBlock = 8;
// Eighths of ef_construction: with the new points as further candidates, fewer nodes do (README.md), if they are not too few: one
// for so many nodes.
constexpr std::uint32_t kSearchShare = 5;
constexpr std::uint32_t kNodesPerCandidate = 32;

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
    const std::uint32_t panels = (static_cast<std::uint32_t>(samples_.size()) + kPanel - 1) / kPanel;
    std::vector<LeafWorkspace> packed(panels), work(context_.team.threads());
    for (std::uint32_t i = 0; i < panels; i++) {
      const std::uint32_t n = std::min<std::uint32_t>(kPanel, static_cast<std::uint32_t>(samples_.size()) - i * kPanel);
      packed[i].allocate(gemm_, points.groups(), n);
      gemm_.pack(points.rows, samples_.data() + i * kPanel, 0, n, points.groups(), &packed[i].panels);
    }
    for (LeafWorkspace &own : work) own.allocate(gemm_, points.groups(), kEntryBlock);
    starts->reset(graph_.rows());
    return context_.team.for_each((graph_.rows() + kEntryBlock - 1) / kEntryBlock, [&](std::size_t block, unsigned worker) {
      const std::uint32_t begin = static_cast<std::uint32_t>(block) * kEntryBlock;
      const std::uint32_t end = std::min(graph_.rows(), begin + kEntryBlock);
      float best[kEntryBlock];
      for (std::uint32_t row = begin; row < end; row++) (*starts)[row].n = 0;
      for (std::uint32_t i = 0; i < panels && !context_.team.stopped(); i++) {
        const std::uint32_t *keys = work[worker].keys.data();
        gemm_.few_nearest(kPerPanel, graph_.row_codes(), nullptr, begin, end, packed[i].panels, points.groups(),
                          work[worker].scratch.data(), work[worker].keys.data());
        for (std::uint32_t row = begin; row < end; row++, keys += kPerPanel) {
          Start &start = (*starts)[row];
          for (std::uint32_t x = 0; x < kPerPanel && short_key_valid(keys[x]); x++) {
            const std::uint32_t sample = i * kPanel + short_key_index(keys[x]);
            const float distance = short_key_distance(keys[x]);
            if (start.n == 0 || distance < best[row - begin]) {
              best[row - begin] = distance;
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
  // Live nodes, spread over the ids: nodes with near ids are mostly near, so all regions are among them.
  void draw() {
    const std::uint32_t limit = graph_.limit();
    const std::uint32_t wanted = std::clamp(graph_.live() / kNodesPerSample, 1u, kSamplesMax);
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

// One worker's searches.
class Finder {
 public:
  explicit Finder(MergeGraph &graph) noexcept : graph_(graph), nodes_(graph.points().rows), gemm_(gemm_kernels()) {}

  void run(std::uint32_t row, const Start &start) {
    std::uint32_t fresh[PHNSW_LINKS_MAX];
    float scores[PHNSW_LINKS_MAX];
    const std::uint32_t versions[PHNSW_LINKS_MAX] = {};
    const std::uint32_t row_bytes = graph_.points().row_bytes();
    const bool few = graph_.rows() < graph_.limit() / kNodesPerCandidate;
    search_.begin(few ? graph_.ef() : std::max(1u, graph_.ef() * kSearchShare / 8), graph_.limit(), true);
    score(row, start.ids, start.n, scores);
    search_.offer(start.ids, scores, versions, start.n);
    for (std::uint32_t node; search_.pop(&node);) {
      const std::uint32_t n = search_.fresh(graph_.lists.list(node), graph_.lists.counts[node], fresh);
      for (std::uint32_t i = 0; i < n; i++) {
        const std::int8_t *code = nodes_.row(fresh[i]);
        __builtin_prefetch(&nodes_.heads[fresh[i]]);
        for (std::uint32_t at = 0; at < row_bytes && at < 4 * kCacheLine; at += kCacheLine) {
          __builtin_prefetch(code + at);
          std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
        }
      }
      score(row, fresh, n, scores);
      search_.offer(fresh, scores, versions, n);
    }
    keep(row);
  }

 private:
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

  // The window, and what the search has passed over as far as there is room: of the nodes it has seen anyway, the more the
  // heuristic chooses among the better (src/pg/README.md, Insert).
  void keep(std::uint32_t row) {
    std::uint32_t n = 0;
    if (!add(row, search_.window(), search_.window_size(), &n)) return;
    std::uint32_t passed = graph_.window_width() - n;
    const phnsw_candidate *candidates = search_.passed(&passed);
    if (add(row, candidates, passed, &n)) graph_.set_window_size(row, n);
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
  Search search_;
};

}  // namespace

Status find_nearest(BuildContext &context, MergeGraph &graph, std::vector<std::uint32_t> *order) {
  Array<Start> starts;
  if (const Status status = Starts(context, graph).find(&starts); !status.ok()) return status;
  *order = graph.unique();
  std::sort(order->begin(), order->end(), [&](std::uint32_t a, std::uint32_t b) {
    return starts[a].nearest != starts[b].nearest ? starts[a].nearest < starts[b].nearest : a < b;
  });
  std::vector<std::unique_ptr<Finder>> finders(context.team.threads());
  const std::size_t n = order->size();
  const Status status = context.team.for_each((n + kSearchBlock - 1) / kSearchBlock, [&](std::size_t block, unsigned worker) {
    if (finders[worker] == nullptr) finders[worker] = std::make_unique<Finder>(graph);
    for (std::size_t i = block * kSearchBlock; i < std::min(n, (block + 1) * kSearchBlock); i++) {
      if (context.team.stopped()) return;
      finders[worker]->run((*order)[i], starts[(*order)[i]]);
    }
  });
  if (!status.ok()) return status;
  order->erase(std::remove_if(order->begin(), order->end(),
                              [&](std::uint32_t row) { return graph.fate(row).joined != PHNSW_NONE; }),
               order->end());
  return {};
}

}  // namespace phnsw
