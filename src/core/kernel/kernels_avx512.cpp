// AVX-512 (F, BW, VL, DQ) and VNNI kernels.
//
// Tails are read with masked loads, which do not touch masked-out bytes: nothing beyond n is ever read.
// This file is compiled for a machine that the rest of the program may not run on, so nothing in it may be emitted with
// external linkage but the table, and the functions of encode_avx512.cpp that it names: no std:: templates, no inline
// functions of our own headers (the linker would be free to keep these copies for everyone).
#if defined(__x86_64__)
#include "kernel/avx2.hpp"
#include "kernel/avx512.hpp"
#include "kernel/kernels.hpp"

namespace phnsw {
namespace {

// ---- integer dot products

std::int32_t dot_u8s8(const std::uint8_t *a, const std::int8_t *b, std::uint32_t n) {
  __m512i s0 = _mm512_setzero_si512();
  __m512i s1 = s0;
  __m512i s2 = s0;
  __m512i s3 = s0;
  std::uint32_t i = 0;
  for (; i + 256 <= n; i += 256) {
    s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
    s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(a + i + 64), _mm512_loadu_si512(b + i + 64));
    s2 = _mm512_dpbusd_epi32(s2, _mm512_loadu_si512(a + i + 128), _mm512_loadu_si512(b + i + 128));
    s3 = _mm512_dpbusd_epi32(s3, _mm512_loadu_si512(a + i + 192), _mm512_loadu_si512(b + i + 192));
  }
  if (i + 128 <= n) {
    s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
    s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(a + i + 64), _mm512_loadu_si512(b + i + 64));
    i += 128;
  }
  if (i + 64 <= n) {
    s2 = _mm512_dpbusd_epi32(s2, _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
    i += 64;
  }
  if (i < n) {
    const __mmask64 mask = tail64(n - i);
    s3 = _mm512_dpbusd_epi32(s3, _mm512_maskz_loadu_epi8(mask, a + i), _mm512_maskz_loadu_epi8(mask, b + i));
  }
  return _mm512_reduce_add_epi32(_mm512_add_epi32(_mm512_add_epi32(s0, s1), _mm512_add_epi32(s2, s3)));
}

// The sums of four registers, in order.
__m128i reduce4(__m512i s0, __m512i s1, __m512i s2, __m512i s3) {
  const __m512i t0 = _mm512_add_epi32(_mm512_unpacklo_epi32(s0, s1), _mm512_unpackhi_epi32(s0, s1));
  const __m512i t1 = _mm512_add_epi32(_mm512_unpacklo_epi32(s2, s3), _mm512_unpackhi_epi32(s2, s3));
  const __m512i u = _mm512_add_epi32(_mm512_unpacklo_epi64(t0, t1), _mm512_unpackhi_epi64(t0, t1));
  const __m256i v = _mm256_add_epi32(_mm512_castsi512_si256(u), _mm512_extracti64x4_epi64(u, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

// Four codes at once: one load of the query serves them all, and so do the steps of the horizontal sum.
void dots4_u8s8(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t n, std::int32_t *dots) {
  __m512i s0 = _mm512_setzero_si512();
  __m512i s1 = s0;
  __m512i s2 = s0;
  __m512i s3 = s0;
  std::uint32_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const __m512i q = _mm512_loadu_si512(a + i);
    s0 = _mm512_dpbusd_epi32(s0, q, _mm512_loadu_si512(b[0] + i));
    s1 = _mm512_dpbusd_epi32(s1, q, _mm512_loadu_si512(b[1] + i));
    s2 = _mm512_dpbusd_epi32(s2, q, _mm512_loadu_si512(b[2] + i));
    s3 = _mm512_dpbusd_epi32(s3, q, _mm512_loadu_si512(b[3] + i));
  }
  if (i < n) {
    const __mmask64 mask = tail64(n - i);
    const __m512i q = _mm512_maskz_loadu_epi8(mask, a + i);
    s0 = _mm512_dpbusd_epi32(s0, q, _mm512_maskz_loadu_epi8(mask, b[0] + i));
    s1 = _mm512_dpbusd_epi32(s1, q, _mm512_maskz_loadu_epi8(mask, b[1] + i));
    s2 = _mm512_dpbusd_epi32(s2, q, _mm512_maskz_loadu_epi8(mask, b[2] + i));
    s3 = _mm512_dpbusd_epi32(s3, q, _mm512_maskz_loadu_epi8(mask, b[3] + i));
  }
  _mm_storeu_si128(reinterpret_cast<__m128i *>(dots), reduce4(s0, s1, s2, s3));
}

// Four codes, the query as the signed side: <a, b> = <a, b + 128> - 128 sum(a),
// which is the same for all.  n: a multiple of 64.
void dots4_squares(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t n, std::int32_t *dots,
                   std::int32_t *squares) {
  const __m512i offset = _mm512_set1_epi8(-128);
  const __m512i zero = _mm512_setzero_si512();
  __m512i sums[4] = {zero, zero, zero, zero}, own[4] = {zero, zero, zero, zero}, excess = zero;
  for (std::uint32_t i = 0; i < n; i += 64) {
    const __m512i query = _mm512_xor_si512(_mm512_loadu_si512(a + i), offset);
    excess = _mm512_dpbusd_epi32(excess, offset, query);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
      const __m512i code = _mm512_loadu_si512(b[c] + i);
      const __m512i code_size = _mm512_abs_epi8(code);
      sums[c] = _mm512_dpbusd_epi32(sums[c], _mm512_xor_si512(code, offset), query);
      own[c] = _mm512_dpbusd_epi32(own[c], code_size, code_size);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; c++) sums[c] = _mm512_sub_epi32(sums[c], excess);
  _mm_storeu_si128(reinterpret_cast<__m128i *>(dots), reduce4(sums[0], sums[1], sums[2], sums[3]));
  _mm_storeu_si128(reinterpret_cast<__m128i *>(squares), reduce4(own[0], own[1], own[2], own[3]));
}

void dots_squares(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
                  std::int32_t *dots, std::int32_t *squares) {
  by_four(dots4_squares, a, b, count, n, dots, squares);
}

void dots_u8s8(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
               std::int32_t *dots) {
  std::uint32_t i = 0;
  for (; i + 4 <= count; i += 4) dots4_u8s8(a, b + i, n, dots + i);
  for (; i < count; i++) dots[i] = dot_u8s8(a, b[i], n);
}

// <a, b> = <a + 128, b> - <128, b>: both by dpbusd, as (a ^ 0x80) read unsigned is a + 128.
std::int32_t dot_s8s8(const std::int8_t *a, const std::int8_t *b, std::uint32_t n) {
  const __m512i offset = _mm512_set1_epi8(-128);
  __m512i s0 = _mm512_setzero_si512();
  __m512i s1 = s0;
  __m512i c0 = s0;
  __m512i c1 = s0;
  std::uint32_t i = 0;
  for (; i + 128 <= n; i += 128) {
    const __m512i b0 = _mm512_loadu_si512(b + i);
    const __m512i b1 = _mm512_loadu_si512(b + i + 64);
    s0 = _mm512_dpbusd_epi32(s0, _mm512_xor_si512(_mm512_loadu_si512(a + i), offset), b0);
    c0 = _mm512_dpbusd_epi32(c0, offset, b0);
    s1 = _mm512_dpbusd_epi32(s1, _mm512_xor_si512(_mm512_loadu_si512(a + i + 64), offset), b1);
    c1 = _mm512_dpbusd_epi32(c1, offset, b1);
  }
  for (; i < n; i += 64) {
    const __mmask64 mask = tail64(n - i);
    const __m512i b0 = _mm512_maskz_loadu_epi8(mask, b + i);
    s0 = _mm512_dpbusd_epi32(s0, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, a + i), offset), b0);
    c0 = _mm512_dpbusd_epi32(c0, offset, b0);
  }
  return _mm512_reduce_add_epi32(_mm512_sub_epi32(_mm512_add_epi32(s0, s1), _mm512_add_epi32(c0, c1)));
}

// 32 bytes to 64 stored nibbles (0 ... 15), in order: each byte 0xHL becomes the 16 bits 0x0H0L.
__m512i spread64(__m256i bytes) {
  const __m512i wide = _mm512_cvtepu8_epi16(bytes);
  return _mm512_and_si512(_mm512_or_si512(wide, _mm512_slli_epi16(wide, 4)), _mm512_set1_epi8(15));
}

// The bytes that hold n < 64 nibbles.
__m512i spread_tail(const std::uint8_t *b, std::uint32_t n) {
  return spread64(_mm256_maskz_loadu_epi8(static_cast<__mmask32>((1ULL << ((n + 1) / 2)) - 1), b));
}

std::int32_t dot_u8s4(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n) {
  const __m512i eight = _mm512_set1_epi8(8);
  __m512i s0 = _mm512_setzero_si512();
  __m512i s1 = s0;
  std::uint32_t i = 0;
  for (; i + 128 <= n; i += 128) {
    const __m512i b0 = spread64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(b + i / 2)));
    const __m512i b1 = spread64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(b + i / 2 + 32)));
    s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(a + i), _mm512_sub_epi8(b0, eight));
    s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(a + i + 64), _mm512_sub_epi8(b1, eight));
  }
  if (i + 64 <= n) {
    const __m512i b0 = spread64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(b + i / 2)));
    s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(a + i), _mm512_sub_epi8(b0, eight));
    i += 64;
  }
  if (i < n) {
    // a's lanes beyond n are zero, so b's there (and the padding nibble) do not matter.
    const __m512i a0 = _mm512_maskz_loadu_epi8(tail64(n - i), a + i);
    s1 = _mm512_dpbusd_epi32(s1, a0, _mm512_sub_epi8(spread_tail(b + i / 2, n - i), eight));
  }
  return _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1));
}

