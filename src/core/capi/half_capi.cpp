// C entries for coordinates of half precision.  Distances widen a block of both vectors at a time, into memory of the
// stack that stays in the first-level cache, and leave the sums to the kernels of float32.
#include <algorithm>

#include "capi/phnsw_half.h"
#include "codec/cosine.hpp"
#include "kernel/kernels.hpp"

using phnsw::kernels;

namespace {

constexpr std::uint32_t kBlock = 256;

// Calls sum(a, b, n) for each block of widened coordinates.
template <class Sum>
void for_blocks(const std::uint16_t *a, const std::uint16_t *b, std::uint32_t n, const Sum &sum) {
  float wide_a[kBlock];
  float wide_b[kBlock];
  for (std::uint32_t i = 0; i < n; i += kBlock) {
    const std::uint32_t count = std::min(kBlock, n - i);
    kernels().widen(a + i, wide_a, count);
    kernels().widen(b + i, wide_b, count);
    sum(wide_a, wide_b, count);
  }
}

double sum_blocks(const std::uint16_t *a, const std::uint16_t *b, std::uint32_t n,
                  double (*kernel)(const float *a, const float *b, std::uint32_t n)) {
  double total = 0;
  for_blocks(a, b, n, [&](const float *x, const float *y, std::uint32_t count) { total += kernel(x, y, count); });
  return total;
}

}  // namespace

extern "C" {

void phnsw_half_widen(const uint16_t *halves, float *x, uint32_t n) noexcept { kernels().widen(halves, x, n); }

void phnsw_half_narrow(const float *x, uint16_t *halves, uint32_t n) noexcept { kernels().narrow(x, halves, n); }

double phnsw_half_l2_squared(const uint16_t *a, const uint16_t *b, uint32_t n) noexcept {
  return sum_blocks(a, b, n, kernels().l2_f32);
}

double phnsw_half_inner_product(const uint16_t *a, const uint16_t *b, uint32_t n) noexcept {
  return sum_blocks(a, b, n, kernels().ip_f32);
}

double phnsw_half_l1(const uint16_t *a, const uint16_t *b, uint32_t n) noexcept {
  return sum_blocks(a, b, n, kernels().l1_f32);
}

double phnsw_half_cosine_distance(const uint16_t *a, const uint16_t *b, uint32_t n) noexcept {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for_blocks(a, b, n, [&](const float *x, const float *y, std::uint32_t count) {
    double block_ab = 0;
    double block_aa = 0;
    double block_bb = 0;
    kernels().cosine_f32(x, y, count, &block_ab, &block_aa, &block_bb);
    ab += block_ab;
    aa += block_aa;
    bb += block_bb;
  });
  return phnsw::cosine_distance(ab, aa, bb);
}

}  // extern "C"
