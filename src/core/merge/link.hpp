// Link: the lists of the new points, and theirs in the lists of those that they link to.
#pragma once

#include "merge/graph.hpp"

namespace phnsw {

// Changes graph.lists; *changes: what changed in lists of nodes, ascending by owner.  REQUIRES: make_points()
// was called.  Depends on graph and points only, not on the team.
Status link_points(BuildContext &context, MergeGraph &graph, std::uint64_t seed, std::vector<ListChange> *changes);

// Whether nodes' lists lead to all new points, be it through others.  *changes: as of link_points().
bool all_linked(const MergeGraph &graph, const std::vector<ListChange> &changes);

// Gives whatever a walk from `entry` does not find, new points and live
// nodes, a link from a near one that it does find.
Status attach_points(BuildContext &context, MergeGraph &graph, std::uint32_t entry, std::vector<ListChange> *changes);

}  // namespace phnsw