// With A, B the stored nibbles: <A - 8, B - 8> = <A, B - 8> - <8, B - 8>.
std::int32_t dot_s4s4(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n) {
  const __m512i eight = _mm512_set1_epi8(8);
  __m512i sum = _mm512_setzero_si512();
  __m512i correction = sum;
  std::uint32_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const __m512i a0 = spread64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(a + i / 2)));
    const __m512i b0 =
        _mm512_sub_epi8(spread64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(b + i / 2))), eight);
    sum = _mm512_dpbusd_epi32(sum, a0, b0);
    correction = _mm512_dpbusd_epi32(correction, eight, b0);
  }
  if (i < n) {
    const __m512i b0 = _mm512_maskz_sub_epi8(tail64(n - i), spread_tail(b + i / 2, n - i), eight);
    sum = _mm512_dpbusd_epi32(sum, spread_tail(a + i / 2, n - i), b0);
    correction = _mm512_dpbusd_epi32(correction, eight, b0);
  }
  return _mm512_reduce_add_epi32(_mm512_sub_epi32(sum, correction));
}

// ---- float32 against codes

// 16 coordinates as float32.  Sources of 8-bit and of 4-bit codes for the templates below.
struct Bytes {
  const std::int8_t *c;
  __m512 load(std::uint32_t i) const {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(c + i))));
  }
  __m512 load(std::uint32_t i, std::uint32_t n) const {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(tail16(n), c + i)));
  }
};

