// See search.hpp.
#include "graph/search.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace phnsw {

namespace {

// Passing over pays where at least one node in so many is beyond the limit; that many nodes tell.  Where it
// does not, it is tried again after as many, then after twice as many: on its way to the query a search finds
// little that is farther, where data have no structure it never does.
constexpr std::uint32_t kTested = 48, kBeyondShare = 4;
constexpr std::uint32_t kPauseMax = 16 * kTested;

// A hop brings a handful of arrivals: insertion sort; only entry points and large lists are more.
void sort_batch(Entry *batch, std::uint32_t n) noexcept {
  if (n > 32) {
    std::sort(batch, batch + n, precedes);
    return;
  }
  for (std::uint32_t i = 1; i < n; i++) {
    const Entry moved = batch[i];
    std::uint32_t at = i;
    for (; at > 0 && moved.key < batch[at - 1].key; at--) batch[at] = batch[at - 1];
    batch[at] = moved;
  }
}

}  // namespace

void Search::begin(std::uint32_t ef, std::uint32_t id_limit, bool keep_reserve) {
  window_.begin(ef);
  if (shown_.size() < ef) shown_.reset(ef);
  reserve_.begin();
  visited_.begin(id_limit);
  keep_reserve_ = keep_reserve;
  entering_ = true;
  rank_ = 0;
  forget_beyond_ = false;
  passed_over_.clear();
  tested_ = beyond_ = untested_ = 0;
  pause_ = kTested;
  taken_ = false;
}

void Search::trim(std::size_t bytes) noexcept {
  if (memory() - visited_.memory() + visited_.memory_by_work() <= bytes) return;
  visited_.trim();
  window_ = Candidates();
  reserve_ = Reserve();
  shown_ = Array<phnsw_candidate>();
  nearest_passed_ = Array<Entry>();
  passed_ = Array<phnsw_candidate>();
  passed_over_ = std::vector<std::uint32_t>();
}

float Search::limit() const noexcept {
  if (taken_ || untested_ != 0) return std::numeric_limits<float>::infinity();
  const float farthest =
      window_.full() ? score_of(window_.data()[window_.size() - 1]) : std::numeric_limits<float>::infinity();
  return std::min(farthest, reach());
}

// The rank-th of the window only ever gets nearer, so what is beyond now will be beyond when its turn comes.
float Search::reach() const noexcept {
  if (!forget_beyond_ || rank_ == 0 || window_.size() < rank_) return std::numeric_limits<float>::infinity();
  return factor_ * std::max(0.0f, score_of(window_.data()[rank_ - 1]) + offset_) - offset_;
}

void Search::pass_over(const std::uint32_t *ids, std::uint32_t n, std::uint32_t tested) {
  tested_ += tested;
  beyond_ += n;
  if (keep_reserve_) passed_over_.insert(passed_over_.end(), ids, ids + n);
  if (tested_ < kTested) return;
  const bool pays = beyond_ * kBeyondShare >= tested_;
  untested_ = pays ? 0 : pause_;
  pause_ = pays ? kTested : std::min(2 * pause_, kPauseMax);
  tested_ = beyond_ = 0;
}

std::uint32_t Search::unscored(std::uint32_t *ids, std::uint32_t n) noexcept {
  const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(n, passed_over_.size()));
  std::copy_n(passed_over_.end() - count, count, ids);
  passed_over_.resize(passed_over_.size() - count);
  return count;
}

bool Search::beyond() const noexcept {
  const Entry *open = window_.open();
  if (open == nullptr || window_.size() < rank_) return false;
  const float near = std::max(0.0f, score_of(window_.data()[rank_ - 1]) + offset_);
  return score_of(*open) + offset_ > factor_ * near;
}

