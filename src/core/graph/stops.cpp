// See stops.hpp.
#include "graph/stops.hpp"

#include <cmath>

namespace phnsw {

const float kStopSlacks[] = {0.02f, 0.03f, 0.04f, 0.05f, 0.06f, 0.07f, 0.08f, 0.1f, 0.12f, 0.15f, 0.2f, 0.3f};
static_assert(sizeof kStopSlacks / sizeof *kStopSlacks == PHNSW_STOP_SLACKS);

namespace {

// Few queries tell small shares of misses badly: a stopped search is held to have missed half a neighbour more than was
// seen, and is as good as the whole one if it then misses no more than this many times as many.
constexpr double kUnseen = 0.5, kTolerance = 1.02;
// A saving that is not worth a word.
constexpr double kWorth = 0.97;

double missed(const phnsw_tally &tally, std::uint64_t wanted) noexcept {
  return static_cast<double>(wanted) - static_cast<double>(tally.found);
}

// What stopping by slack s costs with a window just so wide that it misses what line i does; false when it never does.
bool stop_at(const phnsw_calibration *lines, const phnsw_tallies *tallies, std::uint32_t i, bool has_next,
             std::uint32_t s, std::uint64_t wanted, phnsw_stop *stop, double *touches) noexcept {
  const phnsw_tally &narrow = tallies[i].stopped[s];
  const double limit = kTolerance * missed(tallies[i].whole, wanted);
  const double by_narrow = missed(narrow, wanted) + kUnseen;
  *touches = static_cast<double>(narrow.touches);
  *stop = {1.0f, kStopSlacks[s]};
  if (by_narrow <= limit) return true;
  if (!has_next) return false;
  const phnsw_tally &wide = tallies[i + 1].stopped[s];
  const double by_wide = missed(wide, wanted) + kUnseen;
  if (by_wide > limit) return false;
  // As ef is chosen: logarithms of misses and of ef go together.
  const double share = std::log(by_narrow / limit) / std::log(by_narrow / by_wide);
  *touches *= std::pow(static_cast<double>(wide.touches) / *touches, share);
  stop->wider = static_cast<float>(std::pow(static_cast<double>(lines[i + 1].ef) / lines[i].ef, share));
  return true;
}

}  // namespace

void find_stops(const phnsw_calibration *lines, const phnsw_tallies *tallies, std::uint32_t n, std::uint64_t wanted,
                phnsw_stop *stops) noexcept {
  for (std::uint32_t i = 0; i < n; i++) {
    double best = kWorth * static_cast<double>(tallies[i].whole.touches);
    stops[i] = {0, 0};
    for (std::uint32_t s = 0; s < PHNSW_STOP_SLACKS; s++) {
      phnsw_stop stop;
      double touches;
      if (!stop_at(lines, tallies, i, i + 1 < n, s, wanted, &stop, &touches) || touches >= best) continue;
      best = touches;
      stops[i] = stop;
    }
  }
}

}  // namespace phnsw
