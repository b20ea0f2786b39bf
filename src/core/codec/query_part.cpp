// Query::score_within(): the first part of a code says how far the rest will
// be.  See README.md, What a part of a code tells.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "codec/query.hpp"
#include "kernel/kernels.hpp"

namespace phnsw {
namespace {

// A code of fewer coordinates is a few cache lines as a whole.
constexpr std::uint32_t kDimsMin = 384;
constexpr std::uint32_t kPartDimsMin = 128, kPartShare = 4;
constexpr std::uint32_t kLine = kCacheLine;  // and what dots_squares() takes
static_assert(kLine % 64 == 0 && kPartDimsMin % kLine == 0);
// Standard deviations of the estimate by which it must be beyond the limit.
constexpr double kDeviations = 1.5;
// Squared distances below this share of the query's own squared norm are as small as what coding loses.
constexpr float kNearShare = 1e-4f;

void prefetch(const std::uint8_t *code, std::uint32_t bytes) noexcept {
  for (std::uint32_t at = 0; at < bytes; at += kLine) {
    __builtin_prefetch(code + at);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
  }
}

}  // namespace

void Query::choose_part() noexcept {
  const phnsw_codec_params &p = codec_.params();
  part_ = 0;
  if (purpose_ != PHNSW_FOR_SEARCH || p.bits != 8 || p.metric == PHNSW_IP || p.code_dims < kDimsMin || !usable_) return;
  // No offset: the squared norm is beyond float32, and a limit says nothing of the distance.
  if (!(offset_ > 0.0f)) return;
  part_ = std::max(p.code_dims / kPartShare / kLine * kLine, kPartDimsMin);
  const std::uint8_t *code = code_.data();
  std::int32_t square = 0;
  for (std::uint32_t i = 0; i < part_; i++) square += (code[i] - 128) * (code[i] - 128);
  part_norm2_ = head_.scale * head_.scale * static_cast<float>(square);
  const double dims = p.code_dims, share = part_ / dims;
  // Of a random direction `share` of the square is in the part, Beta distributed with dims / 2
  // degrees of freedom in all.  Seen from a query that is far from all rows they lie in one
  // direction, its own, and nothing averages out what that has too much of.
  const double deviation = std::sqrt((1 - share) / (share * (dims / 2 + 1)));
  const double own = static_cast<double>(part_norm2_) / static_cast<double>(offset_);
  part_factor_ = static_cast<float>(1 / (std::max(share, own) * (1 + kDeviations * deviation)));
}

std::uint32_t Query::score_within(const phnsw_slot *const *slots, std::uint32_t n, float limit, float *scores,
                                  std::uint32_t *within) const noexcept {
  const Kernels &k = kernels();
  const float most = limit + offset_;
  std::uint32_t found = 0;
  if (!(most > kNearShare * offset_)) {
    score(slots, n, scores);
    for (; found < n; found++) within[found] = found;
    return n;
  }
  for (std::uint32_t done = 0; done < n; done += kBatch) {
    const std::uint32_t count = std::min(n - done, kBatch);
    const phnsw_slot *const *batch = slots + done;
    const std::int8_t *codes[kBatch];
    std::int32_t dots[kBatch], squares[kBatch];
    for (std::uint32_t i = 0; i < count; i++) codes[i] = reinterpret_cast<const std::int8_t *>(batch[i]->code);
    k.dots_squares(code_.data(), codes, count, part_, dots, squares);
    const phnsw_slot *left[kBatch];
    float whole[kBatch];
    std::uint32_t stay = 0;
    for (std::uint32_t i = 0; i < count; i++) {
      const float scale = batch[i]->head.scale;
      const float part = part_norm2_ + scale * (scale * static_cast<float>(squares[i]) -
                                                2.0f * head_.scale * static_cast<float>(dots[i]));
      left[stay] = batch[i];
      within[found + stay] = done + i;
      // No branch: it would be mispredicted every third time.
      stay += static_cast<std::uint32_t>(!(part * part_factor_ > most));
    }
    for (std::uint32_t i = 0; i < stay; i++) prefetch(left[i]->code + part_, codec_.code_dims() - part_);
    score(left, stay, whole);
    for (std::uint32_t i = 0; i < stay; i++) scores[within[found + i]] = whole[i];
    found += stay;
  }
  return found;
}

}  // namespace phnsw
