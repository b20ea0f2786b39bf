// The graph of a bulk build: all levels, before and after they get their order on pages.
#pragma once

#include <memory>
#include <vector>

#include "build/level.hpp"

namespace phnsw {

// A level >= 1; its points are numbered anew, in ascending order of `points`.
struct UpperLevel {
  ArenaArray<std::uint32_t> points;  // of level 0
  std::uint32_t n = 0;
  LevelLinks links;
  // The number of a point of level 0 within this level.  REQUIRES: it is in it.
  [[nodiscard]] std::uint32_t find(std::uint32_t point) const noexcept;
};

struct Graph {
  Points points{};
  LevelLinks base;
  HomeOrder home;
  ArenaArray<std::uint8_t> level;                  // highest, of each point
  std::vector<std::unique_ptr<UpperLevel>> upper;  // upper[0] is level 1
  std::uint32_t entry = PHNSW_NONE;                // the first point of the highest level
  ArenaArray<std::uint32_t> point_at;              // node id -> point
  ArenaArray<std::uint32_t> id_of;                 // point -> node id
};

// The level of the i-th point: P(level >= l) = m^-l, whatever came before it.
std::uint32_t draw_level(std::uint64_t seed, std::uint32_t ordinal, std::uint32_t m) noexcept;

// Draws the levels and the entry point.
Status draw_levels(BuildContext &context, std::uint64_t seed, std::uint32_t m, Graph *graph);
// Levels 1 and up, each reachable from the entry point.
Status build_upper_levels(BuildContext &context, const GraphParams &params, std::uint32_t m, Graph *graph);

}  // namespace phnsw
