#include "build/walk.hpp"

namespace phnsw {

void Walk::score(const std::uint32_t *ids, std::uint32_t n, float *scores) const noexcept {
  std::int32_t dots[PHNSW_LINKS_MAX];
  gemm_kernels().dots(code_, points_.rows, ids, n, points_.row_bytes(), dots);
  if (as_product_) {
    for (std::uint32_t i = 0; i < n; i++)
      scores[i] = -(scale_ * points_.rows.heads[ids[i]].scale) * static_cast<float>(dots[i]);
    return;
  }
  for (std::uint32_t i = 0; i < n; i++) scores[i] = coded_distance(points_, target_, ids[i], dots[i]);
}

void Walk::begin(std::uint32_t entry, std::uint32_t ef, bool without_target) {
  constexpr std::uint32_t kVersion = 0;
  std::uint32_t fresh;
  float score_of_entry;
  search_.begin(ef, points_.n, false);
  score(&entry, 1, &score_of_entry);
  search_.offer(&entry, &score_of_entry, &kVersion, 1);
  if (without_target) search_.fresh(&target_, 1, &fresh);
  touches_ = 1;
  hops_ = 0;
}

void Walk::widen(const LevelLinks &links, std::uint32_t ef) {
  constexpr std::uint32_t kVersions[PHNSW_LINKS_MAX] = {};
  std::uint32_t fresh[PHNSW_LINKS_MAX];
  float scores[PHNSW_LINKS_MAX];
  for (std::uint32_t node; search_.expanded() < ef && search_.pop(&node);) {
    const std::uint32_t n = search_.fresh(links.list(node), links.counts[node], fresh);
    for (std::uint32_t i = 0; i < n; i++) {
      __builtin_prefetch(points_.rows.row(fresh[i]));
      __builtin_prefetch(points_.rows.row(fresh[i]) + 64);
    }
    score(fresh, n, scores);
    search_.offer(fresh, scores, kVersions, n);
    touches_ += n;
    hops_++;
  }
}

}  // namespace phnsw
