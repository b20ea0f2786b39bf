#include "build/calibrate.hpp"

#include <algorithm>

#include "base/rng.hpp"
#include "build/leaf.hpp"
#include "build/walk.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kSamples = 200;
constexpr std::uint32_t kWanted = 10;
constexpr std::uint32_t kKept = kWanted + 1;  // the sample itself is always found
constexpr float kEnough = 0.999f;
constexpr std::uint32_t kWidths[] = {10, 16, 24, 40, 64, 100, 160, 256, 400};
constexpr std::size_t kSliceBytes = std::size_t{2} << 20;
static_assert(sizeof kWidths / sizeof *kWidths <= PHNSW_CALIBRATION_MAX);

class Calibrator {
 public:
  Calibrator(BuildContext &context, const Graph &graph) noexcept
      : context_(context), graph_(graph), gemm_(gemm_kernels()) {}

  void draw(std::uint64_t seed) {
    const std::uint32_t n = graph_.points.n, samples = std::min(kSamples, n);
    Rng rng(seed);
    for (std::uint32_t i = 0; i < samples; i++) {
      const std::uint32_t begin = static_cast<std::uint32_t>(std::uint64_t{n} * i / samples);
      const std::uint32_t end = static_cast<std::uint32_t>(std::uint64_t{n} * (i + 1) / samples);
      samples_.push_back(begin + rng.below(end - begin));
    }
  }

  // truth_: the kWanted nearest other points of each sample.
  Status find_truth() {
    const std::uint32_t groups = graph_.points.groups(), samples = static_cast<std::uint32_t>(samples_.size());
    const std::size_t fit = kSliceBytes / gemm_.packed_bytes(groups);
    const std::uint32_t slice = static_cast<std::uint32_t>(std::clamp<std::size_t>(fit, 64, 2048));
    const std::uint32_t slices = (graph_.points.n + slice - 1) / slice;
    const unsigned workers = context_.team.threads();
    std::vector<LeafWorkspace> work(workers);
    std::vector<Array<std::uint64_t>> best(workers);
    std::vector<Array<float>> distance(workers);
    for (unsigned w = 0; w < workers; w++) {
      work[w].allocate(gemm_, groups, slice);
      best[w].reset(std::size_t{samples} * kKept);
      distance[w].reset(samples + gemm_.rows);
      clear_nearest({best[w].data(), distance[w].data(), kKept}, samples);
    }
    const Status status = context_.team.for_each(slices, [&](std::size_t item, unsigned w) {
      const std::uint32_t first = static_cast<std::uint32_t>(item) * slice;
      const std::uint32_t n = std::min(slice, graph_.points.n - first);
      gemm_.pack(graph_.points.rows, nullptr, first, n, groups, &work[w].panels);
      for (std::uint32_t row = 0; row < samples && !context_.team.stopped(); row += gemm_.rows) {
        const std::uint32_t end = std::min(samples, row + gemm_.rows);
        gemm_.nearest(graph_.points.rows, samples_.data(), row, end, work[w].panels, first, groups, work[w].scratch.data(),
                      {best[w].data() + std::size_t{row} * kKept, distance[w].data() + row, kKept});
      }
    });
    if (!status.ok()) return status;
    truth_.assign(std::size_t{samples} * kWanted, PHNSW_NONE);
    std::vector<std::uint64_t> all;
    for (std::uint32_t i = 0; i < samples; i++) {
      all.clear();
      for (unsigned w = 0; w < workers; w++) {
        const std::uint64_t *keys = best[w].data() + std::size_t{i} * kKept;
        all.insert(all.end(), keys, keys + kKept);
      }
      std::sort(all.begin(), all.end());
      std::uint32_t found = 0;
      for (const std::uint64_t key : all) {
        if (found == kWanted || key == kNoNeighbour) break;
        if (neighbour_index(key) != samples_[i]) truth_[i * kWanted + found++] = neighbour_index(key);
      }
    }
    return {};
  }

  Status measure(std::uint32_t ef, phnsw_calibration *result) {
    const std::uint32_t samples = static_cast<std::uint32_t>(samples_.size());
    std::atomic<std::uint64_t> hits{0}, touches{0}, hops{0};
    std::vector<std::unique_ptr<Walk>> walks(context_.team.threads());
    const Status status = context_.team.for_each(samples, [&](std::size_t i, unsigned worker) {
      if (walks[worker] == nullptr) walks[worker] = std::make_unique<Walk>(graph_.points);
      Walk &walk = *walks[worker];
      walk.aim(samples_[i]);
      walk.run(graph_.base, descend(walk, samples_[i]), ef, samples_[i] != graph_.entry);
      std::uint32_t found = 0, seen = 0;
      const std::uint32_t *truth = truth_.data() + i * kWanted;
      for (std::uint32_t k = 0; k < walk.search().window_size() && seen < kWanted; k++) {
        const std::uint32_t id = walk.search().window()[k].id;
        if (id == samples_[i]) continue;
        seen++;
        found += std::find(truth, truth + kWanted, id) != truth + kWanted;
      }
      hits.fetch_add(found, std::memory_order_relaxed);
      touches.fetch_add(walk.touches(), std::memory_order_relaxed);
      hops.fetch_add(walk.hops(), std::memory_order_relaxed);
    });
    const auto share = [](std::uint64_t sum, std::uint32_t of) { return static_cast<float>(sum) / static_cast<float>(of); };
    *result = {ef, share(hits.load(), samples * kWanted), share(touches.load(), samples), share(hops.load(), samples)};
    return status;
  }

 private:
  // Greedy descent through the upper levels to a point of level 0, past the sample (unless that is the entry).
  [[nodiscard]] std::uint32_t descend(const Walk &walk, std::uint32_t sample) const noexcept {
    std::uint32_t point = graph_.entry, neighbours[PHNSW_LINKS_MAX];
    float scores[PHNSW_LINKS_MAX], best;
    walk.score(&point, 1, &best);
    for (std::size_t level = graph_.upper.size(); level-- > 0;) {
      const UpperLevel &upper = *graph_.upper[level];
      for (bool moved = true; moved;) {
        moved = false;
        const std::uint32_t at = upper.find(point), n = upper.links.counts[at];
        for (std::uint32_t i = 0; i < n; i++) neighbours[i] = upper.points[upper.links.list(at)[i]];
        walk.score(neighbours, n, scores);
        for (std::uint32_t i = 0; i < n; i++) {
          if (!(scores[i] < best) || neighbours[i] == sample) continue;
          best = scores[i];
          point = neighbours[i];
          moved = true;
        }
      }
    }
    return point;
  }

  BuildContext &context_;
  const Graph &graph_;
  const GemmKernels &gemm_;
  std::vector<std::uint32_t> samples_;
  std::vector<std::uint32_t> truth_;
};

}  // namespace

Status calibrate(BuildContext &context, const Graph &graph, std::uint64_t seed, Calibration *calibration) {
  if (graph.points.n <= kWanted) return {};
  Calibrator calibrator(context, graph);
  calibrator.draw(seed);
  if (const Status status = calibrator.find_truth(); !status.ok()) return status;
  for (const std::uint32_t ef : kWidths) {
    phnsw_calibration *entry = &calibration->entry[calibration->n];
    if (const Status status = calibrator.measure(ef, entry); !status.ok()) return status;
    context.progress.add(1);
    calibration->n++;
    if (entry->recall >= kEnough) break;
  }
  return {};
}

}  // namespace phnsw
