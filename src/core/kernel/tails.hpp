// What the SIMD files do one element at a time, with scalar.cpp's roundings.
//
// Everything is static: each instruction set's file has its own copy, compiled with its own flags and never shared.
#pragma once

#include <cstdint>

namespace phnsw {

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
