// AVX2 and FMA kernels of everything that is not a product of two codes: float32 against codes, the operators' sums,
// the steps of encoding.  The rules of kernels_avx2.cpp hold here, too.
#if defined(__x86_64__)
#include "kernel/avx2.hpp"
#include "kernel/kernels.hpp"
#include "kernel/tails.hpp"

namespace phnsw::avx2 {
namespace {

float reduce(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

double reduce(__m256d v) {
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

float reduce_max(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

__m256 absolute(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

// Sources of coordinates: 8 as float32, one.
struct Bytes {
  const std::int8_t *p;
  __m256 floats(std::uint32_t i) const { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8bytes(p + i))); }
  std::int32_t one(std::uint32_t i) const { return p[i]; }
};
struct Nibbles {
  const std::uint8_t *p;
  __m256 floats(std::uint32_t i) const {
    const std::uint8_t *b = p + i / 2;
    const std::int32_t bytes =
        static_cast<std::int32_t>(static_cast<std::uint32_t>(b[0]) | (static_cast<std::uint32_t>(b[1]) << 8) |
                                  (static_cast<std::uint32_t>(b[2]) << 16) | (static_cast<std::uint32_t>(b[3]) << 24));
    const __m128i wide = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(bytes));
    const __m128i spread = _mm_and_si128(_mm_or_si128(wide, _mm_slli_epi16(wide, 4)), _mm_set1_epi8(15));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_sub_epi8(spread, _mm_set1_epi8(8))));
  }
  std::int32_t one(std::uint32_t i) const { return nibble(p, i); }
};

// ---- float32 against codes

template <class Codes>
float square(const float *q, float scale, Codes codes, std::uint32_t n) {
  const __m256 s = _mm256_set1_ps(scale);
  __m256 s0 = _mm256_setzero_ps();
  __m256 s1 = s0;
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256 d0 = _mm256_fnmadd_ps(s, codes.floats(i), _mm256_loadu_ps(q + i));
    const __m256 d1 = _mm256_fnmadd_ps(s, codes.floats(i + 8), _mm256_loadu_ps(q + i + 8));
    s0 = _mm256_fmadd_ps(d0, d0, s0);
    s1 = _mm256_fmadd_ps(d1, d1, s1);
  }
  float rest = 0.0f;
  for (; i < n; i++) {
    const float d = q[i] - scale * static_cast<float>(codes.one(i));
    rest += d * d;
  }
  return reduce(_mm256_add_ps(s0, s1)) + rest;
}

template <class Codes>
float dot(const float *q, Codes codes, std::uint32_t n) {
  __m256 s0 = _mm256_setzero_ps();
  __m256 s1 = s0;
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    s0 = _mm256_fmadd_ps(_mm256_loadu_ps(q + i), codes.floats(i), s0);
    s1 = _mm256_fmadd_ps(_mm256_loadu_ps(q + i + 8), codes.floats(i + 8), s1);
  }
  float rest = 0.0f;
  for (; i < n; i++) rest += q[i] * static_cast<float>(codes.one(i));
  return reduce(_mm256_add_ps(s0, s1)) + rest;
}

}  // namespace

float square_f32s8(const float *q, float scale, const std::int8_t *c, std::uint32_t n) {
  return square(q, scale, Bytes{c}, n);
}
float dot_f32s8(const float *q, const std::int8_t *c, std::uint32_t n) { return dot(q, Bytes{c}, n); }
float square_f32s4(const float *q, float scale, const std::uint8_t *c, std::uint32_t n) {
  return square(q, scale, Nibbles{c}, n);
}
float dot_f32s4(const float *q, const std::uint8_t *c, std::uint32_t n) { return dot(q, Nibbles{c}, n); }

// ---- the operators' sums in float64

