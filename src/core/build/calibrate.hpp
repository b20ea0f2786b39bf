// Calibration: recall, touches and hops of a level-0 search by ef, measured on sampled points of the finished graph.
//
// A point's own links are its nearest neighbours, so a search that may expand the sample itself finds
// them at any ef: for uniform vectors of 16 dimensions recall 0.996 at ef 10 where other queries get
// 0.90.  So each sample is searched as if it were not in the graph.
//
// Inner products are asked for with the sample's vector, not with its point: a query has no coordinate
// that completes its norm, and is far from all points (README.md).
//
// The same searches tell what they would have found had they been stopped by distance (graph/README.md): one that is
// stopped by a slack is the beginning of one with a larger slack, as it is of a wider one.
#pragma once

#include "build/graph.hpp"
#include "build/leaf.hpp"
#include "build/walk.hpp"
#include "codec/codec.hpp"

namespace phnsw {

struct Calibration {
  std::uint32_t n = 0;
  phnsw_calibration entry[PHNSW_CALIBRATION_MAX];
  phnsw_stop stop[PHNSW_CALIBRATION_MAX];
};

// In steps of a few milliseconds of the team, so that the conductor can do other things in between.
class Calibrator {
 public:
  // The graph stays as it is until the end.  Leaves the table empty when there
  // are too few points to ask for ten neighbours.
  Calibrator(BuildContext &context, const Codec &codec, const Graph &graph, std::uint64_t seed);
  Calibrator(const Calibrator &) = delete;
  Calibrator &operator=(const Calibrator &) = delete;

  [[nodiscard]] bool done() const noexcept { return done_; }
  // REQUIRES: not done.
  Status step();
  // All steps that are left.
  Status finish();
  [[nodiscard]] const Calibration &table() const noexcept { return table_; }

 private:
  // Samples as queries, where they are not the points themselves: codes of a row's bytes, heads for the kernels.
  struct Queries {
    Array<std::int8_t> codes;
    std::vector<phnsw_code_head> heads;
    std::vector<float> offsets;
  };
  // What a worker knows of the samples' nearest points.
  struct Nearest {
    LeafWorkspace work;
    Array<std::uint64_t> best;
    Array<float> distance;
  };
  void make_queries(const Codec &codec);
  void aim(Walk &walk, std::size_t i) const noexcept;
  void prepare();
  Status compare_slices();
  void merge_truth();
  Status measure();
  [[nodiscard]] std::uint32_t found(const Search &search, std::size_t i) const noexcept;
  void count(std::uint32_t width, std::uint32_t slack, std::uint32_t hits, const Walk &walk) noexcept;
  void add_line();
  void add_stops() noexcept;
  struct Walker {
    explicit Walker(const Points &points) noexcept : walk(points) {}
    Walk walk;
    Search descent;
  };
  [[nodiscard]] std::uint32_t descend(Walker &walker, std::uint32_t sample) const;

  BuildContext &context_;
  const Graph &graph_;
  const GemmKernels &gemm_;
  bool done_ = false;
  Calibration table_;
  std::vector<std::uint32_t> samples_;
  bool products_ = false;  // queries_ are the samples'
  Queries queries_;
  std::vector<std::uint32_t> truth_;  // the nearest other points of each sample

  std::uint32_t slice_ = 0, slices_ = 0, slices_done_ = 0;  // points of a slice; how many there are
  std::vector<Nearest> nearest_;                            // one per worker, until the truth is found

  std::vector<std::unique_ptr<Walker>> walkers_;  // one per worker
  std::vector<std::uint32_t> entries_;  // where each sample's search of level 0 begins; PHNSW_NONE: not known yet
  std::uint32_t measured_ = 0;          // samples at the current widths
  struct Sums {
    std::atomic<std::uint64_t> hits{0}, touches{0}, hops{0};
  };
  Sums sums_[PHNSW_CALIBRATION_MAX][PHNSW_STOP_SLACKS + 1];  // by width and slack, the last: not stopped
};

}  // namespace phnsw
