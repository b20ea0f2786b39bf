#include "build/graph.hpp"

#include <algorithm>

#include "base/rng.hpp"
#include "build/reach.hpp"

namespace phnsw {

std::uint32_t UpperLevel::find(std::uint32_t point) const noexcept {
  return static_cast<std::uint32_t>(std::lower_bound(points.data(), points.data() + n, point) - points.data());
}

std::uint32_t draw_level(std::uint64_t seed, std::uint32_t ordinal, std::uint32_t m) noexcept {
  const double u = static_cast<double>(mix64(seed ^ mix64(ordinal)) >> 11) * 0x1.0p-53;
  std::uint32_t level = 0;
  for (double share = 1.0 / m; u < share && level < PHNSW_LEVEL_MAX; share /= m) level++;
  return level;
}

Status draw_levels(BuildContext &context, std::uint64_t seed, std::uint32_t m, Graph *graph) {
  const std::uint32_t n = graph->points.n;
  Status status = graph->level.allocate(context.arena, n);
  if (!status.ok()) return status;
  std::vector<std::uint32_t> count(PHNSW_LEVEL_MAX + 1);
  for (std::uint32_t i = 0; i < n; i++) {
    if ((i & kPollMask) == 0 && context.team.stopped()) return kStopped;
    const std::uint32_t level = draw_level(seed, i, m);
    graph->level[i] = static_cast<std::uint8_t>(level);
    if (graph->entry == PHNSW_NONE || level > graph->level[graph->entry]) graph->entry = i;
    count[level]++;
  }
  if (n == 0) return {};
  for (std::uint32_t level = graph->level[graph->entry]; level > 1; level--) count[level - 1] += count[level];
  for (std::uint32_t level = 1; level <= graph->level[graph->entry]; level++) {
    graph->upper.push_back(std::make_unique<UpperLevel>());
    UpperLevel &upper = *graph->upper.back();
    status = upper.points.allocate(context.arena, count[level]);
    if (!status.ok()) return status;
  }
  for (std::uint32_t i = 0; i < n; i++) {
    if ((i & kPollMask) == 0 && context.team.stopped()) return kStopped;
    for (std::uint32_t level = 1; level <= graph->level[i]; level++) {
      UpperLevel &upper = *graph->upper[level - 1];
      upper.points[upper.n++] = i;
    }
  }
  return {};
}

Status build_upper_levels(BuildContext &context, const GraphParams &params, std::uint32_t m, Graph *graph) {
  for (std::size_t i = 0; i < graph->upper.size(); i++) {
    UpperLevel &upper = *graph->upper[i];
    const Points &all = graph->points;
    ArenaArray<std::int8_t> codes;
    ArenaArray<phnsw_code_head> heads;
    Status status = codes.allocate(context.arena, upper.n * all.rows.stride);
    if (status.ok()) status = heads.allocate(context.arena, upper.n);
    if (!status.ok()) return status;
    constexpr std::uint32_t kBlock = 1024;
    status = context.team.for_each((upper.n + kBlock - 1) / kBlock, [&](std::size_t block, unsigned) {
      const std::uint32_t begin = static_cast<std::uint32_t>(block) * kBlock;
      for (std::uint32_t k = begin; k < std::min(upper.n, begin + kBlock); k++) {
        std::memcpy(codes.data() + k * all.rows.stride, all.rows.row(upper.points[k]), all.rows.stride);
        heads[k] = all.rows.heads[upper.points[k]];
      }
    });
    if (!status.ok()) return status;
    const Points points{{codes.data(), heads.data(), all.rows.stride}, upper.n, all.dims};
    GraphParams own = params;
    own.seed = mix64(params.seed + i + 1);
    status = build_level(context, points, own, m, &upper.links, nullptr);
    if (status.ok()) status = attach_unreached(context, points, upper.find(graph->entry), &upper.links);
    if (!status.ok()) return status;
    context.progress.add(upper.n);
  }
  return {};
}

}  // namespace phnsw
