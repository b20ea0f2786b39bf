// Reference kernels: plain C++, what every other table is tested against.  Written so that the compiler may use
// whatever the target's baseline has (SSE2), with the same element-wise roundings as the SIMD tables.
#include <cmath>

#include "kernel/kernels.hpp"
#include "kernel/tails.hpp"

namespace phnsw {
namespace {

std::int32_t low_nibble(std::uint8_t byte) noexcept { return (byte & 15) - 8; }
std::int32_t high_nibble(std::uint8_t byte) noexcept { return (byte >> 4) - 8; }
std::int32_t nibble(const std::uint8_t *b, std::uint32_t i) noexcept {
  return (i & 1) != 0 ? high_nibble(b[i / 2]) : low_nibble(b[i / 2]);
}

std::int32_t dot_u8s8(const std::uint8_t *a, const std::int8_t *b, std::uint32_t n) {
  std::int32_t sum = 0;
  for (std::uint32_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

void dots_u8s8(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
               std::int32_t *dots) {
  for (std::uint32_t i = 0; i < count; i++) dots[i] = dot_u8s8(a, b[i], n);
}

void dots_squares(const std::uint8_t *a, const std::int8_t *const *b, std::uint32_t count, std::uint32_t n,
                  std::int32_t *dots, std::int32_t *squares) {
  for (std::uint32_t i = 0; i < count; i++) {
    std::int32_t dot = 0, square = 0;
    for (std::uint32_t j = 0; j < n; j++) {
      dot += (a[j] - 128) * b[i][j];
      square += b[i][j] * b[i][j];
    }
    dots[i] = dot;
    squares[i] = square;
  }
}

std::int32_t dot_s8s8(const std::int8_t *a, const std::int8_t *b, std::uint32_t n) {
  std::int32_t sum = 0;
  for (std::uint32_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

std::int32_t dot_u8s4(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n) {
  std::int32_t sum = 0;
  for (std::uint32_t i = 0; i < n / 2; i++) sum += a[2 * i] * low_nibble(b[i]) + a[2 * i + 1] * high_nibble(b[i]);
  if ((n & 1) != 0) sum += a[n - 1] * low_nibble(b[n / 2]);
  return sum;
}

std::int32_t dot_s4s4(const std::uint8_t *a, const std::uint8_t *b, std::uint32_t n) {
  std::int32_t sum = 0;
  for (std::uint32_t i = 0; i < n / 2; i++) {
    sum += low_nibble(a[i]) * low_nibble(b[i]) + high_nibble(a[i]) * high_nibble(b[i]);
  }
  if ((n & 1) != 0) sum += low_nibble(a[n / 2]) * low_nibble(b[n / 2]);
  return sum;
}

// Calls term(i) for each i < n and sums in 8 accumulators.
template <class Float, class Term>
Float sum8(std::uint32_t n, const Term &term) {
  Float sums[8] = {};
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (std::uint32_t j = 0; j < 8; j++) sums[j] += term(i + j);
  }
  for (; i < n; i++) sums[i % 8] += term(i);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

float square_f32s8(const float *q, float scale, const std::int8_t *c, std::uint32_t n) {
  return sum8<float>(n, [=](std::uint32_t i) {
    const float d = q[i] - scale * static_cast<float>(c[i]);
    return d * d;
  });
}

float dot_f32s8(const float *q, const std::int8_t *c, std::uint32_t n) {
  return sum8<float>(n, [=](std::uint32_t i) { return q[i] * static_cast<float>(c[i]); });
}

float square_f32s4(const float *q, float scale, const std::uint8_t *c, std::uint32_t n) {
  return sum8<float>(n, [=](std::uint32_t i) {
    const float d = q[i] - scale * static_cast<float>(nibble(c, i));
    return d * d;
  });
}

float dot_f32s4(const float *q, const std::uint8_t *c, std::uint32_t n) {
  return sum8<float>(n, [=](std::uint32_t i) { return q[i] * static_cast<float>(nibble(c, i)); });
}

double l2_f32(const float *a, const float *b, std::uint32_t n) {
  return sum8<double>(n, [=](std::uint32_t i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    return d * d;
  });
}

double ip_f32(const float *a, const float *b, std::uint32_t n) {
  return sum8<double>(n, [=](std::uint32_t i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

double l1_f32(const float *a, const float *b, std::uint32_t n) {
  return sum8<double>(
      n, [=](std::uint32_t i) { return std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])); });
}

void cosine_f32(const float *a, const float *b, std::uint32_t n, double *ab, double *aa, double *bb) {
  *ab = ip_f32(a, b, n);
  *aa = ip_f32(a, a, n);
  *bb = ip_f32(b, b, n);
}

void widen(const std::uint16_t *halves, float *out, std::uint32_t n) {
  for (std::uint32_t i = 0; i < n; i++) out[i] = widen_one(halves[i]);
}

void narrow(const float *x, std::uint16_t *halves, std::uint32_t n) {
  for (std::uint32_t i = 0; i < n; i++) halves[i] = narrow_one(x[i]);
}

void scale_by(const float *x, double factor, float *out, std::uint32_t n) {
  for (std::uint32_t i = 0; i < n; i++) out[i] = static_cast<float>(static_cast<double>(x[i]) * factor);
}

float largest(const float *x, std::uint32_t n) {
  float sums[8] = {};
  for (std::uint32_t i = 0; i < n; i++) {
    const float v = std::fabs(x[i]);
    sums[i % 8] = sums[i % 8] > v ? sums[i % 8] : v;
  }
  float max = 0.0f;
  for (const float v : sums) max = max > v ? max : v;
  return max;
}

float subtract(float *x, const float *y, std::uint32_t n) {
  for (std::uint32_t i = 0; i < n; i++) x[i] -= y[i];
  return largest(x, n);
}

void flip(float *x, const float *signs, std::uint32_t n) {
  for (std::uint32_t i = 0; i < n; i++) x[i] *= signs[i];
}

void mix(float *x, std::uint32_t n) { mix_tail(x, 0, n); }

void fwht(float *x, std::uint32_t log2n) { fwht_small(x, log2n); }

float quantise(const float *x, float inverse_scale, std::int32_t limit, std::int8_t *codes, std::uint32_t n) {
  if (codes == nullptr) return largest(x, n);
  const float bound = static_cast<float>(limit);
  // Adding and subtracting 1.5 * 2^23 rounds to an integer, to even, wherever |v| < 2^22.
  constexpr float kRound = 12582912.0f;
  for (std::uint32_t i = 0; i < n; i++) {
    float v = x[i] * inverse_scale;
    v = v < bound ? v : bound;
    v = v > -bound ? v : -bound;
    codes[i] = static_cast<std::int8_t>(static_cast<std::int32_t>((v + kRound) - kRound));
  }
  return 0.0f;
}

void code_sums(const float *x, float scale, const std::int8_t *c, std::uint32_t n, std::int32_t *sum,
               std::int32_t *squares, double *residual2) {
  std::int32_t total = 0;
  std::int32_t total2 = 0;
  for (std::uint32_t i = 0; i < n; i++) {
    total += c[i];
    total2 += c[i] * c[i];
  }
  *sum = total;
  *squares = total2;
  *residual2 = sum8<double>(n, [=](std::uint32_t i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(scale) * static_cast<double>(c[i]);
    return d * d;
  });
}

}  // namespace

constinit const Kernels kScalarKernels = {
    .name = "scalar",
    .simd = Simd::kScalar,
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
    .widen = widen,
    .narrow = narrow,
    .scale = scale_by,
    .subtract = subtract,
    .flip = flip,
    .mix = mix,
    .fwht = fwht,
    .quantise = quantise,
    .code_sums = code_sums,
};

}  // namespace phnsw
