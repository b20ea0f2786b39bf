#include "build/calibrate.hpp"

#include <algorithm>
#include <cmath>

#include "base/rng.hpp"
#include "codec/query.hpp"
#include "graph/stops.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kSamples = 200;
constexpr std::uint32_t kWanted = 10;
constexpr std::uint32_t kKept = kWanted + 1;  // the sample itself is always found
constexpr float kEnough = 0.999f;
constexpr std::uint32_t kWidths[] = {10, 16, 24, 40, 64, 100, 160, 256, 400, 640};
// One search measures several of them: those before each of these ends.
constexpr std::uint32_t kGroupEnds[] = {5, 7, 10};
constexpr std::size_t kSliceBytes = std::size_t{2} << 20;
// For a sample whose vector is too short to be a query, so many behind it are looked at.
constexpr std::uint32_t kTries = 16;
// Of a step: slices for each worker, samples in all.
constexpr std::uint32_t kSlicesPerStep = 3, kSamplesPerStep = 25;
static_assert(kSamples % kSamplesPerStep == 0);
static_assert(sizeof kWidths / sizeof *kWidths <= PHNSW_CALIBRATION_MAX);
static_assert(sizeof kWidths / sizeof *kWidths == kGroupEnds[sizeof kGroupEnds / sizeof *kGroupEnds - 1]);

}  // namespace

Calibrator::Calibrator(BuildContext &context, const Codec &codec, const Graph &graph, std::uint64_t seed)
    : context_(context), graph_(graph), gemm_(gemm_kernels()), products_(codec.params().metric == PHNSW_IP) {
  const std::uint32_t n = graph_.points.n, samples = std::min(kSamples, n);
  done_ = n <= kWanted;
  if (done_) return;
  Rng rng(seed);
  for (std::uint32_t i = 0; i < samples; i++) {
    const std::uint32_t begin = static_cast<std::uint32_t>(std::uint64_t{n} * i / samples);
    const std::uint32_t end = static_cast<std::uint32_t>(std::uint64_t{n} * (i + 1) / samples);
    samples_.push_back(begin + rng.below(end - begin));
  }
  if (products_) make_queries(codec);
  const std::size_t fit = kSliceBytes / gemm_.packed_bytes(graph_.points.groups());
  slice_ = static_cast<std::uint32_t>(std::clamp<std::size_t>(fit, 64, 2048));
  slices_ = (n + slice_ - 1) / slice_;
}

// The samples' vectors as queries for the largest inner product, each as a scan would code it.
void Calibrator::make_queries(const Codec &codec) {
  const CodeRows &rows = graph_.points.rows;
  const std::uint32_t n = graph_.points.n, samples = static_cast<std::uint32_t>(samples_.size());
  Query query(codec);
  Array<float> vector(codec.scratch_floats());
  double longest = 0;
  for (std::uint32_t i = 0; i < n; i++) longest = std::max(longest, static_cast<double>(rows.heads[i].norm2));
  queries_.codes.reset_zero(samples * rows.stride);
  for (std::uint32_t i = 0; i < samples; i++) {
    const std::uint32_t drawn = samples_[i];
    const std::uint32_t end =
        std::min(static_cast<std::uint32_t>(std::uint64_t{n} * (i + 1) / samples), drawn + kTries);
    while (!codec.decode(rows.heads[samples_[i]], rows.row(samples_[i]), vector.data())) {
      if (++samples_[i] < end) continue;
      samples_[i] = drawn;
      codec.decode(rows.heads[drawn], rows.row(drawn), vector.data());
      break;
    }
    query.set(vector.data(), PHNSW_FOR_SEARCH);
    std::int8_t *code = queries_.codes.data() + i * rows.stride;
    query.copy_code(code);
    std::int32_t sum = 0, square = 0;
    for (std::uint32_t k = 0; k < codec.code_dims(); k++) {
      sum += code[k];
      square += code[k] * code[k];
    }
    // The kernels know squared distances: this much less twice the product is never below zero.
    const double most = 2 * static_cast<double>(query.scale()) * std::sqrt(square * longest);
    queries_.heads.push_back({query.scale(), static_cast<float>(std::min(most, 1e38)), sum, 0});
    queries_.offsets.push_back(query.offset());
  }
}

void Calibrator::aim(Walk &walk, std::size_t i) const noexcept {
  if (products_) {
    walk.aim(samples_[i], queries_.codes.data() + i * graph_.points.rows.stride, queries_.heads[i].scale,
             queries_.offsets[i]);
  } else {
    walk.aim(samples_[i]);
  }
}

Status Calibrator::step() {
  if (slices_done_ < slices_) return compare_slices();
  return measure();
}

