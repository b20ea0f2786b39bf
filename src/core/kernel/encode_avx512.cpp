// AVX-512 kernels of the steps of encoding; the rules of kernels_avx512.cpp hold here, too.
#if defined(__x86_64__)
#include "kernel/avx512.hpp"
#include "kernel/kernels.hpp"
#include "kernel/tails.hpp"

namespace phnsw::avx512 {

void scale_by(const float *x, double factor, float *out, std::uint32_t n) {
  const __m512d f = _mm512_set1_pd(factor);
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, _mm512_cvtpd_ps(_mm512_mul_pd(load8(x + i), f)));
  if (i < n) {
    const __mmask8 mask = tail8(n - i);
    _mm256_mask_storeu_ps(out + i, mask, _mm512_cvtpd_ps(_mm512_mul_pd(load8(x + i, mask), f)));
  }
}

float subtract(float *x, const float *y, std::uint32_t n) {
  __m512 max = _mm512_setzero_ps();
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i));
    _mm512_storeu_ps(x + i, d);
    max = _mm512_max_ps(max, _mm512_abs_ps(d));
  }
  if (i < n) {
    const __mmask16 mask = tail16(n - i);
    const __m512 d = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, y + i));
    _mm512_mask_storeu_ps(x + i, mask, d);
    max = _mm512_max_ps(max, _mm512_abs_ps(d));
  }
  return _mm512_reduce_max_ps(max);
}

void flip(float *x, const float *signs, std::uint32_t n) {
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    _mm512_storeu_ps(x + i, _mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(signs + i)));
  }
  if (i < n) {
    const __mmask16 mask = tail16(n - i);
    const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, signs + i));
    _mm512_mask_storeu_ps(x + i, mask, v);
  }
}

void mix(float *x, std::uint32_t n) {
  const __m512i reversed = _mm512_set_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512 root = _mm512_set1_ps(kHalfRoot);
  std::uint32_t i = 0;
  for (; i + 16 <= n / 2; i += 16) {
    float *end = x + (n - 16 - i);
    const __m512 a = _mm512_loadu_ps(x + i);
    const __m512 b = _mm512_permutexvar_ps(reversed, _mm512_loadu_ps(end));
    _mm512_storeu_ps(x + i, _mm512_mul_ps(_mm512_add_ps(a, b), root));
    _mm512_storeu_ps(end, _mm512_permutexvar_ps(reversed, _mm512_mul_ps(_mm512_sub_ps(a, b), root)));
  }
  mix_tail(x, i, n);
}

namespace {

// One butterfly stage inside a register: v's partner lanes, plus or minus v.  sign * v is exact, so that the fused
// operation rounds as the reference's addition does.
#define PHNSW_STAGE(v, partner, sign) _mm512_fmadd_ps(v, sign, partner)

// Transforms Registers x 16 floats, scaled first.
template <std::uint32_t Registers>
void transform_block(float *x, __m512 factor) {
  const __m512 sign1 = _mm512_castsi512_ps(
      _mm512_set4_epi32(static_cast<int>(0xBF800000), 0x3F800000, static_cast<int>(0xBF800000), 0x3F800000));
  const __m512 sign2 = _mm512_castsi512_ps(
      _mm512_set4_epi32(static_cast<int>(0xBF800000), static_cast<int>(0xBF800000), 0x3F800000, 0x3F800000));
  const __m512 sign4 = _mm512_set_ps(-1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1);
  const __m512 sign8 = _mm512_set_ps(-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1);
  __m512 r[Registers];
#pragma GCC unroll 16
  for (std::uint32_t i = 0; i < Registers; i++) {
    __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + 16 * i), factor);
    v = PHNSW_STAGE(v, _mm512_permute_ps(v, 0xB1), sign1);
    v = PHNSW_STAGE(v, _mm512_permute_ps(v, 0x4E), sign2);
    v = PHNSW_STAGE(v, _mm512_shuffle_f32x4(v, v, 0xB1), sign4);
    r[i] = PHNSW_STAGE(v, _mm512_shuffle_f32x4(v, v, 0x4E), sign8);
  }
#pragma GCC unroll 4
  for (std::uint32_t h = 1; h < Registers; h *= 2) {
#pragma GCC unroll 16
    for (std::uint32_t i = 0; i < Registers; i++) {
      if ((i & h) != 0) continue;
      const __m512 a = r[i];
      const __m512 b = r[i + h];
      r[i] = _mm512_add_ps(a, b);
      r[i + h] = _mm512_sub_ps(a, b);
    }
  }
#pragma GCC unroll 16
  for (std::uint32_t i = 0; i < Registers; i++) _mm512_storeu_ps(x + 16 * i, r[i]);
}
#undef PHNSW_STAGE

}  // namespace