struct Nibbles {
  const std::uint8_t *c;
  static __m512 widen(__m128i bytes) {
    const __m128i wide = _mm_cvtepu8_epi16(bytes);
    const __m128i spread = _mm_and_si128(_mm_or_si128(wide, _mm_slli_epi16(wide, 4)), _mm_set1_epi8(15));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_sub_epi8(spread, _mm_set1_epi8(8))));
  }
  __m512 load(std::uint32_t i) const { return widen(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(c + i / 2))); }
  __m512 load(std::uint32_t i, std::uint32_t n) const {
    return widen(_mm_maskz_loadu_epi8(tail16((n + 1) / 2), c + i / 2));
  }
};

template <class Codes>
float square(const float *q, float scale, Codes codes, std::uint32_t n) {
  const __m512 s = _mm512_set1_ps(scale);
  __m512 s0 = _mm512_setzero_ps();
  __m512 s1 = s0;
  std::uint32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512 d0 = _mm512_fnmadd_ps(s, codes.load(i), _mm512_loadu_ps(q + i));
    const __m512 d1 = _mm512_fnmadd_ps(s, codes.load(i + 16), _mm512_loadu_ps(q + i + 16));
    s0 = _mm512_fmadd_ps(d0, d0, s0);
    s1 = _mm512_fmadd_ps(d1, d1, s1);
  }
  if (i + 16 <= n) {
    const __m512 d0 = _mm512_fnmadd_ps(s, codes.load(i), _mm512_loadu_ps(q + i));
    s0 = _mm512_fmadd_ps(d0, d0, s0);
    i += 16;
  }
  if (i < n) {
    const __mmask16 mask = tail16(n - i);
    const __m512 d1 = _mm512_maskz_fnmadd_ps(mask, s, codes.load(i, n - i), _mm512_maskz_loadu_ps(mask, q + i));
    s1 = _mm512_fmadd_ps(d1, d1, s1);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

template <class Codes>
float dot(const float *q, Codes codes, std::uint32_t n) {
  __m512 s0 = _mm512_setzero_ps();
  __m512 s1 = s0;
  std::uint32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    s0 = _mm512_fmadd_ps(_mm512_loadu_ps(q + i), codes.load(i), s0);
    s1 = _mm512_fmadd_ps(_mm512_loadu_ps(q + i + 16), codes.load(i + 16), s1);
  }
  if (i + 16 <= n) {
    s0 = _mm512_fmadd_ps(_mm512_loadu_ps(q + i), codes.load(i), s0);
    i += 16;
  }
  if (i < n) {
    // q's lanes beyond n are zero, so a padding nibble does not matter.
    s1 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(tail16(n - i), q + i), codes.load(i, n - i), s1);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

float square_f32s8(const float *q, float scale, const std::int8_t *c, std::uint32_t n) {
  return square(q, scale, Bytes{c}, n);
}
float dot_f32s8(const float *q, const std::int8_t *c, std::uint32_t n) { return dot(q, Bytes{c}, n); }
float square_f32s4(const float *q, float scale, const std::uint8_t *c, std::uint32_t n) {
  return square(q, scale, Nibbles{c}, n);
}
float dot_f32s4(const float *q, const std::uint8_t *c, std::uint32_t n) { return dot(q, Nibbles{c}, n); }

// ---- the operators' sums in float64

struct L2 {
  static __m512d add(__m512d sum, __m512d a, __m512d b) {
    const __m512d d = _mm512_sub_pd(a, b);
    return _mm512_fmadd_pd(d, d, sum);
  }
};
struct Ip {
  static __m512d add(__m512d sum, __m512d a, __m512d b) { return _mm512_fmadd_pd(a, b, sum); }
};
struct L1 {
  static __m512d add(__m512d sum, __m512d a, __m512d b) {
    return _mm512_add_pd(sum, _mm512_abs_pd(_mm512_sub_pd(a, b)));
  }
};

template <class Term>
double sum_f64(const float *a, const float *b, std::uint32_t n) {
  __m512d s0 = _mm512_setzero_pd();
  __m512d s1 = s0;
  __m512d s2 = s0;
  __m512d s3 = s0;
  std::uint32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    s0 = Term::add(s0, load8(a + i), load8(b + i));
    s1 = Term::add(s1, load8(a + i + 8), load8(b + i + 8));
    s2 = Term::add(s2, load8(a + i + 16), load8(b + i + 16));
    s3 = Term::add(s3, load8(a + i + 24), load8(b + i + 24));
  }
  for (; i + 8 <= n; i += 8) s0 = Term::add(s0, load8(a + i), load8(b + i));
  if (i < n) {
    const __mmask8 mask = tail8(n - i);
    s1 = Term::add(s1, load8(a + i, mask), load8(b + i, mask));
  }
  return _mm512_reduce_add_pd(_mm512_add_pd(_mm512_add_pd(s0, s1), _mm512_add_pd(s2, s3)));
}

