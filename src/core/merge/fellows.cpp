#include "merge/fellows.hpp"

namespace phnsw {

Fellows::Fellows(const Points &points, unsigned workers) : points_(points), gemm_(gemm_kernels()), work_(workers) {
  std::vector<std::uint32_t> ids;
  for (std::uint32_t panel = 0; panel < kPanels; panel++) {
    ids.clear();
    for (std::uint32_t id = panel; id < points.n; id += kPanels) ids.push_back(id);
    panels_[panel].allocate(gemm_, points.groups(), static_cast<std::uint32_t>(ids.size()));
    gemm_.pack(points.rows, ids.data(), 0, static_cast<std::uint32_t>(ids.size()), points.groups(),
               &panels_[panel].panels);
  }
  for (Work &work : work_) {
    work.scratch.reset(gemm_.scratch_bytes(points.groups()));
    work.keys.reset(kBlock * kMost);
  }
}

void Fellows::find(std::uint32_t begin, std::uint32_t end, unsigned worker) noexcept {
  Work &work = work_[worker];
  work.begin = begin;
  work.n = end - begin;
  for (std::uint32_t panel = 0; panel < kPanels; panel++) {
    gemm_.few_nearest(kPerPanel, points_.rows, nullptr, begin, end, panels_[panel].panels, points_.groups(),
                      work.scratch.data(), work.keys.data() + panel * work.n * kPerPanel);
  }
}

std::uint32_t Fellows::take(std::uint32_t point, unsigned worker, std::uint32_t *fellows) const noexcept {
  const Work &work = work_[worker];
  std::uint32_t n = 0;
  for (std::uint32_t panel = 0; panel < kPanels; panel++) {
    const std::uint32_t *keys = work.keys.data() + (panel * work.n + point - work.begin) * kPerPanel;
    for (std::uint32_t i = 0; i < kPerPanel && short_key_valid(keys[i]); i++) {
      const std::uint32_t fellow = short_key_index(keys[i]) * kPanels + panel;
      if (fellow != point) fellows[n++] = fellow;
    }
  }
  return n;
}

}  // namespace phnsw
