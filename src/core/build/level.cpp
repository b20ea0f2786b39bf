#include "build/level.hpp"

#include <algorithm>

#include "build/partition.hpp"
#include "build/prune.hpp"

namespace phnsw {
namespace {

// A packed leaf should stay in the second-level cache beside its reservoirs.
constexpr std::uint32_t kLeafBytes = 288u << 10;
constexpr std::uint32_t kLeafPointsMin = 128, kLeafPointsMax = 512;
static_assert(kLeafPointsMax <= kShortIndexes);
constexpr std::uint32_t kManyDims = 384;

Status brute_force(BuildContext &context, const Points &points, Reservoirs &reservoirs) {
  LeafWorkspace work;
  work.allocate(gemm_kernels(), points.groups(), points.n);
  Leaves leaves(context.team, points);
  const Sketches sketches(points);
  return context.team.for_each(
      1, [&](std::size_t, unsigned) { leaves.process_whole_level(points.n, sketches, reservoirs, work); });
}

// A point's radius: the squared distance of the candidate of this rank.
constexpr std::uint32_t kRadiusRank = 8;

Status measure_radii(BuildContext &context, const Reservoirs &reservoirs, const ArenaArray<float> &radius) {
  constexpr std::uint32_t kBlock = 1024;
  const std::uint32_t points = static_cast<std::uint32_t>(radius.size());
  return context.team.for_each((points + kBlock - 1) / kBlock, [&](std::size_t block, unsigned) {
    std::uint64_t keys[Reservoirs::kCapacityMax];
    float distances[Reservoirs::kCapacityMax];
    const std::uint32_t begin = static_cast<std::uint32_t>(block) * kBlock, end = std::min(points, begin + kBlock);
    for (std::uint32_t i = begin; i < end; i++) {
      const std::uint32_t n = reservoirs.candidates(i, keys), place = std::min(n, kRadiusRank) - 1;
      if (n == 0) continue;
      for (std::uint32_t x = 0; x < n; x++) distances[x] = neighbour_distance(keys[x]);
      std::nth_element(distances, distances + place, distances + n);
      radius[i] = distances[place];
    }
  });
}

Status prune_all(BuildContext &context, const Points &points, const Reservoirs &reservoirs, const HomeOrder &home,
                 LevelLinks *links) {
  constexpr std::uint32_t kBlock = 64;
  if (context.progress.phase() == PHNSW_PHASE_LEAVES) context.progress.begin(PHNSW_PHASE_PRUNE, points.n);
  ArenaArray<float> radius;
  Status status = radius.allocate(context.arena, points.n);
  if (status.ok()) status = measure_radii(context, reservoirs, radius);
  if (!status.ok()) return status;
  return context.team.for_each((points.n + kBlock - 1) / kBlock, [&](std::size_t block, unsigned) {
    // While one point is pruned, the candidates of the next and the reservoir of the one after are on their way.
    std::uint64_t keys[2][Reservoirs::kCapacityMax];
    std::uint32_t n[2];
    const std::uint32_t begin = static_cast<std::uint32_t>(block) * kBlock, end = std::min(points.n, begin + kBlock);
    const auto prepare = [&](std::uint32_t i) {
      if (i + 1 < end) reservoirs.prefetch(home.order[i + 1]);
      n[i & 1] = reservoirs.candidates(home.order[i], keys[i & 1]);
      prefetch_candidates(points, keys[i & 1], n[i & 1]);
    };
    prepare(begin);
    for (std::uint32_t i = begin; i < end && !context.team.stopped(); i++) {
      if (i + 1 < end) prepare(i + 1);
      const std::uint32_t id = home.order[i];
      links->counts[id] = static_cast<std::uint8_t>(
          prune(points, keys[i & 1], n[i & 1], links->capacity, radius.data(), reservoirs.list(id)));
    }
    context.progress.add(end - begin);
  });
}

}  // namespace

GraphParams graph_params(std::uint32_t dims, std::uint32_t ef_construction, std::uint64_t seed) noexcept {
  GraphParams params{};
  const std::uint32_t padded = (dims + 3) & ~3u;
  params.leaf_points = std::clamp(kLeafBytes / padded, kLeafPointsMin, kLeafPointsMax);
  // The more coordinates, the dearer a membership: fewer of them then, each of which finds more (README.md).
  const bool few = dims < kManyDims;
  params.leaf_neighbours = ef_construction < 128 ? (few ? 2 : 4) : few && ef_construction < 400 ? 4 : 8;
  params.fanout_top = few ? std::clamp(ef_construction / 8, 4u, 8u) : std::clamp(ef_construction * 5 / 64, 3u, 8u);
  params.fanout_below = std::clamp(ef_construction / (few ? 21 : 32), 1u, 8u);
  params.far_leaves = few ? 4 : 2;
  // Rotated coordinates: half of them know the distances well enough to say which leaders are near (README.md).
  params.carve_dims = few ? dims : (dims / 2 + 3) & ~3u;
  params.reservoir = Reservoirs::capacity_for(std::clamp(ef_construction - 2, 30u, Reservoirs::kCapacityMax));
  params.seed = seed;
  return params;
}

Status build_level(BuildContext &context, const Points &points, const GraphParams &params, std::uint32_t capacity,
                   LevelLinks *links, HomeOrder *home) {
  HomeOrder own;
  if (home == nullptr) home = &own;
  Reservoirs reservoirs;
  Status status =
      reservoirs.allocate(context, points.n, std::max(params.reservoir, Reservoirs::capacity_for(capacity)));
  if (!status.ok()) return status;
  if (points.n <= params.leaf_points) {
    status = brute_force(context, points, reservoirs);
    if (!status.ok()) return status;
    status = home->order.allocate(context.arena, points.n);
    if (!status.ok()) return status;
    for (std::uint32_t i = 0; i < points.n; i++) home->order[i] = i;
    home->begin = {0, points.n};
  } else {
    Partition partition(context, points, params, reservoirs);
    status = partition.run();
    if (!status.ok()) return status;
    home->order.swap(partition.home_order());
    home->begin.swap(partition.home_begin());
  }
  links->capacity = capacity;
  status = links->counts.allocate(context.arena, points.n);
  if (status.ok()) status = prune_all(context, points, reservoirs, *home, links);
  if (status.ok()) status = reservoirs.become_lists(context, points.n, capacity, &links->links);
  return status;
}

}  // namespace phnsw
