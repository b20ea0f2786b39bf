// AVX2 products of codes, and the table; what has floats in it is in floats_avx2.cpp.
//
// vpmaddubsw would saturate (255 * 127 * 2 > 32767), so that 8-bit codes are widened to 16 bits and multiplied by
// vpmaddwd; with 4-bit ones it does not.  AVX2 has no masked byte loads: nothing beyond n is ever read, so the
// last coordinates come by a load that ends with the range and is masked, or one by one where the range is
// shorter than a load.  This file is compiled for a machine that the rest of the program may not run on, so
// nothing in it may be emitted with external linkage but the table: no std:: templates, no inline functions of
// our own headers (the linker would be free to keep these copies for everyone).
#if defined(__x86_64__)
#include "kernel/avx2.hpp"
#include "kernel/kernels.hpp"

namespace phnsw {
namespace {

__m256i add_products(__m256i sum, __m256i a, __m256i b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }

// 8 bytes to 16 nibbles in order, minus 8.
__m256i nibbles16(const std::uint8_t *p) {
  const __m128i wide = _mm_cvtepu8_epi16(load8bytes(p));
  const __m128i spread = _mm_and_si128(_mm_or_si128(wide, _mm_slli_epi16(wide, 4)), _mm_set1_epi8(15));
  return _mm256_cvtepi8_epi16(_mm_sub_epi8(spread, _mm_set1_epi8(8)));
}

// Sources of coordinates: 16 as 16-bit integers; the 16 that end at n, of which the last `rest` count; one.
__m128i last16(const void *end, std::uint32_t rest) {
  return _mm_and_si128(load16(static_cast<const char *>(end) - 16), _mm256_extracti128_si256(last32(rest), 1));
}
struct Unsigned {
  const std::uint8_t *p;
  __m256i wide(std::uint32_t i) const { return _mm256_cvtepu8_epi16(load16(p + i)); }
  __m256i last(std::uint32_t n, std::uint32_t rest) const { return _mm256_cvtepu8_epi16(last16(p + n, rest)); }
  std::int32_t one(std::uint32_t i) const { return p[i]; }
};
struct Bytes {
  const std::int8_t *p;
  __m256i wide(std::uint32_t i) const { return _mm256_cvtepi8_epi16(load16(p + i)); }
  __m256i last(std::uint32_t n, std::uint32_t rest) const { return _mm256_cvtepi8_epi16(last16(p + n, rest)); }
  std::int32_t one(std::uint32_t i) const { return p[i]; }
};
struct Nibbles {
  const std::uint8_t *p;
  __m256i wide(std::uint32_t i) const { return nibbles16(p + i / 2); }
  std::int32_t one(std::uint32_t i) const { return nibble(p, i); }
};

template <class A, class B>
std::int32_t dot_integer(A a, B b, std::uint32_t n) {
  __m256i s0 = _mm256_setzero_si256();
  __m256i s1 = s0;
  __m256i s2 = s0;
  __m256i s3 = s0;
  std::uint32_t i = 0;
  for (; i + 64 <= n; i += 64) {
    s0 = add_products(s0, a.wide(i), b.wide(i));
    s1 = add_products(s1, a.wide(i + 16), b.wide(i + 16));
    s2 = add_products(s2, a.wide(i + 32), b.wide(i + 32));
    s3 = add_products(s3, a.wide(i + 48), b.wide(i + 48));
  }
  for (; i + 16 <= n; i += 16) s0 = add_products(s0, a.wide(i), b.wide(i));
  if constexpr (requires { b.last(n, 0); }) {
    if (i < n && n >= 16) {
      s1 = add_products(s1, a.last(n, n - i), b.last(n, n - i));
      i = n;
    }
  }
  std::int32_t sum = reduce(_mm256_add_epi32(_mm256_add_epi32(s0, s1), _mm256_add_epi32(s2, s3)));
  for (; i < n; i++) sum += a.one(i) * b.one(i);
  return sum;
}

std::int32_t dot_u8s8(const std::uint8_t *a, const std::int8_t *b, std::uint32_t n) {
  return dot_integer(Unsigned{a}, Bytes{b}, n);
}

// Four codes: |a - 128| by b with the signs of a - 128, which vpmaddubsw does not saturate with (2 * 127 * 127 <
// 32,768): two thirds of the instructions that widening takes.  REQUIRES: n >= 32.
void dots4_s8s8(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t n, std::int32_t *dots) {
  const __m256i offset = _mm256_set1_epi8(-128);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  const auto add = [&](__m256i query, std::uint32_t i) {
    const __m256i size = _mm256_abs_epi8(query);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
      sums[c] = add_products(sums[c], _mm256_maddubs_epi16(size, _mm256_sign_epi8(load32(b[c] + i), query)), ones);
    }
  };
  std::uint32_t i = 0;
  for (; i + 32 <= n; i += 32) add(_mm256_xor_si256(load32(a + i), offset), i);
  if (i < n) add(_mm256_and_si256(_mm256_xor_si256(load32(a + n - 32), offset), last32(n - i)), n - 32);
  _mm_storeu_si128(reinterpret_cast<__m128i *>(dots), reduce4(sums[0], sums[1], sums[2], sums[3]));
}

// One code, in 16 bits as dot_u8s8, with the 128 taken off.
std::int32_t dot_query(const std::uint8_t *a, const std::int8_t *b, std::uint32_t n) {
  const __m256i offset = _mm256_set1_epi16(128);
  __m256i sum = _mm256_setzero_si256();
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) sum = add_products(sum, _mm256_sub_epi16(Unsigned{a}.wide(i), offset), Bytes{b}.wide(i));
  std::int32_t dot = reduce(sum);
  for (; i < n; i++) dot += (a[i] - 128) * b[i];
  return dot;
}

