// Micro benchmarks of the leaf kernels, of encoding and of the query: `phnsw_micro --benchmark_filter=...`, with
// PHNSW_SIMD to compare instruction sets; of_peak is the share of what peak.hpp measures.  Arguments are dimensions;
// codes come from a pool that fits the L2 cache, so that arithmetic is measured and not memory.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "base/array.hpp"
#include "base/rng.hpp"
#include "codec/codec.hpp"
#include "codec/query.hpp"
#include "kernel/kernels.hpp"
#include "peak.hpp"

namespace {

using phnsw::Array;
using phnsw::Codec;
using phnsw::kernels;
using phnsw::Query;
using phnsw::Rng;

constexpr std::size_t kPool = 64;

std::uint32_t dims_of(const benchmark::State &state) { return static_cast<std::uint32_t>(state.range(0)); }

template <class T>
Array<T> random_array(std::size_t n, std::uint64_t seed) {
  Array<T> array(n);
  Rng rng(seed);
  for (T &x : array) {
    if constexpr (std::is_floating_point_v<T>) {
      x = static_cast<T>(2 * rng.unit() - 1);
    } else {
      x = static_cast<T>(rng.next());
    }
  }
  return array;
}

// peak_macs: of the machine, by the kind of numbers.
template <class A, class B, class Kernel>
void run_dot(benchmark::State &state, std::size_t stride_b, double peak_macs, Kernel kernel) {
  const std::uint32_t n = dims_of(state);
  const Array<A> a = random_array<A>(n, 1);
  const Array<B> b = random_array<B>(stride_b * kPool, 2);
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernel(a.data(), b.data() + stride_b * (i++ % kPool), n));
  }
  rate_against(state, n, peak_macs);
}

void dot_u8s8(benchmark::State &state) {
  run_dot<std::uint8_t, std::int8_t>(state, dims_of(state), peak().int8_macs, kernels().dot_u8s8);
}
void dot_s8s8(benchmark::State &state) {
  run_dot<std::int8_t, std::int8_t>(state, dims_of(state), peak().int8_macs, kernels().dot_s8s8);
}
void dot_u8s4(benchmark::State &state) {
  run_dot<std::uint8_t, std::uint8_t>(state, (dims_of(state) + 1) / 2, peak().int8_macs, kernels().dot_u8s4);
}
void dot_s4s4(benchmark::State &state) {
  run_dot<std::uint8_t, std::uint8_t>(state, (dims_of(state) + 1) / 2, peak().int8_macs, kernels().dot_s4s4);
}
void square_f32s8(benchmark::State &state) {
  run_dot<float, std::int8_t>(
      state, dims_of(state), peak().f32_macs,
      [](const float *q, const std::int8_t *c, std::uint32_t n) { return kernels().square_f32s8(q, 0.01f, c, n); });
}
void l2_f32(benchmark::State &state) {
  run_dot<float, float>(state, dims_of(state), peak().f32_macs, kernels().l2_f32);
}
void cosine_f32(benchmark::State &state) {
  run_dot<float, float>(state, dims_of(state), peak().f32_macs / 3,
                        [](const float *a, const float *b, std::uint32_t n) {
                          double ab = 0, aa = 0, bb = 0;
                          kernels().cosine_f32(a, b, n, &ab, &aa, &bb);
                          return ab + aa + bb;
                        });
}

std::unique_ptr<Codec> make_codec(phnsw_metric metric, std::uint32_t dims) {
  phnsw_codec_params params;
  std::unique_ptr<Codec> codec;
  if (!Codec::choose(metric, dims, 16, 7, &params).ok() || !Codec::create(params, nullptr, &codec).ok()) std::abort();
  return codec;
}

void rotate(benchmark::State &state) {
  const phnsw::Rotation rotation(dims_of(state), 7);
  Array<float> x = random_array<float>(dims_of(state), 1);
  for (auto _ : state) {
    rotation.apply(x.data());
    benchmark::ClobberMemory();
  }
  // An addition of the transform counts as a multiply-addition: the instructions take as long.
  double power = 1, stages = 0;
  for (; 2 * power <= dims_of(state); stages++) power *= 2;
  rate_against(state, phnsw::Rotation::kRounds * power * stages, peak().f32_macs);
}

