// Walk: best-first search of one level in the arena, from a point's own code or that of a query.  One thread at a time.
#pragma once

#include "build/prune.hpp"
#include "graph/search.hpp"

namespace phnsw {

class Walk {
 public:
  explicit Walk(const Points &points) noexcept : points_(points) {}

  // The code of this point is what distances are measured to, from now on.
  void aim(std::uint32_t target) noexcept {
    target_ = target;
    code_ = points_.rows.row(target);
    as_product_ = false;
    offset_ = 0;
  }
  // The same target, but scores are those of a scan for the largest inner product with this code
  // (Query::score, offset); it has a row's bytes and outlives the walk.
  void aim(std::uint32_t target, const std::int8_t *code, float scale, float offset) noexcept {
    target_ = target;
    code_ = code;
    as_product_ = true;
    scale_ = scale;
    offset_ = offset;
  }
  // What makes a score a squared distance.
  [[nodiscard]] float offset() const noexcept { return offset_; }
  // scores[i] = squared distance of the target and ids[i], n <= PHNSW_LINKS_MAX.
  void score(const std::uint32_t *ids, std::uint32_t n, float *scores) const noexcept;
  // Searches a level whose lists name points of points(); afterwards search().window() holds the nearest.
  // without_target: as if the target were not in the graph; nothing leads to it, through it or from it.
  // REQUIRES: entry is not the target then.
  void run(const LevelLinks &links, std::uint32_t entry, std::uint32_t ef, bool without_target = false) {
    begin(entry, ef, without_target);
    widen(links, ef);
  }
  // The same in pieces, for several widths at the price of the last: what is nearest is expanded first, whatever
  // the width, so that a search is the beginning of any wider one.  widen() goes to the end of the search of
  // width ef, whose window, touches and hops are then those of a run(); the window has more candidates behind.
  // REQUIRES: each ef is at least the one before, at most that of begin().
  void begin(std::uint32_t entry, std::uint32_t ef, bool without_target);
  void widen(const LevelLinks &links, std::uint32_t ef);

  // widen() also ends where Search::stop_beyond() says; until go_on().
  void stop_beyond(std::uint32_t rank, float slack) noexcept { search_.stop_beyond(rank, slack, offset_); }
  void go_on() noexcept { search_.stop_beyond(0, 0.0f, 0.0f); }

  [[nodiscard]] const Search &search() const noexcept { return search_; }
  // Of the last run(), or since begin().
  [[nodiscard]] std::uint32_t touches() const noexcept { return touches_; }
  [[nodiscard]] std::uint32_t hops() const noexcept { return hops_; }

 private:
  const Points &points_;
  std::uint32_t target_ = 0;
  const std::int8_t *code_ = nullptr;  // what distances are measured to
  bool as_product_ = false;
  float scale_ = 0, offset_ = 0;  // as_product_: the code's
  Search search_;
  std::uint32_t touches_ = 0;
  std::uint32_t hops_ = 0;
};

}  // namespace phnsw
