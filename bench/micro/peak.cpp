#include "peak.hpp"

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernel/kernels.hpp"

namespace {

constexpr int kSteps = 20000;
constexpr int kStreams = 12;  // independent results, more than latency x units
constexpr std::size_t kLoads = 256;

// Instructions have no operand in memory and no result that the next one waits for; the
// empty asm keeps the compiler from seeing through them.
#define KEEP(x) asm volatile("" : "+v"(x))

[[gnu::target("avx512f,avx512vnni")]] void int8_avx512() {
  __m512i sum[kStreams], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
#pragma GCC unroll 16
  for (auto &s : sum) s = _mm512_setzero_si512();
  for (int i = 0; i < kSteps; i++) {
#pragma GCC unroll 16
    for (auto &s : sum) {
      s = _mm512_dpbusd_epi32(s, a, b);
      KEEP(s);
    }
  }
}

[[gnu::target("avx512f")]] void f32_avx512() {
  __m512 sum[kStreams], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
#pragma GCC unroll 16
  for (auto &s : sum) s = _mm512_setzero_ps();
  for (int i = 0; i < kSteps; i++) {
#pragma GCC unroll 16
    for (auto &s : sum) {
      s = _mm512_fmadd_ps(s, a, b);
      KEEP(s);
    }
  }
}

[[gnu::target("avx512f")]] void load_avx512(const char *bytes) {
  for (int i = 0; i < kSteps / 16; i++) {
#pragma GCC unroll 16
    for (std::size_t j = 0; j < kLoads; j++) {
      __m512i x = _mm512_load_si512(bytes + 64 * j);
      KEEP(x);
    }
  }
}

[[gnu::target("avx2")]] void int8_avx2() {
  __m256i sum[kStreams], a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(5);
#pragma GCC unroll 16
  for (auto &s : sum) s = _mm256_setzero_si256();
  for (int i = 0; i < kSteps; i++) {
#pragma GCC unroll 16
    for (auto &s : sum) {
      KEEP(a);
      s = _mm256_add_epi32(s, _mm256_madd_epi16(a, b));
      KEEP(s);
    }
  }
}

[[gnu::target("avxvnni")]] void int8_avxvnni() {
  __m256i sum[kStreams], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
#pragma GCC unroll 16
  for (auto &s : sum) s = _mm256_setzero_si256();
  for (int i = 0; i < kSteps; i++) {
#pragma GCC unroll 16
    for (auto &s : sum) {
      s = _mm256_dpbusd_avx_epi32(s, a, b);
      KEEP(s);
    }
  }
}

[[gnu::target("avx2,fma")]] void f32_avx2() {
  __m256 sum[kStreams], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
#pragma GCC unroll 16
  for (auto &s : sum) s = _mm256_setzero_ps();
  for (int i = 0; i < kSteps; i++) {
#pragma GCC unroll 16
    for (auto &s : sum) {
      s = _mm256_fmadd_ps(s, a, b);
      KEEP(s);
    }
  }
}

[[gnu::target("avx2")]] void load_avx2(const char *bytes) {
  for (int i = 0; i < kSteps / 16; i++) {
#pragma GCC unroll 16
    for (std::size_t j = 0; j < 2 * kLoads; j++) {
      __m256i x = _mm256_load_si256(reinterpret_cast<const __m256i *>(bytes + 32 * j));
      KEEP(x);
    }
  }
}

// Units a second at best: the fastest of many short runs, of which most are not interrupted.
template <class Work>
double best_rate(double units, Work work) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (int i = 0; i < 200; i++) {
    const auto start = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return units / best;
}

Peak measure() {
  alignas(64) static char bytes[64 * kLoads];
  const double streams = double{kSteps} * kStreams, loaded = double{kSteps / 16} * sizeof bytes;
  const auto load = [](auto kernel) { return [kernel] { kernel(bytes); }; };
  if (std::strcmp(phnsw::kernels().name, "avx512") == 0)
    return {best_rate(64 * streams, int8_avx512), best_rate(16 * streams, f32_avx512),
            best_rate(loaded, load(load_avx512))};
  if (std::strcmp(phnsw::kernels().name, "avxvnni") == 0)
    return {best_rate(32 * streams, int8_avxvnni), best_rate(8 * streams, f32_avx2),
            best_rate(loaded, load(load_avx2))};
  if (std::strcmp(phnsw::kernels().name, "avx2") == 0)
    return {best_rate(16 * streams, int8_avx2), best_rate(8 * streams, f32_avx2), best_rate(loaded, load(load_avx2))};
  return {};
}

// The numbers themselves, as counters of benchmarks that do nothing.
void show(benchmark::State &state, const char *name, double value) {
  for (auto _ : state) benchmark::DoNotOptimize(value);
  state.SetLabel(phnsw::kernels().name);
  state.counters[name] = value * 1e-9;
}
void peak_int8(benchmark::State &state) { show(state, "GMAC", peak().int8_macs); }
void peak_f32(benchmark::State &state) { show(state, "GMAC", peak().f32_macs); }
void peak_load(benchmark::State &state) { show(state, "GB", peak().load_bytes); }
BENCHMARK(peak_int8)->Iterations(1);
BENCHMARK(peak_f32)->Iterations(1);
BENCHMARK(peak_load)->Iterations(1);

}  // namespace

const Peak &peak() {
  static const Peak found = measure();
  return found;
}
