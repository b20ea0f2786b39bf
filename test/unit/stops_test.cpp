// Stops: what is chosen from what a calibration has measured, and what a build writes.
#include "graph/stops.hpp"

#include "build_harness.hpp"

namespace phnsw {
namespace {

using namespace build_test;

constexpr std::uint64_t kWanted = 2000;

// Two lines of ef 100 and 160 that miss 200 and 100 and cost 2,000 and
// 3,000; no slack stops anything before line's end.
struct Measured {
  phnsw_calibration lines[2] = {{100, 0.9f, 2000, 100}, {160, 0.95f, 3000, 160}};
  phnsw_tallies tallies[2];
  phnsw_stop stops[2];

  Measured() {
    for (std::uint32_t i = 0; i < 2; i++) {
      const phnsw_tally whole{i == 0 ? kWanted - 200 : kWanted - 100, i == 0 ? 2000u : 3000u, lines[i].ef};
      tallies[i].whole = whole;
      for (phnsw_tally &stopped : tallies[i].stopped) stopped = whole;
    }
  }
  void find() { find_stops(lines, tallies, 2, kWanted, stops); }
};

TEST(Stops, SlacksAscend) {
  for (std::uint32_t i = 0; i < PHNSW_STOP_SLACKS; i++) {
    EXPECT_EQ(phnsw_stop_slack(i), kStopSlacks[i]);
    EXPECT_GT(kStopSlacks[i], i == 0 ? 0 : kStopSlacks[i - 1]);
    EXPECT_LE(kStopSlacks[i], PHNSW_STOP_SLACK_MAX);
  }
}

TEST(Stops, NothingIsChosenThatSavesNothing) {
  Measured measured;
  measured.find();
  for (const phnsw_stop &stop : measured.stops) EXPECT_TRUE(stop.wider == 0 && stop.slack == 0);
}

// The cheapest that misses no more counts, with the narrow window or between it and the next line's.
TEST(Stops, TheCheapestThatFindsAsMuch) {
  Measured measured;
  measured.tallies[0].stopped[3] = {kWanted - 202, 1700, 90};  // as good, but for noise
  measured.tallies[0].stopped[2] = {kWanted - 400, 900, 50};   // cheap, and with no window good enough
  measured.tallies[1].stopped[2] = {kWanted - 300, 1000, 60};
  measured.find();
  EXPECT_EQ(measured.stops[0].wider, 1);
  EXPECT_EQ(measured.stops[0].slack, kStopSlacks[3]);
  EXPECT_EQ(measured.stops[1].slack, 0);

  // Halfway between the windows, by logarithms: 288 to 144 misses, 1,200 to 1,600 touches.
  measured.tallies[0].stopped[5] = {kWanted - 287, 1200, 70};
  measured.tallies[1].stopped[5] = {kWanted - 143, 1600, 100};
  measured.find();
  EXPECT_NEAR(measured.stops[0].wider, 1.265, 0.02);
  EXPECT_EQ(measured.stops[0].slack, kStopSlacks[5]);
  EXPECT_EQ(measured.stops[1].slack, 0);

  // Behind the last line nobody has looked.
  measured.tallies[1].stopped[7] = {kWanted - 110, 2000, 100};
  measured.find();
  EXPECT_EQ(measured.stops[1].slack, 0);
}

// No miss among few queries is no proof: where hardly anything is missed nothing may be saved.
TEST(Stops, AreNotChosenByChance) {
  Measured measured;
  for (phnsw_tallies &tallies : measured.tallies) {
    tallies.whole.found = kWanted;
    for (phnsw_tally &stopped : tallies.stopped) stopped = {kWanted, 500, 50};
  }
  measured.find();
  for (const phnsw_stop &stop : measured.stops) EXPECT_EQ(stop.slack, 0);
}

// A build writes stops, of its own lines only, and they are valid (what they find: test/t/001_recall.pl).
TEST(Stops, OfABuildAreValid) {
  const Dataset data = clustered(12000, 48, 7, 400);
  phnsw_build_params params = default_params(data);
  params.calibrate = true;
  const Index index = build_index(data, params);
  const phnsw_meta &meta = index.meta();
  std::uint32_t chosen = 0;
  for (std::uint32_t i = 0; i < meta.calibrations; i++) chosen += meta.stop[i].slack > 0;
  EXPECT_GT(chosen, 0u);
  const char *what = "";
  EXPECT_TRUE(phnsw_meta_validate(&meta, index.result.total_blocks, &what)) << what;
  for (std::uint32_t i = meta.calibrations; i < PHNSW_CALIBRATION_MAX; i++) EXPECT_EQ(meta.stop[i].slack, 0);
}

}  // namespace
}  // namespace phnsw
