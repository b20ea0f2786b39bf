// Fellows: of each of up to a thousand new points the nearest others, by the build's matrix kernels.
//
// Every fourth point is in the same panel, and each panel gives its eight nearest: not quite the nearest
// 32 of all, but new points are in the order of where they lie, so those near a point are spread evenly
// over the panels.  Threads share the panels and have a buffer each.
#pragma once

#include <vector>

#include "build/leaf.hpp"

namespace phnsw {

class Fellows {
 public:
  static constexpr std::uint32_t kPanels = 4, kPerPanel = 8, kMost = kPanels * kPerPanel;
  // Points that find() takes at once.
  static constexpr std::uint32_t kBlock = 16;

  // REQUIRES: points.n is at most kPanels * kShortIndexes; workers is how many threads call find().
  Fellows(const Points &points, unsigned workers);

  // Finds those of points begin ... end - 1, kBlock at most.
  void find(std::uint32_t begin, std::uint32_t end, unsigned worker) noexcept;
  // The fellows of one of the points that this worker has last found; how many.
  std::uint32_t take(std::uint32_t point, unsigned worker, std::uint32_t *fellows) const noexcept;

 private:
  const Points points_;
  const GemmKernels &gemm_;
  LeafWorkspace panels_[kPanels];
  struct Work {
    std::uint32_t begin = 0, n = 0;
    Array<std::uint8_t> scratch;
    Array<std::uint32_t> keys;  // of a panel those of all points, then the next one's
  };
  std::vector<Work> work_;
};

}  // namespace phnsw