namespace {

__m256d load4(const float *x) { return _mm256_cvtps_pd(_mm_loadu_ps(x)); }

struct L2 {
  static __m256d add(__m256d sum, __m256d a, __m256d b) {
    const __m256d d = _mm256_sub_pd(a, b);
    return _mm256_fmadd_pd(d, d, sum);
  }
  static double add(double sum, double a, double b) { return sum + (a - b) * (a - b); }
};
struct Ip {
  static __m256d add(__m256d sum, __m256d a, __m256d b) { return _mm256_fmadd_pd(a, b, sum); }
  static double add(double sum, double a, double b) { return sum + a * b; }
};
struct L1 {
  static __m256d add(__m256d sum, __m256d a, __m256d b) {
    return _mm256_add_pd(sum, _mm256_andnot_pd(_mm256_set1_pd(-0.0), _mm256_sub_pd(a, b)));
  }
  static double add(double sum, double a, double b) { return sum + __builtin_fabs(a - b); }
};

template <class Term>
double sum_f64(const float *a, const float *b, std::uint32_t n) {
  __m256d s0 = _mm256_setzero_pd();
  __m256d s1 = s0;
  __m256d s2 = s0;
  __m256d s3 = s0;
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    s0 = Term::add(s0, load4(a + i), load4(b + i));
    s1 = Term::add(s1, load4(a + i + 4), load4(b + i + 4));
    s2 = Term::add(s2, load4(a + i + 8), load4(b + i + 8));
    s3 = Term::add(s3, load4(a + i + 12), load4(b + i + 12));
  }
  for (; i + 4 <= n; i += 4) s0 = Term::add(s0, load4(a + i), load4(b + i));
  double sum = reduce(_mm256_add_pd(_mm256_add_pd(s0, s1), _mm256_add_pd(s2, s3)));
  for (; i < n; i++) sum = Term::add(sum, static_cast<double>(a[i]), static_cast<double>(b[i]));
  return sum;
}

}  // namespace

double l2_f32(const float *a, const float *b, std::uint32_t n) { return sum_f64<L2>(a, b, n); }
double ip_f32(const float *a, const float *b, std::uint32_t n) { return sum_f64<Ip>(a, b, n); }
double l1_f32(const float *a, const float *b, std::uint32_t n) { return sum_f64<L1>(a, b, n); }

void cosine_f32(const float *a, const float *b, std::uint32_t n, double *ab, double *aa, double *bb) {
  __m256d s[2][3] = {};
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (std::uint32_t j = 0; j < 2; j++) {
      const __m256d u = load4(a + i + 4 * j);
      const __m256d v = load4(b + i + 4 * j);
      s[j][0] = _mm256_fmadd_pd(u, v, s[j][0]);
      s[j][1] = _mm256_fmadd_pd(u, u, s[j][1]);
      s[j][2] = _mm256_fmadd_pd(v, v, s[j][2]);
    }
  }
  double sums[3];
  for (std::uint32_t j = 0; j < 3; j++) sums[j] = reduce(_mm256_add_pd(s[0][j], s[1][j]));
  for (; i < n; i++) {
    const double u = static_cast<double>(a[i]);
    const double v = static_cast<double>(b[i]);
    sums[0] += u * v;
    sums[1] += u * u;
    sums[2] += v * v;
  }
  *ab = sums[0];
  *aa = sums[1];
  *bb = sums[2];
}

// ---- half precision

void widen(const std::uint16_t *halves, float *out, std::uint32_t n) {
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, _mm256_cvtph_ps(load16(halves + i)));
  for (; i < n; i++) out[i] = widen_one(halves[i]);
}

void narrow(const float *x, std::uint16_t *halves, std::uint32_t n) {
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(halves + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
  }
  for (; i < n; i++) halves[i] = narrow_one(x[i]);
}

// ---- the steps of encoding

void scale_by(const float *x, double factor, float *out, std::uint32_t n) {
  const __m256d f = _mm256_set1_pd(factor);
  std::uint32_t i = 0;
  for (; i + 4 <= n; i += 4) _mm_storeu_ps(out + i, _mm256_cvtpd_ps(_mm256_mul_pd(load4(x + i), f)));
  for (; i < n; i++) out[i] = static_cast<float>(static_cast<double>(x[i]) * factor);
}

namespace {
float greater(float a, float b) { return a > b ? a : b; }
}  // namespace

float subtract(float *x, const float *y, std::uint32_t n) {
  __m256 max = _mm256_setzero_ps();
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 d = _mm256_sub_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i));
    _mm256_storeu_ps(x + i, d);
    max = _mm256_max_ps(max, absolute(d));
  }
  float rest = reduce_max(max);
  for (; i < n; i++) {
    x[i] -= y[i];
    rest = greater(rest, __builtin_fabsf(x[i]));
  }
  return rest;
}