double l2_f32(const float *a, const float *b, std::uint32_t n) { return sum_f64<L2>(a, b, n); }
double ip_f32(const float *a, const float *b, std::uint32_t n) { return sum_f64<Ip>(a, b, n); }
double l1_f32(const float *a, const float *b, std::uint32_t n) { return sum_f64<L1>(a, b, n); }

void cosine_f32(const float *a, const float *b, std::uint32_t n, double *ab, double *aa, double *bb) {
  __m512d s[2][3] = {};
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (std::uint32_t j = 0; j < 2; j++) {
      const __m512d u = load8(a + i + 8 * j);
      const __m512d v = load8(b + i + 8 * j);
      s[j][0] = _mm512_fmadd_pd(u, v, s[j][0]);
      s[j][1] = _mm512_fmadd_pd(u, u, s[j][1]);
      s[j][2] = _mm512_fmadd_pd(v, v, s[j][2]);
    }
  }
  for (; i < n; i += 8) {
    const __mmask8 mask = n - i >= 8 ? static_cast<__mmask8>(0xFF) : tail8(n - i);
    const __m512d u = load8(a + i, mask);
    const __m512d v = load8(b + i, mask);
    s[0][0] = _mm512_fmadd_pd(u, v, s[0][0]);
    s[0][1] = _mm512_fmadd_pd(u, u, s[0][1]);
    s[0][2] = _mm512_fmadd_pd(v, v, s[0][2]);
  }
  *ab = _mm512_reduce_add_pd(_mm512_add_pd(s[0][0], s[1][0]));
  *aa = _mm512_reduce_add_pd(_mm512_add_pd(s[0][1], s[1][1]));
  *bb = _mm512_reduce_add_pd(_mm512_add_pd(s[0][2], s[1][2]));
}

}  // namespace

constinit const Kernels kAvx512Kernels = {
    .name = "avx512",
    .simd = Simd::kAvx512,
    .dot_u8s8 = dot_u8s8,
    .dot_s8s8 = dot_s8s8,
    .dots_u8s8 = dots_u8s8,
    .dots_added = 128,
    .dots_squares = dots_squares,
    .dot_u8s4 = dot_u8s4,
    .dot_s4s4 = dot_s4s4,
    .square_f32s8 = square_f32s8,
    .dot_f32s8 = dot_f32s8,
    .square_f32s4 = square_f32s4,
    .dot_f32s4 = dot_f32s4,
    .l2_f32 = l2_f32,
    .ip_f32 = ip_f32,
    .l1_f32 = l1_f32,
    .cosine_f32 = cosine_f32,
    .widen = avx2::widen,
    .narrow = avx2::narrow,
    .scale = avx512::scale_by,
    .subtract = avx512::subtract,
    .flip = avx512::flip,
    .mix = avx512::mix,
    .fwht = avx512::fwht,
    .quantise = avx512::quantise,
    .code_sums = avx512::code_sums,
};

}  // namespace phnsw
#endif  // __x86_64__
