// What one core of this machine can do at most, by the instructions that the kernels use: measured, so that a kernel's
// rate has something to stand beside.  Not thread-safe; measures once, on first use, for about 0.1 s.
#ifndef PHNSW_BENCH_PEAK_HPP
#define PHNSW_BENCH_PEAK_HPP

#include <benchmark/benchmark.h>

struct Peak {
  double int8_macs;   // multiply-additions of 8-bit numbers a second: vpdpbusd, or vpmaddwd of widened ones
  double f32_macs;    // fused multiply-additions of floats
  double load_bytes;  // from the first-level cache
};

// Of the instruction set that kernels() has chosen; all zero for the scalar one, whose peak is the compiler's.
const Peak &peak();

// Counters "GMAC" (a second) and "of_peak" of a benchmark with this many multiply-additions an iteration.
inline void rate_against(benchmark::State &state, double macs, double peak_macs) {
  state.counters["GMAC"] = benchmark::Counter(macs * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  if (peak_macs > 0)
    state.counters["of_peak"] = benchmark::Counter(macs / peak_macs, benchmark::Counter::kIsIterationInvariantRate);
}

#endif