void flip(float *x, const float *signs, std::uint32_t n) {
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(signs + i)));
  }
  for (; i < n; i++) x[i] *= signs[i];
}

namespace {
__m256 reverse(__m256 v) { return _mm256_permutevar8x32_ps(v, _mm256_set_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
}  // namespace

void mix(float *x, std::uint32_t n) {
  const __m256 root = _mm256_set1_ps(kHalfRoot);
  std::uint32_t i = 0;
  for (; i + 8 <= n / 2; i += 8) {
    float *end = x + (n - 8 - i);
    const __m256 a = _mm256_loadu_ps(x + i);
    const __m256 b = reverse(_mm256_loadu_ps(end));
    _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_add_ps(a, b), root));
    _mm256_storeu_ps(end, reverse(_mm256_mul_ps(_mm256_sub_ps(a, b), root)));
  }
  mix_tail(x, i, n);
}

namespace {

// Transforms Registers x 8 floats, scaled first.  In the stages inside a register sign * v is exact, so that the fused
// operation rounds as the reference's addition does.
template <std::uint32_t Registers>
void transform_block(float *x, __m256 factor) {
  const __m256 sign1 = _mm256_set_ps(-1, 1, -1, 1, -1, 1, -1, 1);
  const __m256 sign2 = _mm256_set_ps(-1, -1, 1, 1, -1, -1, 1, 1);
  const __m256 sign4 = _mm256_set_ps(-1, -1, -1, -1, 1, 1, 1, 1);
  __m256 r[Registers];
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < Registers; i++) {
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), factor);
    v = _mm256_fmadd_ps(v, sign1, _mm256_permute_ps(v, 0xB1));
    v = _mm256_fmadd_ps(v, sign2, _mm256_permute_ps(v, 0x4E));
    r[i] = _mm256_fmadd_ps(v, sign4, _mm256_permute2f128_ps(v, v, 0x01));
  }
#pragma GCC unroll 4
  for (std::uint32_t h = 1; h < Registers; h *= 2) {
#pragma GCC unroll 8
    for (std::uint32_t i = 0; i < Registers; i++) {
      if ((i & h) != 0) continue;
      const __m256 a = r[i];
      const __m256 b = r[i + h];
      r[i] = _mm256_add_ps(a, b);
      r[i + h] = _mm256_sub_ps(a, b);
    }
  }
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < Registers; i++) _mm256_storeu_ps(x + 8 * i, r[i]);
}

// Two stages, h and 2h, in one pass over memory.
void two_stages(float *x, std::uint32_t n, std::uint32_t h) {
  for (std::uint32_t i = 0; i < n; i += 4 * h) {
    for (std::uint32_t j = i; j < i + h; j += 8) {
      const __m256 a = _mm256_loadu_ps(x + j);
      const __m256 b = _mm256_loadu_ps(x + j + h);
      const __m256 c = _mm256_loadu_ps(x + j + 2 * h);
      const __m256 d = _mm256_loadu_ps(x + j + 3 * h);
      const __m256 ab = _mm256_add_ps(a, b);
      const __m256 a_b = _mm256_sub_ps(a, b);
      const __m256 cd = _mm256_add_ps(c, d);
      const __m256 c_d = _mm256_sub_ps(c, d);
      _mm256_storeu_ps(x + j, _mm256_add_ps(ab, cd));
      _mm256_storeu_ps(x + j + h, _mm256_add_ps(a_b, c_d));
      _mm256_storeu_ps(x + j + 2 * h, _mm256_sub_ps(ab, cd));
      _mm256_storeu_ps(x + j + 3 * h, _mm256_sub_ps(a_b, c_d));
    }
  }
}

}  // namespace

