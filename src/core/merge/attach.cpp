#include <algorithm>

#include "build/walk.hpp"
#include "merge/link.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kWalkWidth = 32;

// Breadth first from the entry point; as build/reach.cpp, but nodes that are gone or dying are ways only.
class Attach {
 public:
  Attach(BuildContext &context, MergeGraph &graph, std::vector<ListChange> *changes)
      : context_(context), graph_(graph), points_(graph.points()), changes_(*changes) {
    parent_.reset(points_.n);
    queue_.reset(points_.n);
    std::fill(parent_.begin(), parent_.end(), PHNSW_NONE);
  }

  Status run(std::uint32_t entry) {
    mark(entry, entry);
    if (!spread()) return kStopped;
    Walk walk(points_);
    for (std::uint32_t point = 0; tail_ < points_.n && point < points_.n; point++) {
      if (parent_[point] != PHNSW_NONE || !graph_.is_live(point)) continue;
      if (context_.team.stopped()) return kStopped;
      std::uint32_t by = PHNSW_NONE;
      if (point >= graph_.limit()) {
        const std::uint32_t row = graph_.row_of(point - graph_.limit());
        for (std::uint32_t i = 0; i < graph_.window_size(row) && by == PHNSW_NONE; i++) {
          if (link(neighbour_index(graph_.window(row)[i]), point)) by = neighbour_index(graph_.window(row)[i]);
        }
      }
      if (by == PHNSW_NONE) {
        walk.aim(point);
        walk.run(graph_.lists, entry, kWalkWidth);
        for (std::uint32_t i = 0; i < walk.search().window_size() && by == PHNSW_NONE; i++) {
          if (link(walk.search().window()[i].id, point)) by = walk.search().window()[i].id;
        }
      }
      if (by == PHNSW_NONE)
        continue;  // nobody near has a place; as after an insert that lost a race, vacuum's attach helps
      mark(point, by);
      if (!spread()) return kStopped;
    }
    return {};
  }

 private:
  void mark(std::uint32_t point, std::uint32_t parent) noexcept {
    parent_[point] = parent;
    queue_[tail_++] = point;
  }

  bool spread() noexcept {
    constexpr std::uint32_t kAhead = 8;
    while (head_ < tail_) {
      if ((head_ & 0xFFF) == 0 && context_.team.stopped()) return false;
      if (head_ + kAhead < tail_) {
        const std::uint32_t *list = graph_.lists.list(queue_[head_ + kAhead]);
        __builtin_prefetch(list);
        __builtin_prefetch(list + 16);
      }
      const std::uint32_t point = queue_[head_++];
      const std::uint32_t *list = graph_.lists.list(point);
      for (std::uint32_t i = 0; i < graph_.lists.counts[point]; i++) {
        if (list[i] < points_.n && !graph_.is_free(list[i]) && parent_[list[i]] == PHNSW_NONE) mark(list[i], point);
      }
    }
    return true;
  }

  // Gives a live, reached point a link, at the cost of one that brought nobody, which the newcomer takes over:
  // others may have come to rely on it since the nodes were loaded.
  bool link(std::uint32_t from, std::uint32_t to) {
    if (!graph_.is_live(from) || parent_[from] == PHNSW_NONE) return false;
    std::uint32_t *list = graph_.lists.list(from);
    std::uint8_t &count = graph_.lists.counts[from];
    std::uint32_t at = count;
    if (count == graph_.lists.capacity) {
      while (at > 0 && (list[at - 1] == PHNSW_NONE || parent_[list[at - 1]] == from)) at--;
      if (at-- == 0 || !take_over(to, list[at])) return false;
    }
    if (from < graph_.limit()) changes_.push_back({from, at < count ? list[at] : PHNSW_NONE, to});
    list[at] = to;
    if (at == count) count++;
    return true;
  }

  bool take_over(std::uint32_t point, std::uint32_t link) {
    std::uint32_t *list = graph_.lists.list(point);
    std::uint8_t &count = graph_.lists.counts[point];
    if (link == point || std::find(list, list + count, link) != list + count) return true;
    if (count == graph_.lists.capacity) return false;
    if (point < graph_.limit()) changes_.push_back({point, PHNSW_NONE, link});
    list[count++] = link;
    return true;
  }

  BuildContext &context_;
  MergeGraph &graph_;
  const Points points_;
  std::vector<ListChange> &changes_;
  Array<std::uint32_t> parent_;  // by whom a point was reached
  Array<std::uint32_t> queue_;
  std::uint32_t head_ = 0;
  std::uint32_t tail_ = 0;
};

}  // namespace

Status attach_points(BuildContext &context, MergeGraph &graph, std::uint32_t entry, std::vector<ListChange> *changes) {
  const std::size_t before = changes->size();
  const Status status = Attach(context, graph, changes).run(entry);
  if (status.ok() && changes->size() != before) {
    // A list's own changes stay in their order: one may undo another.
    std::stable_sort(changes->begin(), changes->end(),
                     [](const ListChange &a, const ListChange &b) { return a.owner < b.owner; });
  }
  return status;
}

}  // namespace phnsw