void Search::offer(const std::uint32_t *ids, const float *scores, const std::uint32_t *versions, std::uint32_t n) {
  untested_ -= std::min(untested_, n);
  for (std::uint32_t done = 0; done < n; done += Candidates::kBatch) {
    const std::uint32_t count = std::min(n - done, Candidates::kBatch);
    if (entering_) {
      offer_entries(ids + done, scores + done, versions + done, count);
    } else {
      offer_batch(ids + done, scores + done, versions + done, count);
    }
  }
}

// Entry points mark themselves seen; the ones that are already seen or beyond the limit are dropped.
void Search::offer_entries(const std::uint32_t *ids, const float *scores, const std::uint32_t *versions,
                           std::uint32_t n) {
  std::uint32_t fresh[Candidates::kBatch], fresh_versions[Candidates::kBatch];
  float fresh_scores[Candidates::kBatch];
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < n; i++) {
    if (visited_.insert_fresh(ids + i, 1, fresh + count) == 0) continue;
    fresh_scores[count] = scores[i];
    fresh_versions[count++] = versions[i];
  }
  offer_batch(fresh, fresh_scores, fresh_versions, count);
}

// Most arrivals lose against the farthest of a full window, or are beyond
// reach: they are sorted out first, without a branch.
void Search::offer_batch(const std::uint32_t *ids, const float *scores, const std::uint32_t *versions,
                         std::uint32_t n) {
  Entry batch[Candidates::kBatch + 1];
  std::uint32_t winners = 0;
  const float reach = this->reach();
  if (!window_.full() && reach == std::numeric_limits<float>::infinity()) {
    for (; winners < n; winners++) batch[winners] = {order_key(ids[winners], scores[winners]), versions[winners], 0};
  } else {
    std::uint64_t bound = order_key(std::numeric_limits<std::uint32_t>::max(), reach);
    if (window_.full()) bound = std::min(bound, window_.data()[window_.size() - 1].key);
    if (keep_reserve_) {
      reserve_.make_room(n + 1);
      Entry *losers = reserve_.tail();
      std::uint32_t lost = 0;
      for (std::uint32_t i = 0; i < n; i++) {
        const Entry entry = {order_key(ids[i], scores[i]), versions[i], 0};
        const bool wins = entry.key < bound;
        batch[winners] = entry;
        losers[lost] = entry;
        winners += wins;
        lost += !wins;
      }
      reserve_.added(lost);
    } else {
      for (std::uint32_t i = 0; i < n; i++) {
        batch[winners] = {order_key(ids[i], scores[i]), versions[i], 0};
        winners += batch[winners].key < bound;
      }
    }
  }
  if (winners != 0) merge(batch, winners);
}

void Search::merge(Entry *batch, std::uint32_t n) {
  sort_batch(batch, n);
  if (keep_reserve_) reserve_.make_room(n);
  window_.merge(batch, n);
  const std::uint32_t excess = window_.excess();
  if (excess != 0 && keep_reserve_) {
    std::memcpy(reserve_.tail(), window_.data() + window_.size() - excess, excess * sizeof(Entry));
    reserve_.added(excess);
  }
  window_.cut();
}

const phnsw_candidate *Search::window() const noexcept {
  for (std::uint32_t i = 0; i < window_.size(); i++) shown_[i] = candidate_of(window_.data()[i]);
  return shown_.data();
}

const phnsw_candidate *Search::passed(std::uint32_t *n) {
  if (passed_.size() < *n) passed_.reset(*n);
  const std::uint64_t least = window_.size() == 0 ? 0 : window_.data()[window_.size() - 1].key;
  *n = reserve_.nearest(*n, least, &nearest_passed_);
  for (std::uint32_t i = 0; i < *n; i++) passed_[i] = candidate_of(nearest_passed_[i]);
  return passed_.begin();
}

void Search::take(std::uint32_t n) noexcept {
  taken_ = true;
  window_.drop_front(std::min(n, window_.size()));
  window_.widen();
  while (!window_.full() && !reserve_.empty()) window_.append(reserve_.take());
}

}  // namespace phnsw
