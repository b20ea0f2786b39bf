// Reachability: every point of a level can be found from the entry point by following links.
//
// A breadth-first search marks what is reached and by whom.  Each point that is not, in ascending order, gets a link
// from a near point that is: a spare place of its list, else that of its farthest link which brought nobody.  The
// search then goes on from there.  Sequential, therefore deterministic.
#pragma once

#include "build/context.hpp"

namespace phnsw {

// REQUIRES: points.n >= 1.
Status attach_unreached(BuildContext &context, const Points &points, std::uint32_t entry, LevelLinks *links);

}  // namespace phnsw
