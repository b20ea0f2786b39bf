// What the AVX-512 files share: masked tails, and the functions of encode_avx512.cpp that kernels_avx512.cpp's table
// names.
//
// Empty for a compiler that was not told of AVX-512.  The helpers are static: nothing here may be shared with other
// files.
#pragma once

#if defined(__AVX512F__)
// gcc 12's own headers leave the "undefined" operand of unmasked intrinsics uninitialised (PR 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstdint>

namespace phnsw {

[[maybe_unused]] static __mmask64 tail64(std::uint32_t n) { return n >= 64 ? ~0ULL : (1ULL << n) - 1; }
[[maybe_unused]] static __mmask16 tail16(std::uint32_t n) { return static_cast<__mmask16>((1u << n) - 1); }  // n < 16
[[maybe_unused]] static __mmask8 tail8(std::uint32_t n) { return static_cast<__mmask8>((1u << n) - 1); }     // n < 8

[[maybe_unused]] static __m512d load8(const float *x) { return _mm512_cvtps_pd(_mm256_loadu_ps(x)); }
[[maybe_unused]] static __m512d load8(const float *x, __mmask8 mask) {
  return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, x));
}

// Kernels::scale ... Kernels::code_sums.
namespace avx512 {
void scale_by(const float *x, double factor, float *out, std::uint32_t n);
float subtract(float *x, const float *y, std::uint32_t n);
void flip(float *x, const float *signs, std::uint32_t n);
void mix(float *x, std::uint32_t n);
void fwht(float *x, std::uint32_t log2n);
float quantise(const float *x, float inverse_scale, std::int32_t limit, std::int8_t *codes, std::uint32_t n);
void code_sums(const float *x, float scale, const std::int8_t *c, std::uint32_t n, std::int32_t *sum,
               std::int32_t *squares, double *residual2);
}  // namespace avx512

}  // namespace phnsw
#endif  // __AVX512F__