void dots_u8s8(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
               std::int32_t *dots) {
  std::uint32_t i = 0;
  for (; n >= 32 && i + 4 <= count; i += 4) dots4_s8s8(a, b + i, n, dots + i);
  for (; i < count; i++) dots[i] = dot_query(a, b[i], n);
}

// Four codes; both sums by sizes and signs.  n: a multiple of 32.
void dots4_squares(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t n, std::int32_t *dots,
                   std::int32_t *squares) {
  const __m256i offset = _mm256_set1_epi8(-128);
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i zero = _mm256_setzero_si256();
  __m256i sums[4] = {zero, zero, zero, zero}, own[4] = {zero, zero, zero, zero};
  for (std::uint32_t i = 0; i < n; i += 32) {
    const __m256i query = _mm256_xor_si256(load32(a + i), offset);
    const __m256i size = _mm256_abs_epi8(query);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
      const __m256i code = load32(b[c] + i);
      const __m256i code_size = _mm256_abs_epi8(code);
      sums[c] = add_products(sums[c], _mm256_maddubs_epi16(size, _mm256_sign_epi8(code, query)), ones);
      own[c] = add_products(own[c], _mm256_maddubs_epi16(code_size, code_size), ones);
    }
  }
  _mm_storeu_si128(reinterpret_cast<__m128i *>(dots), reduce4(sums[0], sums[1], sums[2], sums[3]));
  _mm_storeu_si128(reinterpret_cast<__m128i *>(squares), reduce4(own[0], own[1], own[2], own[3]));
}

void dots_squares(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
                  std::int32_t *dots, std::int32_t *squares) {
  by_four(dots4_squares, a, b, count, n, dots, squares);
}

std::int32_t dot_s8s8(const std::int8_t *a, const std::int8_t *b, std::uint32_t n) {
  return dot_integer(Bytes{a}, Bytes{b}, n);
}

// vpmaddubsw does not saturate here: 2 * 255 * 8 < 32,767.
std::int32_t dot_u8s4(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n) {
  const __m256i eight = _mm256_set1_epi8(8);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i s0 = _mm256_setzero_si256();
  __m256i s1 = s0;
  std::uint32_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const __m256i p0 = _mm256_maddubs_epi16(load32(a + i), _mm256_sub_epi8(spread32(b + i / 2), eight));
    const __m256i p1 = _mm256_maddubs_epi16(load32(a + i + 32), _mm256_sub_epi8(spread32(b + i / 2 + 16), eight));
    s0 = add_products(s0, p0, ones);
    s1 = add_products(s1, p1, ones);
  }
  return reduce(_mm256_add_epi32(s0, s1)) + dot_integer(Unsigned{a + i}, Nibbles{b + i / 2}, n - i);
}

// With A, B the stored nibbles: <A - 8, B - 8> = <A, B - 8> - <8, B - 8>, pair by pair within 16 bits.
std::int32_t dot_s4s4(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n) {
  const __m256i eight = _mm256_set1_epi8(8);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  std::uint32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i b0 = _mm256_sub_epi8(spread32(b + i / 2), eight);
    const __m256i pairs =
        _mm256_sub_epi16(_mm256_maddubs_epi16(spread32(a + i / 2), b0), _mm256_maddubs_epi16(eight, b0));
    sum = add_products(sum, pairs, ones);
  }
  return reduce(sum) + dot_integer(Nibbles{a + i / 2}, Nibbles{b + i / 2}, n - i);
}

}  // namespace

constinit const Kernels kAvx2Kernels = {
    .name = "avx2",
    .simd = Simd::kAvx2,
    .dot_u8s8 = dot_u8s8,
    .dot_s8s8 = dot_s8s8,
    .dots_u8s8 = dots_u8s8,
    .dots_added = 0,
    .dots_squares = dots_squares,
    .dot_u8s4 = dot_u8s4,
    .dot_s4s4 = dot_s4s4,
    .square_f32s8 = avx2::square_f32s8,
    .dot_f32s8 = avx2::dot_f32s8,
    .square_f32s4 = avx2::square_f32s4,
    .dot_f32s4 = avx2::dot_f32s4,
    .l2_f32 = avx2::l2_f32,
    .ip_f32 = avx2::ip_f32,
    .l1_f32 = avx2::l1_f32,
    .cosine_f32 = avx2::cosine_f32,
    .widen = avx2::widen,
    .narrow = avx2::narrow,
    .scale = avx2::scale_by,
    .subtract = avx2::subtract,
    .flip = avx2::flip,
    .mix = avx2::mix,
    .fwht = avx2::fwht,
    .quantise = avx2::quantise,
    .code_sums = avx2::code_sums,
};

}  // namespace phnsw
#endif  // __x86_64__
