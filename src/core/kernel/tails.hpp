// What the SIMD files do one element at a time, with scalar.cpp's roundings.
//
// Everything is static: each instruction set's file has its own copy, compiled with its own flags and never shared.
#pragma once

#include <cstdint>

namespace phnsw {

// Kernels::widen.  The bits of a half, moved up to where a float32 has them, are 2^-112 of its value; the product is
// exact and brings subnormals in order.
[[maybe_unused]] static float widen_one(std::uint16_t half) {
  const std::uint32_t magnitude = (half & 0x7FFFu) << 13;
  const float value = __builtin_bit_cast(float, magnitude) * 0x1p112f;
  const std::uint32_t bits =
      (half & 0x7C00u) == 0x7C00u ? magnitude | 0x7F800000u : __builtin_bit_cast(std::uint32_t, value);
  return __builtin_bit_cast(float, bits | ((half & 0x8000u) << 16));
}

// Kernels::narrow.
[[maybe_unused]] static std::uint16_t narrow_one(float x) {
  constexpr std::uint32_t kNaN = 0x7E00, kInfinity = 0x7C00;
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, x);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  std::uint32_t half;
  if (magnitude > 0x7F800000u) {
    half = kNaN;
  } else if (magnitude >= 0x47800000u) {  // 2^16: beyond the largest half, 65,504, however it is rounded
    half = kInfinity;
  } else if (magnitude < 0x38800000u) {  // 2^-14: subnormal or zero; the sum's last bit is 2^-24, a subnormal half's
    half = __builtin_bit_cast(std::uint32_t, __builtin_bit_cast(float, magnitude) + 0.5f) -
           __builtin_bit_cast(std::uint32_t, 0.5f);
  } else {  // to even, by carry; the exponent's bias is 112 less
    half = (magnitude + 0xFFFu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  }
  return static_cast<std::uint16_t>(half | ((bits >> 16) & 0x8000u));
}

[[maybe_unused]] static constexpr float kHalfRoot = 0.70710678118654752440f;

// The pairs first ... n/2 - 1 of Kernels::mix.
static void mix_tail(float *x, std::uint32_t first, std::uint32_t n) {
  for (std::uint32_t i = first; i < n / 2; i++) {
    const float a = x[i];
    const float b = x[n - 1 - i];
    x[i] = (a + b) * kHalfRoot;
    x[n - 1 - i] = (a - b) * kHalfRoot;
  }
}

// Kernels::fwht's factor.
static float fwht_factor(std::uint32_t log2n) {
  const float power = 1.0f / static_cast<float>(1u << (log2n / 2));
  return (log2n & 1) != 0 ? kHalfRoot * power : power;
}

// Kernels::fwht for lengths below a register's.
static void fwht_small(float *x, std::uint32_t log2n) {
  const std::uint32_t n = 1u << log2n;
  const float factor = fwht_factor(log2n);
  for (std::uint32_t i = 0; i < n; i++) x[i] *= factor;
  for (std::uint32_t h = 1; h < n; h *= 2) {
    for (std::uint32_t i = 0; i < n; i += 2 * h) {
      for (std::uint32_t j = i; j < i + h; j++) {
        const float a = x[j];
        const float b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
    }
  }
}

}  // namespace phnsw