Status Calibrator::finish() {
  while (!done_) {
    if (const Status status = step(); !status.ok()) return status;
  }
  return {};
}

void Calibrator::prepare() {
  const std::uint32_t samples = static_cast<std::uint32_t>(samples_.size());
  nearest_.resize(context_.team.threads());
  for (Nearest &nearest : nearest_) {
    nearest.work.allocate(gemm_, graph_.points.groups(), slice_);
    nearest.best.reset(std::size_t{samples} * kKept);
    nearest.distance.reset(samples + gemm_.rows);
    clear_nearest({nearest.best.data(), nearest.distance.data(), kKept}, samples);
  }
}

Status Calibrator::compare_slices() {
  if (nearest_.empty()) prepare();
  const std::uint32_t groups = graph_.points.groups(), samples = static_cast<std::uint32_t>(samples_.size());
  const std::uint32_t slices = std::min(slices_ - slices_done_, kSlicesPerStep * context_.team.threads());
  const CodeRows &rows = graph_.points.rows;
  const CodeRows from = products_ ? CodeRows{queries_.codes.data(), queries_.heads.data(), rows.stride} : rows;
  const std::uint32_t *ids = products_ ? nullptr : samples_.data();
  const Status status = context_.team.for_each(slices, [&](std::size_t item, unsigned worker) {
    Nearest &own = nearest_[worker];
    const std::uint32_t first = (slices_done_ + static_cast<std::uint32_t>(item)) * slice_;
    const std::uint32_t n = std::min(slice_, graph_.points.n - first);
    gemm_.pack(rows, nullptr, first, n, groups, &own.work.panels);
    if (products_) std::fill(own.work.panels.norm2, own.work.panels.norm2 + n, 0.0f);
    for (std::uint32_t row = 0; row < samples && !context_.team.stopped(); row += gemm_.rows) {
      const std::uint32_t end = std::min(samples, row + gemm_.rows);
      gemm_.nearest(from, ids, row, end, own.work.panels, first, groups, own.work.scratch.data(),
                    {own.best.data() + std::size_t{row} * kKept, own.distance.data() + row, kKept});
    }
  });
  slices_done_ += slices;
  if (status.ok() && slices_done_ == slices_) merge_truth();
  return status;
}

void Calibrator::merge_truth() {
  truth_.assign(samples_.size() * kWanted, PHNSW_NONE);
  std::vector<std::uint64_t> all;
  for (std::size_t i = 0; i < samples_.size(); i++) {
    all.clear();
    for (const Nearest &nearest : nearest_) {
      const std::uint64_t *keys = nearest.best.data() + i * kKept;
      all.insert(all.end(), keys, keys + kKept);
    }
    std::sort(all.begin(), all.end());
    std::uint32_t found = 0;
    for (const std::uint64_t key : all) {
      if (found == kWanted || key == kNoNeighbour) break;
      if (neighbour_index(key) != samples_[i]) truth_[i * kWanted + found++] = neighbour_index(key);
    }
  }
  nearest_.clear();
  walkers_.resize(context_.team.threads());
  entries_.assign(samples_.size(), PHNSW_NONE);
}

// Some samples at the widths of the current group.
Status Calibrator::measure() {
  const std::uint32_t samples = static_cast<std::uint32_t>(samples_.size()), first = table_.n;
  const std::uint32_t end = *std::upper_bound(std::begin(kGroupEnds), std::end(kGroupEnds), first);
  const std::uint32_t begin = measured_, n = std::min(samples - begin, kSamplesPerStep);
  const Status status = context_.team.for_each(n, [&](std::size_t item, unsigned worker) {
    if (walkers_[worker] == nullptr) walkers_[worker] = std::make_unique<Walker>(graph_.points);
    Walk &walk = walkers_[worker]->walk;
    const std::size_t i = begin + item;
    aim(walk, i);
    if (entries_[i] == PHNSW_NONE) entries_[i] = descend(*walkers_[worker], samples_[i]);
    walk.begin(entries_[i], kWidths[end - 1], samples_[i] != graph_.entry);
    // Either event, the end of a width or a stop, is the end of the search for all pairs that have not ended yet.
    for (std::uint32_t width = first, slack = 0; width < end;) {
      if (slack < PHNSW_STOP_SLACKS) {
        walk.stop_beyond(PHNSW_STOP_RANK, kStopSlacks[slack]);
      } else {
        walk.go_on();
      }
      walk.widen(graph_.base, kWidths[width]);
      const std::uint32_t hits = found(walk.search(), i);
      if (walk.search().expanded() < kWidths[width] && walk.search().stopped()) {
        for (std::uint32_t wider = width; wider < end; wider++) count(wider, slack, hits, walk);
        slack++;
      } else {
        for (std::uint32_t larger = slack; larger <= PHNSW_STOP_SLACKS; larger++) count(width, larger, hits, walk);
        width++;
      }
    }
  });
  measured_ += n;
  if (!status.ok() || measured_ < samples) return status;
  measured_ = 0;
  while (table_.n < end && !done_) add_line();
  return status;
}