void fwht(float *x, std::uint32_t log2n) {
  if (log2n < 3) return fwht_small(x, log2n);
  const std::uint32_t n = 1u << log2n;
  const __m256 f = _mm256_set1_ps(fwht_factor(log2n));
  switch (log2n) {
    case 3:
      transform_block<1>(x, f);
      return;
    case 4:
      transform_block<2>(x, f);
      return;
    case 5:
      transform_block<4>(x, f);
      return;
    default:
      break;
  }
  for (std::uint32_t i = 0; i < n; i += 64) transform_block<8>(x + i, f);
  std::uint32_t h = 64;
  for (; 4 * h <= n; h *= 4) two_stages(x, n, h);
  if (h < n) {
    for (std::uint32_t j = 0; j < h; j += 8) {
      const __m256 a = _mm256_loadu_ps(x + j);
      const __m256 b = _mm256_loadu_ps(x + j + h);
      _mm256_storeu_ps(x + j, _mm256_add_ps(a, b));
      _mm256_storeu_ps(x + j + h, _mm256_sub_ps(a, b));
    }
  }
}

float quantise(const float *x, float inverse_scale, std::int32_t limit, std::int8_t *codes, std::uint32_t n) {
  std::uint32_t i = 0;
  if (codes == nullptr) {
    __m256 max = _mm256_setzero_ps();
    for (; i + 8 <= n; i += 8) max = _mm256_max_ps(max, absolute(_mm256_loadu_ps(x + i)));
    float rest = reduce_max(max);
    for (; i < n; i++) rest = greater(rest, __builtin_fabsf(x[i]));
    return rest;
  }
  const __m256 bound = _mm256_set1_ps(static_cast<float>(limit));
  const __m256 below = _mm256_set1_ps(static_cast<float>(-limit));
  const __m256 inverse = _mm256_set1_ps(inverse_scale);
  for (; i + 8 <= n; i += 8) {
    const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), inverse);
    const __m256i r = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(v, bound), below));
    const __m128i r16 = _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i *>(codes + i), _mm_packs_epi16(r16, r16));
  }
  constexpr float kRound = 12582912.0f;  // see scalar.cpp
  for (; i < n; i++) {
    float v = x[i] * inverse_scale;
    v = v < static_cast<float>(limit) ? v : static_cast<float>(limit);
    v = v > static_cast<float>(-limit) ? v : static_cast<float>(-limit);
    codes[i] = static_cast<std::int8_t>(static_cast<std::int32_t>((v + kRound) - kRound));
  }
  return 0.0f;
}

void code_sums(const float *x, float scale, const std::int8_t *c, std::uint32_t n, std::int32_t *sum,
               std::int32_t *squares, double *residual2) {
  const __m256i ones = _mm256_set1_epi16(1);
  const double s = static_cast<double>(scale);
  const __m256d wide_s = _mm256_set1_pd(s);
  __m256i total = _mm256_setzero_si256();
  __m256i total2 = total;
  __m256d s0 = _mm256_setzero_pd();
  __m256d s1 = s0;
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i b = _mm256_cvtepi8_epi16(load16(c + i));
    total = _mm256_add_epi32(total, _mm256_madd_epi16(b, ones));
    total2 = _mm256_add_epi32(total2, _mm256_madd_epi16(b, b));
    for (std::uint32_t j = 0; j < 16; j += 8) {
      const __m256i w = _mm256_cvtepi8_epi32(load8bytes(c + i + j));
      const __m256d d0 = _mm256_fnmadd_pd(wide_s, _mm256_cvtepi32_pd(_mm256_castsi256_si128(w)), load4(x + i + j));
      const __m256d d1 =
          _mm256_fnmadd_pd(wide_s, _mm256_cvtepi32_pd(_mm256_extracti128_si256(w, 1)), load4(x + i + j + 4));
      s0 = _mm256_fmadd_pd(d0, d0, s0);
      s1 = _mm256_fmadd_pd(d1, d1, s1);
    }
  }
  std::int32_t rest = phnsw::reduce(total);
  std::int32_t rest2 = phnsw::reduce(total2);
  double rest_residual2 = reduce(_mm256_add_pd(s0, s1));
  for (; i < n; i++) {
    rest += c[i];
    rest2 += c[i] * c[i];
    const double d = static_cast<double>(x[i]) - s * static_cast<double>(c[i]);
    rest_residual2 += d * d;
  }
  *sum = rest;
  *squares = rest2;
  *residual2 = rest_residual2;
}

}  // namespace phnsw::avx2
#endif  // __x86_64__
