// Bulk builds through the C interface, with the seconds of each phase as counters; and the matrix kernels' rate.
//
// build/<rows>x<dims>/<threads>/<MB of memory>: rows are clusters of low intrinsic dimension, in memory before the
// clock starts.  PHNSW_BENCH_FVECS=FILE builds from a file of vectors instead, whatever the shape's name says.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/array.hpp"
#include "capi/phnsw_core.h"
#include "kernel/gemm.hpp"
#include "peak.hpp"

namespace {

struct Rows {
  std::uint32_t dims = 0;
  std::vector<float> values;
};

Rows clusters(std::size_t rows, std::uint32_t dims) {
  constexpr std::uint32_t kClusters = 200, kInner = 24;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> centres(std::size_t{kClusters} * dims), axes(centres.size() * kInner);
  for (float &x : centres) x = normal(random);
  for (float &x : axes) x = normal(random);
  Rows data{dims, std::vector<float>(rows * dims)};
  for (std::size_t i = 0; i < rows; i++) {
    const std::size_t cluster = random() % kClusters;
    float *row = data.values.data() + i * dims;
    for (std::uint32_t j = 0; j < dims; j++) row[j] = 0.9f * centres[cluster * dims + j] + 0.25f * normal(random);
    for (std::uint32_t k = 0; k < kInner; k++) {
      const float weight = 0.28f * normal(random);
      for (std::uint32_t j = 0; j < dims; j++) row[j] += weight * axes[(cluster * kInner + k) * dims + j];
    }
  }
  return data;
}

Rows from_file(const char *name) {
  std::FILE *file = std::fopen(name, "rb");
  if (file == nullptr) {
    std::perror(name);
    std::exit(1);
  }
  Rows data;
  std::int32_t dims = 0;
  while (std::fread(&dims, sizeof dims, 1, file) == 1) {
    data.dims = static_cast<std::uint32_t>(dims);
    data.values.resize(data.values.size() + data.dims);
    if (std::fread(data.values.data() + data.values.size() - data.dims, sizeof(float), data.dims, file) != data.dims)
      break;
  }
  std::fclose(file);
  return data;
}

const Rows &rows_of(std::size_t rows, std::uint32_t dims) {
  static std::map<std::pair<std::size_t, std::uint32_t>, Rows> cache;
  auto [at, fresh] = cache.try_emplace({rows, dims});
  if (fresh) {
    const char *name = std::getenv("PHNSW_BENCH_FVECS");
    at->second = name != nullptr ? from_file(name) : clusters(rows, dims);
  }
  return at->second;
}

// One build; the backend's side of the interface.  false: it failed.
bool build_once(const Rows &data, const phnsw_build_params &params, phnsw_build_result *result) {
  phnsw_error error{};
  phnsw_build *build = nullptr;
  phnsw_progress progress{};
  std::FILE *file = std::tmpfile();
  std::uint64_t mapped = 0;
  const std::vector<char> zeros(1 << 20);
  const std::size_t n = data.values.size() / data.dims;
  std::size_t at = 0;
  phnsw_status status = phnsw_build_create(&params, &build, &error);
  if (status == PHNSW_OK) status = phnsw_build_start(build, &error);
  bool finished = false;
  while (status == PHNSW_OK || status == PHNSW_RUNNING) {
    float *vectors;
    phnsw_tid *tids;
    std::uint32_t rows;
    if (at < n && (status = phnsw_build_chunk(build, &vectors, &tids, &rows, &error)) == PHNSW_OK) {
      rows = static_cast<std::uint32_t>(std::min<std::size_t>(rows, n - at));
      std::memcpy(vectors, data.values.data() + at * data.dims, std::size_t{rows} * data.dims * sizeof(float));
      for (std::uint32_t i = 0; i < rows; i++) {
        const std::size_t row = at + i;
        tids[i] = {static_cast<std::uint16_t>(row >> 24), static_cast<std::uint16_t>(row >> 8),
                   static_cast<std::uint16_t>((row & 255) + 1)};
      }
      status = phnsw_build_submit(build, rows, &error);
      at += rows;
      continue;
    }
    if (at == n && !finished) {
      finished = true;
      if (phnsw_build_finish_rows(build, &error) != PHNSW_OK) break;
    }
    status = phnsw_build_wait(build, 50, &progress, &error);
    if (status == PHNSW_OK) break;
    for (; mapped < progress.spill_bytes; mapped += zeros.size()) {
      if (pwrite(fileno(file), zeros.data(), zeros.size(), static_cast<off_t>(mapped)) < 0) std::abort();
      if (mapped + zeros.size() >= progress.spill_bytes)
        phnsw_build_map_spill(build, fileno(file), progress.spill_bytes, &error);
    }
  }
  if (status == PHNSW_OK) status = phnsw_build_result_get(build, result, &error);
  phnsw_build_destroy(build);
  std::fclose(file);
  if (status != PHNSW_OK) std::fprintf(stderr, "build failed: %s\n", error.message);
  return status == PHNSW_OK;
}

void build_index(benchmark::State &state) {
  const Rows &data = rows_of(static_cast<std::size_t>(state.range(0)), static_cast<std::uint32_t>(state.range(1)));
  phnsw_build_params params{};
  params.metric = PHNSW_L2;
  params.dims = data.dims;
  params.m = PHNSW_M_DEFAULT;
  params.ef_construction = PHNSW_EFC_DEFAULT;
  params.seed = 1;
  params.threads = static_cast<std::uint32_t>(state.range(2));
  params.rows_expected = static_cast<std::uint32_t>(data.values.size() / data.dims);
  params.memory_bytes = static_cast<std::size_t>(state.range(3)) << 20;
  params.calibrate = true;
  static const char *const kPhases[] = {"",        "1_load",  "2_duplicates", "3_partition", "4_leaves",
                                        "5_prune", "6_upper", "7_reach",      "8_order",     "9_calibrate"};
  for (auto _ : state) {
    phnsw_build_result result;
    if (!build_once(data, params, &result)) {
      state.SkipWithError("the build failed");
      return;
    }
    for (int phase = PHNSW_PHASE_LOAD; phase <= PHNSW_PHASE_CALIBRATE; phase++)
      state.counters[kPhases[phase]] = result.seconds[phase];
    for (std::uint32_t i = 0; i < result.meta.calibrations; i++) {
      if (result.meta.calibration[i].ef == 40) state.counters["recall_40"] = result.meta.calibration[i].recall;
    }
  }
}
BENCHMARK(build_index)
    ->ArgNames({"rows", "dims", "threads", "MB"})
    ->Args({20000, 100, 2, 4096})
    ->Args({100000, 768, 1, 4096})
    ->Args({100000, 768, 2, 4096})
    ->Args({100000, 768, 2, 64})
    ->Args({340000, 100, 2, 4096})
    ->Args({340000, 100, 2, 64})
    ->Args({1000000, 128, 2, 4096})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->Iterations(1);

// A leaf of n points: the rate counts each pair once.
void leaf(benchmark::State &state) {
  const std::uint32_t n = static_cast<std::uint32_t>(state.range(0)), dims = static_cast<std::uint32_t>(state.range(1));
  const phnsw::GemmKernels &gemm = phnsw::gemm_kernels();
  const std::uint32_t groups = (dims + 3) / 4, padded = (n + gemm.panel - 1) / gemm.panel * gemm.panel;
  const std::size_t stride = (dims + 63) / 64 * 64;
  phnsw::Array<std::int8_t> codes(n * stride);
  std::vector<phnsw_code_head> heads(n);
  std::vector<std::uint32_t> ids(n), keys(padded * 4);
  std::vector<std::int32_t> columns(padded * 4);
  std::mt19937 random(1);
  for (std::uint32_t i = 0; i < n; i++) {
    std::int32_t sum = 0, squares = 0;
    for (std::size_t j = 0; j < stride; j++) {
      const std::int8_t c =
          j < dims ? static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127) : std::int8_t{0};
      codes[i * stride + j] = c;
      sum += c;
      squares += c * c;
    }
    heads[i] = {1.0f, static_cast<float>(squares), sum, 0};
    ids[i] = i;
  }
  phnsw::Array<std::uint8_t> data(padded * gemm.packed_bytes(groups)), scratch(gemm.scratch_bytes(groups) + 64);
  std::vector<float> norm2(padded), scale(padded);
  phnsw::GemmPanels panels{data.data(), norm2.data(), scale.data(), 0};
  const phnsw::CodeRows rows{codes.data(), heads.data(), stride};
  for (auto _ : state) {
    gemm.pack(rows, ids.data(), 0, n, groups, &panels);
    gemm.self_nearest(4, rows, ids.data(), 0, n, panels, groups, scratch.data(), columns.data(), keys.data());
    benchmark::DoNotOptimize(keys.data());
  }
  state.SetLabel(gemm.name);
  rate_against(state, 0.5 * n * n * dims, peak().int8_macs);
}
BENCHMARK(leaf)->Args({1024, 100})->Args({1024, 128})->Args({680, 768})->Args({1024, 768});

}  // namespace
