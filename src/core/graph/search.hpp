// Search: a resumable best-first search of one level of the graph.
//
// The machine knows ids, scores and versions; pages, codes and links are the caller's.  See phnsw_search.h for the
// protocol and README.md for the algorithm.
//
// Invariants: an id enters at most once (visited_), so window and reserve hold no duplicates; while the reserve is not
// empty the window is full, and every candidate of the window precedes every one of the reserve.
// One thread at a time; memory is kept from search to search.  begin(), fresh() and offer() may throw std::bad_alloc,
// after which only begin() and destruction make sense.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "capi/phnsw_search.h"
#include "graph/candidates.hpp"
#include "graph/reserve.hpp"
#include "graph/visited.hpp"

namespace phnsw {

class Search {
 public:
  // REQUIRES: 1 <= ef <= PHNSW_EF_MAX.
  void begin(std::uint32_t ef, std::uint32_t id_limit, bool keep_reserve);

  // From now on the search ends when the nearest unexpanded candidate is more than 1 + slack times as far away as the
  // rank-th of the window.  score + offset is (proportional to) a squared distance.  rank 0: nor does it.
  // REQUIRES: slack >= 0.
  void stop_beyond(std::uint32_t rank, float slack, float offset) noexcept {
    rank_ = rank;
    factor_ = (1.0f + slack) * (1.0f + slack);
    offset_ = offset;
  }

  // Until begin(): what is offered from farther than stop_beyond() allows does not enter the window, for its turn will
  // not come.  REQUIRES: no reserve is kept, and the rule will not be relaxed.
  void forget_beyond() noexcept { forget_beyond_ = true; }

  // The nearest candidate of the window that has not been expanded, now marked
  // so.  false: there is none, or it is beyond.
  bool pop(std::uint32_t *node) noexcept { return (rank_ == 0 || !beyond()) && window_.pop(node); }

  // There is an unexpanded candidate in the window, but it is beyond.
  [[nodiscard]] bool stopped() const noexcept { return rank_ != 0 && beyond(); }

  // The candidates that pop() would return next, n at most; returns how many.
  std::uint32_t upcoming(std::uint32_t *nodes, std::uint32_t n) const noexcept { return window_.upcoming(nodes, n); }

  // So many of the window, from its beginning, are expanded: a search of this width or less would have ended.
  [[nodiscard]] std::uint32_t expanded() const noexcept { return window_.expanded(); }

  // The ids of links[0 ... n) not seen before, now seen.  REQUIRES: fresh has room for n.
  std::uint32_t fresh(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh) {
    entering_ = false;
    return visited_.insert_fresh(links, n, fresh);
  }

  // Scored candidates.  REQUIRES: ids come from fresh(), or fresh() has not been called yet.
  void offer(const std::uint32_t *ids, const float *scores, const std::uint32_t *versions, std::uint32_t n);

  // What has to score less than this to enter the window.  +inf: anything does, or a score is
  // wanted whatever it is: candidates have been taken, so that what is farther will be wanted
  // too, or so few were passed over that asking does not pay.
  [[nodiscard]] float limit() const noexcept;

  // Of `tested` ids from fresh() these n were found to be beyond limit(), and
  // not scored.  keep_reserve: they are remembered.
  void pass_over(const std::uint32_t *ids, std::uint32_t n, std::uint32_t tested);

  // Stores the ids that were passed over, n at most, and forgets them; returns
  // how many.  Their scores may be offered now.
  std::uint32_t unscored(std::uint32_t *ids, std::uint32_t n) noexcept;

  // The window, nearest first; valid until the next call that is not const.
  [[nodiscard]] const phnsw_candidate *window() const noexcept;
  [[nodiscard]] std::uint32_t window_size() const noexcept { return window_.size(); }

  // Removes the first n (at most all) of the window and refills it from the reserve.
  // Afterwards what unscored() gives belongs to what is left, and is to be offered.
  void take(std::uint32_t n) noexcept;

  // Removes the first n (fewer than ef) with their places, so that nothing has to move up.
  void drop(std::uint32_t n) noexcept { window_.narrow(n); }

  // The nearest n at most of the reserve, which keeps them, nearest first; valid as long as the window.
  [[nodiscard]] const phnsw_candidate *passed(std::uint32_t *n);

  // Gives back what searches so far have needed, where it is more than `bytes` (not counted, and kept: what the number
  // of nodes alone takes).  Only begin() and destruction make sense afterwards.
  void trim(std::size_t bytes) noexcept;

  [[nodiscard]] std::size_t memory() const noexcept {
    return sizeof *this + visited_.memory() + window_.memory() + reserve_.memory() +
           (shown_.size() + passed_.size()) * sizeof(phnsw_candidate) + nearest_passed_.size() * sizeof(Entry) +
           passed_over_.capacity() * sizeof(std::uint32_t);
  }

 private:
  void offer_entries(const std::uint32_t *ids, const float *scores, const std::uint32_t *versions, std::uint32_t n);
  void offer_batch(const std::uint32_t *ids, const float *scores, const std::uint32_t *versions, std::uint32_t n);
  void merge(Entry *batch, std::uint32_t n);
  [[nodiscard]] bool beyond() const noexcept;
  // forget_beyond(): no candidate that scores more will be expanded, whatever comes; otherwise +inf.
  [[nodiscard]] float reach() const noexcept;

  Visited visited_;
  Candidates window_;
  Reserve reserve_;
  mutable Array<phnsw_candidate> shown_;  // window() writes them
  Array<Entry> nearest_passed_;
  Array<phnsw_candidate> passed_;
  std::vector<std::uint32_t> passed_over_;  // unscored
  std::uint32_t tested_ = 0, beyond_ = 0;   // by pass_over(), lately: in all, and passed over
  std::uint32_t untested_ = 0;              // so many more offers before passing over is tried again
  std::uint32_t pause_ = 0;                 // untested_, the next time that it does not pay
  bool taken_ = false;
  bool keep_reserve_ = false;
  bool entering_ = true;    // no fresh() since begin(): offers are entry points
  std::uint32_t rank_ = 0;  // 0: only the window's size ends the search
  bool forget_beyond_ = false;
  float factor_ = 1;
  float offset_ = 0;
};

}  // namespace phnsw
