// What the AVX2 files share: loads and sums over a register's lanes, and the functions that the tables "avx2"
// and "avxvnni" both name.
//
// Empty for a compiler that was not told of AVX2.  The helpers are static: each file keeps its own copy.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>

#include <cstdint>

namespace phnsw {

[[maybe_unused]] static __m128i load16(const void *p) { return _mm_loadu_si128(static_cast<const __m128i *>(p)); }
[[maybe_unused]] static __m256i load32(const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
[[maybe_unused]] static __m128i load8bytes(const void *p) { return _mm_loadl_epi64(static_cast<const __m128i *>(p)); }

[[maybe_unused]] static std::int32_t reduce(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

// The sums of four registers, in order.
[[maybe_unused]] static __m128i reduce4(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

// Calls four(a, four codes, n, four dots, four squares) for all codes: Kernels::dots_squares.
template <class Four>
static inline void by_four(const Four &four, const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count,
                           std::uint32_t n, std::int32_t *dots, std::int32_t *squares) {
  std::uint32_t i = 0;
  for (; i + 4 <= count; i += 4) four(a, b + i, n, dots + i, squares + i);
  if (i == count) return;
  const std::int8_t *last[4];
  std::int32_t sums[4], own[4];
  for (std::uint32_t k = 0; k < 4; k++) last[k] = b[i + k < count ? i + k : i];
  four(a, last, n, sums, own);
  for (std::uint32_t k = 0; i + k < count; k++) {
    dots[i + k] = sums[k];
    squares[i + k] = own[k];
  }
}

// All bits in the last `rest` of 32 bytes: what a load that ends with the
// range may count, when the others were counted.
[[maybe_unused]] static __m256i last32(std::uint32_t rest) {
  alignas(64) static constexpr std::int64_t kBits[8] = {0, 0, 0, 0, -1, -1, -1, -1};
  return load32(reinterpret_cast<const char *>(kBits) + rest);
}

// ---- 4-bit coordinates

// 16 bytes to 32 stored nibbles (0 ... 15), in order.
[[maybe_unused]] static __m256i spread32(const std::uint8_t *p) {
  const __m128i bytes = load16(p);
  const __m128i low = _mm_and_si128(bytes, _mm_set1_epi8(15));
  const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
  return _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high));
}
[[maybe_unused]] static std::int32_t nibble(const std::uint8_t *b, std::uint32_t i) {
  return ((b[i / 2] >> ((i & 1) * 4)) & 15) - 8;
}

// Kernels::square_f32s8 ... Kernels::code_sums, in floats_avx2.cpp.
namespace avx2 {
float square_f32s8(const float *q, float scale, const std::int8_t *c, std::uint32_t n);
float dot_f32s8(const float *q, const std::int8_t *c, std::uint32_t n);
float square_f32s4(const float *q, float scale, const std::uint8_t *c, std::uint32_t n);
float dot_f32s4(const float *q, const std::uint8_t *c, std::uint32_t n);
double l2_f32(const float *a, const float *b, std::uint32_t n);
double ip_f32(const float *a, const float *b, std::uint32_t n);
double l1_f32(const float *a, const float *b, std::uint32_t n);
void cosine_f32(const float *a, const float *b, std::uint32_t n, double *ab, double *aa, double *bb);
void widen(const std::uint16_t *halves, float *out, std::uint32_t n);
void narrow(const float *x, std::uint16_t *halves, std::uint32_t n);
void scale_by(const float *x, double factor, float *out, std::uint32_t n);
float subtract(float *x, const float *y, std::uint32_t n);
void flip(float *x, const float *signs, std::uint32_t n);
void mix(float *x, std::uint32_t n);
void fwht(float *x, std::uint32_t log2n);
float quantise(const float *x, float inverse_scale, std::int32_t limit, std::int8_t *codes, std::uint32_t n);
void code_sums(const float *x, float scale, const std::int8_t *c, std::uint32_t n, std::int32_t *sum,
               std::int32_t *squares, double *residual2);

// GemmKernels::find_low_bits and find_largest, in gemm_avx2.cpp.
std::uint32_t find_low_bits(const std::uint64_t *numbers, std::uint32_t n, std::uint64_t bits, std::uint64_t mask);
std::uint32_t find_largest(const std::uint64_t *numbers, std::uint32_t n);
}  // namespace avx2

}  // namespace phnsw
#endif  // __AVX2__
