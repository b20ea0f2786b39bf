// Find: for every new row its nearest nodes, by best-first searches of level 0 in memory.
#pragma once

#include "merge/graph.hpp"

namespace phnsw {

// Fills the windows of unique() and joins rows whose code a live node has.  *order: the others, near ones following
// each other.  REQUIRES: a live node.  Depends on graph and rows only, not on the team.
Status find_nearest(BuildContext &context, MergeGraph &graph, std::vector<std::uint32_t> *order);

}  // namespace phnsw