void fwht(float *x, std::uint32_t log2n) {
  if (log2n < 4) return fwht_small(x, log2n);
  const std::uint32_t n = 1u << log2n;
  const __m512 f = _mm512_set1_ps(fwht_factor(log2n));
  switch (log2n) {
    case 4:
      transform_block<1>(x, f);
      return;
    case 5:
      transform_block<2>(x, f);
      return;
    case 6:
      transform_block<4>(x, f);
      return;
    case 7:
      transform_block<8>(x, f);
      return;
    default:
      break;
  }
  for (std::uint32_t i = 0; i < n; i += 256) transform_block<16>(x + i, f);
  std::uint32_t h = 256;
  // Two stages a pass over memory, then the last one alone if their number is odd.
  for (; 4 * h <= n; h *= 4) {
    for (std::uint32_t i = 0; i < n; i += 4 * h) {
      for (std::uint32_t j = i; j < i + h; j += 16) {
        const __m512 a = _mm512_loadu_ps(x + j);
        const __m512 b = _mm512_loadu_ps(x + j + h);
        const __m512 c = _mm512_loadu_ps(x + j + 2 * h);
        const __m512 d = _mm512_loadu_ps(x + j + 3 * h);
        const __m512 ab = _mm512_add_ps(a, b);
        const __m512 a_b = _mm512_sub_ps(a, b);
        const __m512 cd = _mm512_add_ps(c, d);
        const __m512 c_d = _mm512_sub_ps(c, d);
        _mm512_storeu_ps(x + j, _mm512_add_ps(ab, cd));
        _mm512_storeu_ps(x + j + h, _mm512_add_ps(a_b, c_d));
        _mm512_storeu_ps(x + j + 2 * h, _mm512_sub_ps(ab, cd));
        _mm512_storeu_ps(x + j + 3 * h, _mm512_sub_ps(a_b, c_d));
      }
    }
  }
  if (h < n) {
    for (std::uint32_t j = 0; j < h; j += 16) {
      const __m512 a = _mm512_loadu_ps(x + j);
      const __m512 b = _mm512_loadu_ps(x + j + h);
      _mm512_storeu_ps(x + j, _mm512_add_ps(a, b));
      _mm512_storeu_ps(x + j + h, _mm512_sub_ps(a, b));
    }
  }
}

float quantise(const float *x, float inverse_scale, std::int32_t limit, std::int8_t *codes, std::uint32_t n) {
  std::uint32_t i = 0;
  if (codes == nullptr) {
    __m512 max = _mm512_setzero_ps();
    for (; i + 16 <= n; i += 16) max = _mm512_max_ps(max, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
    if (i < n) max = _mm512_max_ps(max, _mm512_abs_ps(_mm512_maskz_loadu_ps(tail16(n - i), x + i)));
    return _mm512_reduce_max_ps(max);
  }
  const __m512 bound = _mm512_set1_ps(static_cast<float>(limit));
  const __m512 below = _mm512_set1_ps(static_cast<float>(-limit));
  const __m512 inverse = _mm512_set1_ps(inverse_scale);
  for (; i + 16 <= n; i += 16) {
    const __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), inverse);
    const __m512i r = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(v, bound), below));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(codes + i), _mm512_cvtepi32_epi8(r));
  }
  if (i < n) {
    const __mmask16 mask = tail16(n - i);
    const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), inverse);
    const __m512i r = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(v, bound), below));
    _mm_mask_storeu_epi8(codes + i, mask, _mm512_cvtepi32_epi8(r));
  }
  return 0.0f;
}

void code_sums(const float *x, float scale, const std::int8_t *c, std::uint32_t n, std::int32_t *sum,
               std::int32_t *squares, double *residual2) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i total = _mm512_setzero_si512();
  __m512i total2 = total;
  for (std::uint32_t i = 0; i < n; i += 64) {
    const __m512i b = _mm512_maskz_loadu_epi8(tail64(n - i), c + i);
    const __m512i magnitude = _mm512_abs_epi8(b);
    total = _mm512_dpbusd_epi32(total, ones, b);
    total2 = _mm512_dpbusd_epi32(total2, magnitude, magnitude);
  }
  *sum = _mm512_reduce_add_epi32(total);
  *squares = _mm512_reduce_add_epi32(total2);

  const __m512d s = _mm512_set1_pd(static_cast<double>(scale));
  __m512d s0 = _mm512_setzero_pd();
  __m512d s1 = s0;
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i *>(c + i));
    const __m512d d0 = _mm512_fnmadd_pd(s, _mm512_cvtepi32_pd(_mm256_cvtepi8_epi32(b)), load8(x + i));
    const __m512d d1 =
        _mm512_fnmadd_pd(s, _mm512_cvtepi32_pd(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8))), load8(x + i + 8));
    s0 = _mm512_fmadd_pd(d0, d0, s0);
    s1 = _mm512_fmadd_pd(d1, d1, s1);
  }
  for (; i < n; i += 8) {
    const __mmask8 mask = n - i >= 8 ? static_cast<__mmask8>(0xFF) : tail8(n - i);
    const __m128i b = _mm_maskz_loadu_epi8(mask, c + i);
    const __m512d d = _mm512_fnmadd_pd(s, _mm512_cvtepi32_pd(_mm256_cvtepi8_epi32(b)), load8(x + i, mask));
    s0 = _mm512_fmadd_pd(d, d, s0);
  }
  *residual2 = _mm512_reduce_add_pd(_mm512_add_pd(s0, s1));
}

}  // namespace phnsw::avx512
#endif  // __x86_64__
