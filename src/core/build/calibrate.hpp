// Calibration: recall, touches and hops of a level-0 search by ef, measured on sampled points of the finished graph.
#pragma once

#include "build/graph.hpp"

namespace phnsw {

struct Calibration {
  std::uint32_t n = 0;
  phnsw_calibration entry[PHNSW_CALIBRATION_MAX];
};

// Leaves the table empty when there are too few points to ask for ten neighbours.
Status calibrate(BuildContext &context, const Graph &graph, std::uint64_t seed, Calibration *calibration);

}  // namespace phnsw