// How many of the nearest of sample i the search has.
std::uint32_t Calibrator::found(const Search &search, std::size_t i) const noexcept {
  const std::uint32_t *truth = truth_.data() + i * kWanted;
  const phnsw_candidate *window = search.window();
  std::uint32_t found = 0, seen = 0;
  for (std::uint32_t k = 0; k < search.window_size() && seen < kWanted; k++) {
    if (window[k].id == samples_[i]) continue;
    seen++;
    found += std::find(truth, truth + kWanted, window[k].id) != truth + kWanted;
  }
  return found;
}

void Calibrator::count(std::uint32_t width, std::uint32_t slack, std::uint32_t hits, const Walk &walk) noexcept {
  Sums &sums = sums_[width][slack];
  sums.hits.fetch_add(hits, std::memory_order_relaxed);
  sums.touches.fetch_add(walk.touches(), std::memory_order_relaxed);
  sums.hops.fetch_add(walk.hops(), std::memory_order_relaxed);
}

// The table's line of its next width.
void Calibrator::add_line() {
  const std::uint32_t samples = static_cast<std::uint32_t>(samples_.size());
  const Sums &sums = sums_[table_.n][PHNSW_STOP_SLACKS];
  const auto share = [](std::uint64_t sum, std::uint32_t of) {
    return static_cast<float>(sum) / static_cast<float>(of);
  };
  phnsw_calibration *entry = &table_.entry[table_.n];
  *entry = {kWidths[table_.n], share(sums.hits, samples * kWanted), share(sums.touches, samples),
            share(sums.hops, samples)};
  table_.n++;
  if (context_.progress.phase() == PHNSW_PHASE_CALIBRATE) context_.progress.add(1);
  done_ = entry->recall >= kEnough || table_.n == sizeof kWidths / sizeof *kWidths;
  if (done_) add_stops();
}

void Calibrator::add_stops() noexcept {
  phnsw_tallies tallies[PHNSW_CALIBRATION_MAX];
  const auto tally = [](const Sums &sums) { return phnsw_tally{sums.hits, sums.touches, sums.hops}; };
  for (std::uint32_t i = 0; i < table_.n; i++) {
    tallies[i].whole = tally(sums_[i][PHNSW_STOP_SLACKS]);
    for (std::uint32_t slack = 0; slack < PHNSW_STOP_SLACKS; slack++)
      tallies[i].stopped[slack] = tally(sums_[i][slack]);
  }
  find_stops(table_.entry, tallies, table_.n, samples_.size() * kWanted, table_.stop);
}

// Down the upper levels to a point of level 0, as the access method does; past the sample (unless that is the entry).
std::uint32_t Calibrator::descend(Walker &walker, std::uint32_t sample) const {
  constexpr std::uint32_t kVersions[PHNSW_LINKS_MAX] = {};
  std::uint32_t points[PHNSW_LINKS_MAX], fresh[PHNSW_LINKS_MAX], entries[PHNSW_DESCENT_EF] = {graph_.entry}, n = 1;
  float scores[PHNSW_LINKS_MAX];
  Search &search = walker.descent;
  for (std::size_t level = graph_.upper.size(); level-- > 0;) {
    const UpperLevel &upper = *graph_.upper[level];
    search.begin(PHNSW_DESCENT_EF, upper.n, false);
    search.stop_beyond(1, PHNSW_DESCENT_SLACK, walker.walk.offset());
    walker.walk.score(entries, n, scores);
    for (std::uint32_t i = 0; i < n; i++) fresh[i] = upper.find(entries[i]);
    search.offer(fresh, scores, kVersions, n);
    if (sample != graph_.entry && graph_.level[sample] > level) {
      const std::uint32_t itself = upper.find(sample);
      search.fresh(&itself, 1, fresh);
    }
    for (std::uint32_t at; search.pop(&at);) {
      const std::uint32_t found = search.fresh(upper.links.list(at), upper.links.counts[at], fresh);
      for (std::uint32_t i = 0; i < found; i++) points[i] = upper.points[fresh[i]];
      walker.walk.score(points, found, scores);
      search.offer(fresh, scores, kVersions, found);
    }
    const phnsw_candidate *window = search.window();
    n = search.window_size();
    for (std::uint32_t i = 0; i < n; i++) entries[i] = upper.points[window[i].id];
  }
  return entries[0];
}

}  // namespace phnsw
