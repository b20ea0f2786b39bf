#include "build/order.hpp"

#include <algorithm>

#include "base/rng.hpp"
#include "build/leaf.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kLeadersMax = 64;
constexpr std::uint32_t kDepthMax = 12;
// Points whose neighbours are looked at while one page is filled.
constexpr std::uint32_t kExpandMax = 4;

class GroupOrder {
 public:
  GroupOrder(const Team &team, const Graph &graph, std::uint32_t slots_per_page)
      : team_(team), graph_(graph), gemm_(gemm_kernels()), per_page_(slots_per_page) {
    const std::uint32_t groups = graph.points.groups();
    work_.allocate(gemm_, groups, kLeadersMax);
  }

  // Brings points[0 ... n) into locality order.
  void carve(std::uint32_t *points, std::uint32_t n, std::uint32_t depth, std::uint64_t seed) {
    if (n <= per_page_ * 4 || depth > kDepthMax || team_.stopped()) return;
    const std::uint32_t leaders = std::min(kLeadersMax, n / per_page_ + 2);
    std::uint32_t ids[kLeadersMax];
    Rng rng(seed);
    for (std::uint32_t i = 0; i < leaders; i++) {
      const std::uint32_t begin = static_cast<std::uint32_t>(std::uint64_t{n} * i / leaders);
      const std::uint32_t end = static_cast<std::uint32_t>(std::uint64_t{n} * (i + 1) / leaders);
      ids[i] = points[begin + rng.below(end - begin)];
    }
    const CodeRows &rows = graph_.points.rows;
    gemm_.pack(rows, ids, 0, leaders, graph_.points.groups(), &work_.panels);
    std::vector<std::uint8_t> leader(n);
    for (std::uint32_t at = 0; at < n; at += kLeadersMax) {
      if (team_.stopped()) return;
      const std::uint32_t end = std::min(n, at + kLeadersMax);
      gemm_.few_nearest(1, rows, points, at, end, work_.panels, graph_.points.groups(), work_.scratch.data(),
                        work_.keys.data());
      for (std::uint32_t i = at; i < end; i++) {
        const std::uint32_t key = work_.keys[i - at];
        leader[i] = static_cast<std::uint8_t>(short_key_valid(key) ? short_key_index(key) : 0);
      }
    }
    std::uint32_t begin[kLeadersMax + 2] = {};
    for (const std::uint8_t k : leader) begin[k + 2u]++;
    for (std::uint32_t k = 2; k <= leaders + 1; k++) begin[k] += begin[k - 1];
    std::vector<std::uint32_t> sorted(n);
    for (std::uint32_t i = 0; i < n; i++) sorted[begin[leader[i] + 1u]++] = points[i];
    std::copy(sorted.begin(), sorted.end(), points);
    for (std::uint32_t k = 0; k < leaders; k++) {
      const std::uint32_t members = begin[k + 1] - begin[k];
      if (members < n) carve(points + begin[k], members, depth + 1, mix64(seed + k + 1));
    }
  }

  // From locality order to the order on pages; the group's ids begin at first_id.  group_of tells who is in the group;
  // placed is shared, each group touches its own points.
  void fill_pages(const std::uint32_t *points, std::uint32_t n, std::uint32_t first_id, const std::uint32_t *group_of,
                  std::uint32_t group, std::uint8_t *placed, std::uint32_t *out) {
    std::uint32_t at = 0;
    for (std::uint32_t i = 0; i < n; i++) {
      if (placed[points[i]] != 0) continue;
      const std::uint32_t page_end = std::min(((first_id + at) / per_page_ + 1) * per_page_ - first_id, n);
      std::uint32_t first = at;
      placed[points[i]] = 1;
      out[at++] = points[i];
      for (std::uint32_t expanded = 0; expanded < kExpandMax && first < at && at < page_end; expanded++) {
        const std::uint32_t point = out[first++];
        const std::uint32_t *list = graph_.base.list(point);
        for (std::uint32_t x = 0; x < graph_.base.counts[point] && at < page_end; x++) {
          if (group_of[list[x]] != group || placed[list[x]] != 0) continue;
          placed[list[x]] = 1;
          out[at++] = list[x];
        }
      }
    }
  }

 private:
  const Team &team_;
  const Graph &graph_;
  const GemmKernels &gemm_;
  const std::uint32_t per_page_;
  LeafWorkspace work_;
};

}  // namespace

Status order_nodes(BuildContext &context, std::uint32_t slots_per_page, std::uint64_t seed, Graph *graph) {
  const std::uint32_t n = graph->points.n;
  const std::uint32_t groups = static_cast<std::uint32_t>(graph->home.begin.size() - 1);
  ArenaArray<std::uint32_t> group_of;
  ArenaArray<std::uint8_t> placed;
  Status status = group_of.allocate(context.arena, n);
  if (status.ok()) status = placed.allocate(context.arena, n);
  if (status.ok()) status = graph->point_at.allocate(context.arena, n);
  if (status.ok()) status = graph->id_of.allocate(context.arena, n);
  if (!status.ok()) return status;
  std::memset(placed.data(), 0, n);
  const std::vector<std::uint32_t> &begin = graph->home.begin;
  status = context.team.for_each(groups, [&](std::size_t group, unsigned) {
    for (std::uint32_t i = begin[group]; i < begin[group + 1]; i++) {
      group_of[graph->home.order[i]] = static_cast<std::uint32_t>(group);
    }
  });
  if (!status.ok()) return status;
  std::vector<GroupOrder> work;
  for (unsigned i = 0; i < context.team.threads(); i++) work.emplace_back(context.team, *graph, slots_per_page);
  return context.team.for_each(groups, [&](std::size_t group, unsigned worker) {
    std::uint32_t *points = graph->home.order.data() + begin[group];
    const std::uint32_t size = begin[group + 1] - begin[group];
    work[worker].carve(points, size, 0, mix64(seed + group));
    std::uint32_t *out = graph->point_at.data() + begin[group];
    work[worker].fill_pages(points, size, begin[group], group_of.data(), static_cast<std::uint32_t>(group),
                            placed.data(), out);
    if (context.team.stopped()) return;
    for (std::uint32_t i = 0; i < size; i++) graph->id_of[out[i]] = begin[group] + i;
    context.progress.add(size);
  });
}

}  // namespace phnsw
