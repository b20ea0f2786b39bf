// The table of leaf kernels: one translation unit per instruction set, one table each, chosen once per process.
//
// Every kernel is a pure function: it reads the given ranges and nothing beyond (codes lie on pages whose next byte may
// not be mapped), allocates nothing, cannot fail.  scalar.cpp is the reference; the others agree with it exactly where
// the result is an integer or where only element-wise operations are involved (scale, subtract, flip, mix, fwht,
// quantise: the same roundings in the same order, so that every machine makes the same codes), and within a stated
// tolerance for the floating-point sums.  No alignment is required.
//
// Environment PHNSW_SIMD=scalar|avx2|avxvnni|avx512 forces a table at first use; force_kernels() does so later.
#pragma once

#include <cstdint>

#include "base/cpu.hpp"

namespace phnsw {

struct Kernels {
  const char *name;
  Simd simd;

  // Sum of a[i] * b[i], n coordinates; exact in int32 for n <= 16,001.
  // u8s8: a is a query's code with 128 added, so the caller subtracts 128 * sum(b).
  std::int32_t (*dot_u8s8)(const std::uint8_t *a, const std::int8_t *b, std::uint32_t n);
  std::int32_t (*dot_s8s8)(const std::int8_t *a, const std::int8_t *b, std::uint32_t n);
  // Codes of a hop (-127 ... 127), whose horizontal sums are taken together: dots[i] =
  // dot_u8s8(a, b[i], n) where dots_added is 128; where it is 0 the kernel has taken the 128
  // off a's coordinates, and the caller subtracts nothing.
  void (*dots_u8s8)(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
                    std::int32_t *dots);
  std::uint32_t dots_added;
  // The first coordinates of a hop's codes: dots[i] = <a - 128, b[i]>, squares[i] =
  // <b[i], b[i]>.  REQUIRES: n is a multiple of 64.
  void (*dots_squares)(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
                       std::int32_t *dots, std::int32_t *squares);
  // b holds 4-bit coordinates, two a byte (even index in the low half), each stored as value + 8.
  // The result is that of the true (signed) values: no correction is left to the caller but a's 128.
  std::int32_t (*dot_u8s4)(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n);
  std::int32_t (*dot_s4s4)(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n);

  // Sum of (q[i] - scale * c[i])^2 and of q[i] * c[i] in float32 with at least 8 independent accumulators;
  // |error| <= float_sum_error(n) * (sum of the terms' magnitudes), the term being the rounded q[i] - scale * c[i]
  // squared, whose own rounding codec/README.md accounts for; a non-finite result on overflow.
  float (*square_f32s8)(const float *q, float scale, const std::int8_t *c, std::uint32_t n);
  float (*dot_f32s8)(const float *q, const std::int8_t *c, std::uint32_t n);
  float (*square_f32s4)(const float *q, float scale, const std::uint8_t *c, std::uint32_t n);
  float (*dot_f32s4)(const float *q, const std::uint8_t *c, std::uint32_t n);

  // The operators' own sums: float32 inputs, differences, products and sums in float64.
  double (*l2_f32)(const float *a, const float *b, std::uint32_t n);
  double (*ip_f32)(const float *a, const float *b, std::uint32_t n);
  double (*l1_f32)(const float *a, const float *b, std::uint32_t n);
  // <a,b>, |a|^2, |b|^2 in one pass.
  void (*cosine_f32)(const float *a, const float *b, std::uint32_t n, double *ab, double *aa, double *bb);

  // Half precision (IEEE 754 binary16, as bits) to float32, which is exact, and back, rounded to nearest, ties to
  // even: beyond the range infinity, of whatever is not a number some NaN.
  void (*widen)(const std::uint16_t *halves, float *out, std::uint32_t n);
  void (*narrow)(const float *x, std::uint16_t *halves, std::uint32_t n);

  // The steps of encoding.  out[i] = x[i] * factor, rounded once (out may be x).
  void (*scale)(const float *x, double factor, float *out, std::uint32_t n);
  // x[i] -= y[i]; returns the largest |x[i]|.
  float (*subtract)(float *x, const float *y, std::uint32_t n);
  // x[i] *= signs[i], each +1 or -1.
  void (*flip)(float *x, const float *signs, std::uint32_t n);
  // Rotates each pair (x[i], x[n-1-i]), i < n/2, to ((a + b) / sqrt 2, (a - b) / sqrt 2).
  void (*mix)(float *x, std::uint32_t n);
  // In-place fast Walsh-Hadamard transform of 2^log2n floats, scaled by 2^(-log2n/2) (first, not last).
  void (*fwht)(float *x, std::uint32_t log2n);
  // x[0 ... n) -> int8 codes round(x[i] * inverse_scale) clamped to [-limit, limit]; returns the largest |x[i]| seen
  // when codes is null (nothing else is done then).
  float (*quantise)(const float *x, float inverse_scale, std::int32_t limit, std::int8_t *codes, std::uint32_t n);
  // Sum of c[i], of c[i]^2, and in float64 of (x[i] - scale * c[i])^2.
  void (*code_sums)(const float *x, float scale, const std::int8_t *c, std::uint32_t n, std::int32_t *sum,
                    std::int32_t *squares, double *residual2);
};

// Bound of the relative error of the float32 sums above: any summation order with 8 or more accumulators.
constexpr double float_sum_error(std::uint32_t n) noexcept { return (n / 8 + 16) * 0x1.0p-24; }

// The table in use.
const Kernels &kernels() noexcept;
// nullptr name or "auto": the best.  false: unknown or not supported here.
bool force_kernels(const char *name) noexcept;

extern const Kernels kScalarKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;     // needs AVX2 and FMA
extern const Kernels kAvxVnniKernels;  // needs AVX-VNNI, too
extern const Kernels kAvx512Kernels;   // needs AVX-512 F, BW, VL, DQ and VNNI
#endif

}  // namespace phnsw
