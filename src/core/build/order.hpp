// Order: node ids, so that near points share pages.
//
// Within each home group (points of one nearest leader) the points are brought into a locality order by recursive
// carving into disjoint parts, then pages are filled: the next point of that order, and its unplaced neighbours breadth
// first until the page is full.  Groups are independent, so threads do not change the result.
#pragma once

#include "build/graph.hpp"

namespace phnsw {

// Fills graph->point_at and id_of.
Status order_nodes(BuildContext &context, std::uint32_t slots_per_page, std::uint64_t seed, Graph *graph);

}  // namespace phnsw
