// One level of the graph: candidates by brute force or by partition, leaves
// and reservoirs; then lists by the heuristic.
#pragma once

#include <vector>

#include "build/context.hpp"

namespace phnsw {

// Locality of a level's points, a by-product: see Partition.
struct HomeOrder {
  ArenaArray<std::uint32_t> order;
  std::vector<std::uint32_t> begin;
};

// The densities that ef_construction stands for.
GraphParams graph_params(std::uint32_t dims, std::uint32_t ef_construction, std::uint64_t seed) noexcept;

// Builds the lists of all points, at most `capacity` links each.  home may be null.
Status build_level(BuildContext &context, const Points &points, const GraphParams &params, std::uint32_t capacity,
                   LevelLinks *links, HomeOrder *home);

}  // namespace phnsw
