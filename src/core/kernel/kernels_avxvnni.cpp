// Products of codes by AVX-VNNI: vpdpbusd on registers of 256 bits, for processors that have it without AVX-512.  The
// rest of the table is AVX2's, and so are the rules (kernels_avx2.cpp).
#if defined(__x86_64__)
#include "kernel/avx2.hpp"
#include "kernel/kernels.hpp"

namespace phnsw {
namespace {

// sum += products of unsigned by signed bytes, four a lane.
__m256i add_products(__m256i sum, __m256i a, __m256i b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }

// The last coordinates of a range that is shorter than a load.
template <class A>
std::int32_t few(const A *a, const std::int8_t *b, std::uint32_t n) {
  std::int32_t sum = 0;
  for (std::uint32_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

std::int32_t dot_u8s8(const std::uint8_t *a, const std::int8_t *b, std::uint32_t n) {
  if (n < 32) return few(a, b, n);
  __m256i s0 = _mm256_setzero_si256();
  __m256i s1 = s0;
  std::uint32_t i = 0;
  for (; i + 64 <= n; i += 64) {
    s0 = add_products(s0, load32(a + i), load32(b + i));
    s1 = add_products(s1, load32(a + i + 32), load32(b + i + 32));
  }
  if (i + 32 <= n) {
    s0 = add_products(s0, load32(a + i), load32(b + i));
    i += 32;
  }
  if (i < n) s1 = add_products(s1, _mm256_and_si256(load32(a + n - 32), last32(n - i)), load32(b + n - 32));
  return reduce(_mm256_add_epi32(s0, s1));
}

// Four codes: one load of the query serves all, one fold makes the four sums.
void dots4_u8s8(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t n, std::int32_t *dots) {
  __m256i s0 = _mm256_setzero_si256();
  __m256i s1 = s0;
  __m256i s2 = s0;
  __m256i s3 = s0;
  const auto step = [&](__m256i q, std::uint32_t at) {
    s0 = add_products(s0, q, load32(b[0] + at));
    s1 = add_products(s1, q, load32(b[1] + at));
    s2 = add_products(s2, q, load32(b[2] + at));
    s3 = add_products(s3, q, load32(b[3] + at));
  };
  std::uint32_t i = 0;
  for (; i + 32 <= n; i += 32) step(load32(a + i), i);
  if (i < n) step(_mm256_and_si256(load32(a + n - 32), last32(n - i)), n - 32);
  _mm_storeu_si128(reinterpret_cast<__m128i *>(dots), reduce4(s0, s1, s2, s3));
}

void dots_u8s8(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
               std::int32_t *dots) {
  std::uint32_t i = 0;
  for (; n >= 32 && i + 4 <= count; i += 4) dots4_u8s8(a, b + i, n, dots + i);
  for (; i < count; i++) dots[i] = dot_u8s8(a, b[i], n);
}

// Four codes, the query as the signed side: <a, b> = <a, b + 128> - 128 sum(a),
// which is the same for all.  n: a multiple of 32.
void dots4_squares(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t n, std::int32_t *dots,
                   std::int32_t *squares) {
  const __m256i offset = _mm256_set1_epi8(-128);
  const __m256i zero = _mm256_setzero_si256();
  __m256i sums[4] = {zero, zero, zero, zero}, own[4] = {zero, zero, zero, zero}, excess = zero;
  for (std::uint32_t i = 0; i < n; i += 32) {
    const __m256i query = _mm256_xor_si256(load32(a + i), offset);
    excess = add_products(excess, offset, query);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
      const __m256i code = load32(b[c] + i);
      const __m256i code_size = _mm256_abs_epi8(code);
      sums[c] = add_products(sums[c], _mm256_xor_si256(code, offset), query);
      own[c] = add_products(own[c], code_size, code_size);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; c++) sums[c] = _mm256_sub_epi32(sums[c], excess);
  _mm_storeu_si128(reinterpret_cast<__m128i *>(dots), reduce4(sums[0], sums[1], sums[2], sums[3]));
  _mm_storeu_si128(reinterpret_cast<__m128i *>(squares), reduce4(own[0], own[1], own[2], own[3]));
}

void dots_squares(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
                  std::int32_t *dots, std::int32_t *squares) {
  by_four(dots4_squares, a, b, count, n, dots, squares);
}

// <a, b> = <a + 128, b> - <128, b>: both by vpdpbusd, as (a ^ 0x80) read unsigned is a + 128.
std::int32_t dot_s8s8(const std::int8_t *a, const std::int8_t *b, std::uint32_t n) {
  if (n < 32) return few(a, b, n);
  const __m256i offset = _mm256_set1_epi8(-128);
  __m256i sum = _mm256_setzero_si256();
  __m256i excess = sum;
  std::uint32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i y = load32(b + i);
    sum = add_products(sum, _mm256_xor_si256(load32(a + i), offset), y);
    excess = add_products(excess, offset, y);
  }
  if (i < n) {
    const __m256i y = _mm256_and_si256(load32(b + n - 32), last32(n - i));
    sum = add_products(sum, _mm256_xor_si256(load32(a + n - 32), offset), y);
    excess = add_products(excess, offset, y);
  }
  return reduce(_mm256_sub_epi32(sum, excess));
}

std::int32_t dot_u8s4(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n) {
  const __m256i eight = _mm256_set1_epi8(8);
  __m256i s0 = _mm256_setzero_si256();
  __m256i s1 = s0;
  std::uint32_t i = 0;
  for (; i + 64 <= n; i += 64) {
    s0 = add_products(s0, load32(a + i), _mm256_sub_epi8(spread32(b + i / 2), eight));
    s1 = add_products(s1, load32(a + i + 32), _mm256_sub_epi8(spread32(b + i / 2 + 16), eight));
  }
  if (i + 32 <= n) {
    s0 = add_products(s0, load32(a + i), _mm256_sub_epi8(spread32(b + i / 2), eight));
    i += 32;
  }
  std::int32_t sum = reduce(_mm256_add_epi32(s0, s1));
  for (; i < n; i++) sum += a[i] * nibble(b, i);
  return sum;
}

// With A, B the stored nibbles: <A - 8, B - 8> = <A, B - 8> - <8, B - 8>.
std::int32_t dot_s4s4(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n) {
  const __m256i eight = _mm256_set1_epi8(8);
  __m256i total = _mm256_setzero_si256();
  __m256i excess = total;
  std::uint32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i y = _mm256_sub_epi8(spread32(b + i / 2), eight);
    total = add_products(total, spread32(a + i / 2), y);
    excess = add_products(excess, eight, y);
  }
  std::int32_t sum = reduce(_mm256_sub_epi32(total, excess));
  for (; i < n; i++) sum += nibble(a, i) * nibble(b, i);
  return sum;
}

}  // namespace

constinit const Kernels kAvxVnniKernels = {
    .name = "avxvnni",
    .simd = Simd::kAvxVnni,
    .dot_u8s8 = dot_u8s8,
    .dot_s8s8 = dot_s8s8,
    .dots_u8s8 = dots_u8s8,
    .dots_added = 128,
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