template <phnsw_metric metric>
void encode(benchmark::State &state) {
  const auto codec = make_codec(metric, dims_of(state));
  const Array<float> vector = random_array<float>(dims_of(state), 1);
  Array<float> scratch(codec->scratch_floats());
  Array<std::int8_t> codes(codec->code_dims());
  phnsw_code_head head;
  for (auto _ : state) {
    codec->encode(vector.data(), scratch.data(), &head, codes.data());
    benchmark::DoNotOptimize(head);
  }
}

class SlotPool {
 public:
  explicit SlotPool(const Codec &codec)
      : stride_(phnsw_slot_bytes(codec.code_dims(), codec.params().bits, 16)), bytes_(stride_ * kPool) {
    Array<float> scratch(codec.scratch_floats());
    Array<std::int8_t> codes(codec.code_dims());
    for (std::size_t i = 0; i < kPool; i++) {
      phnsw_slot *slot = reinterpret_cast<phnsw_slot *>(bytes_.data() + i * stride_);
      codec.encode(random_array<float>(codec.params().dims, i + 2).data(), scratch.data(), &slot->head, codes.data());
      codec.pack(codes.data(), slot->code);
      slots_.push_back(slot);
    }
  }
  const std::vector<const phnsw_slot *> &slots() const { return slots_; }

 private:
  std::size_t stride_;
  Array<char> bytes_;
  std::vector<const phnsw_slot *> slots_;
};

// Time per slot is the result divided by 64.
void query_score_64(benchmark::State &state) {
  const auto codec = make_codec(PHNSW_L2, dims_of(state));
  const SlotPool pool(*codec);
  Query query(*codec);
  query.set(random_array<float>(dims_of(state), 1).data(), PHNSW_FOR_SEARCH);
  float scores[kPool];
  for (auto _ : state) {
    query.score(pool.slots().data(), kPool, scores);
    benchmark::ClobberMemory();
  }
  rate_against(state, double{kPool} * codec->code_dims(), peak().int8_macs);
}

void query_bound(benchmark::State &state) {
  const auto codec = make_codec(PHNSW_L2, dims_of(state));
  const SlotPool pool(*codec);
  Query query(*codec);
  query.set(random_array<float>(dims_of(state), 1).data(), PHNSW_FOR_SEARCH);
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(query.bound(*pool.slots()[i++ % kPool]));
}

void query_set(benchmark::State &state) {
  const auto codec = make_codec(PHNSW_L2, dims_of(state));
  Query query(*codec);
  const Array<float> vector = random_array<float>(dims_of(state), 1);
  for (auto _ : state) query.set(vector.data(), PHNSW_FOR_SEARCH);
}

}  // namespace

#define PHNSW_DIMS Arg(100)->Arg(768)->Arg(1536)

BENCHMARK(dot_u8s8)->PHNSW_DIMS;
BENCHMARK(dot_s8s8)->PHNSW_DIMS;
BENCHMARK(dot_u8s4)->PHNSW_DIMS;
BENCHMARK(dot_s4s4)->PHNSW_DIMS;
BENCHMARK(square_f32s8)->PHNSW_DIMS;
BENCHMARK(l2_f32)->PHNSW_DIMS;
BENCHMARK(cosine_f32)->PHNSW_DIMS;
BENCHMARK(rotate)->PHNSW_DIMS;
BENCHMARK(encode<PHNSW_L2>)->PHNSW_DIMS;
BENCHMARK(encode<PHNSW_IP>)->PHNSW_DIMS;
BENCHMARK(encode<PHNSW_COSINE>)->PHNSW_DIMS->Arg(16000);
BENCHMARK(query_score_64)->PHNSW_DIMS;
BENCHMARK(query_bound)->PHNSW_DIMS;
BENCHMARK(query_set)->PHNSW_DIMS;
