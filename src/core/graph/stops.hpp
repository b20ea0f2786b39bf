// Stops: with which window and which slack a search stopped by distance finds as much as one of a given ef; for less.
// See README.md.  Arithmetic over what calibrations measured: no state, any thread.
#pragma once

#include <cstdint>

#include "capi/phnsw_search.h"

namespace phnsw {

// The slacks that calibrations try, ascending, PHNSW_STOP_SLACKS of them.
extern const float kStopSlacks[];

// stops[i] for each of the n lines, whose ef ascend; {0, 0} where no slack
// saves anything.  wanted: of all queries together.
void find_stops(const phnsw_calibration *lines, const phnsw_tallies *tallies, std::uint32_t n, std::uint64_t wanted,
                phnsw_stop *stops) noexcept;

}  // namespace phnsw
