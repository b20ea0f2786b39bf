#include "build/reach.hpp"

#include <algorithm>

#include "build/walk.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kWalkWidth = 32;

class Reach {
 public:
  Reach(BuildContext &context, const Points &points, LevelLinks *links) noexcept
      : context_(context), points_(points), links_(*links) {}

  Status run(std::uint32_t entry) {
    Status status = parent_.allocate(context_.arena, points_.n);
    if (status.ok()) status = queue_.allocate(context_.arena, points_.n);
    if (!status.ok()) return status;
    std::fill(parent_.data(), parent_.data() + points_.n, PHNSW_NONE);
    mark(entry, entry);
    if (!spread()) return kStopped;
    Walk walk(points_);
    for (std::uint32_t point = 0; tail_ < points_.n && point < points_.n; point++) {
      if (parent_[point] != PHNSW_NONE) continue;
      walk.aim(point);
      walk.run(links_, entry, kWalkWidth);
      attach(point, walk.search());
      if (!spread()) return kStopped;
    }
    return {};
  }

 private:
  void mark(std::uint32_t point, std::uint32_t parent) noexcept {
    parent_[point] = parent;
    queue_[tail_++] = point;
  }

  // Follows the links of everything in the queue.  false: stopped.
  bool spread() noexcept {
    constexpr std::uint32_t kAhead = 8;
    while (head_ < tail_) {
      if ((head_ & 0xFFF) == 0) {
        if (context_.team.stopped()) return false;
        context_.progress.add(std::min(tail_ - head_, 0x1000u));
      }
      if (head_ + kAhead < tail_) {
        const std::uint32_t *list = links_.list(queue_[head_ + kAhead]);
        __builtin_prefetch(list);
        __builtin_prefetch(list + 16);
        __builtin_prefetch(&links_.counts[queue_[head_ + kAhead]]);
      }
      const std::uint32_t point = queue_[head_++];
      const std::uint32_t *list = links_.list(point);
      for (std::uint32_t i = 0; i < links_.counts[point]; i++) {
        if (parent_[list[i]] == PHNSW_NONE) mark(list[i], point);
      }
    }
    return true;
  }

  // Gives `from` a link to `to`, at the cost of a link that brought nobody.
  bool link(std::uint32_t from, std::uint32_t to) noexcept {
    std::uint32_t *list = links_.list(from);
    std::uint8_t &count = links_.counts[from];
    if (count < links_.capacity) {
      list[count++] = to;
      return true;
    }
    for (std::uint32_t i = count; i-- > 0;) {
      if (parent_[list[i]] == from) continue;
      list[i] = to;
      return true;
    }
    return false;
  }

  void attach(std::uint32_t point, const Search &near) noexcept {
    std::uint32_t by = PHNSW_NONE;
    for (std::uint32_t i = 0; i < near.window_size() && by == PHNSW_NONE; i++) {
      if (link(near.window()[i].id, point)) by = near.window()[i].id;
    }
    if (by == PHNSW_NONE) {
      // What was reached last brought nobody, so it has room.
      by = queue_[tail_ - 1];
      link(by, point);
    }
    const std::uint32_t *list = links_.list(point);
    bool leads_out = false;
    for (std::uint32_t i = 0; i < links_.counts[point]; i++) leads_out |= parent_[list[i]] != PHNSW_NONE;
    mark(point, by);
    if (!leads_out) link(point, by);
  }

  BuildContext &context_;
  const Points &points_;
  LevelLinks &links_;
  ArenaArray<std::uint32_t> parent_;  // by whom a point was reached
  ArenaArray<std::uint32_t> queue_;   // the reached points, in the order in which they were
  std::uint32_t head_ = 0;
  std::uint32_t tail_ = 0;
};

}  // namespace

Status attach_unreached(BuildContext &context, const Points &points, std::uint32_t entry, LevelLinks *links) {
  return Reach(context, points, links).run(entry);
}

}  // namespace phnsw
