// Distances of halves, through the C interface, against sums in long double over the same values: what the bounds of
// the access method rest on (codec/README.md) is an error of a few float64 roundings per term, whatever the blocks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "base/rng.hpp"
#include "capi/phnsw_core.h"
#include "guarded.hpp"

namespace {

struct Sums {
  long double l2 = 0, ip = 0, l1 = 0, aa = 0, bb = 0;
};

Sums sums_of(const std::uint16_t *a, const std::uint16_t *b, std::uint32_t n) {
  std::vector<float> x(n), y(n);
  phnsw_half_widen(a, x.data(), n);
  phnsw_half_widen(b, y.data(), n);
  Sums s;
  for (std::uint32_t i = 0; i < n; i++) {
    const long double p = static_cast<long double>(x[i]);
    const long double q = static_cast<long double>(y[i]);
    s.l2 += (p - q) * (p - q);
    s.ip += p * q;
    s.l1 += std::fabs(p - q);
    s.aa += p * p;
    s.bb += q * q;
  }
  return s;
}

// Magnitudes up to 2^exponent, subnormal ones among them; never infinite.
std::uint16_t random_half(phnsw::Rng &rng, int exponent) {
  const float x = std::ldexp(static_cast<float>(2 * rng.unit() - 1), exponent - static_cast<int>(rng.next() % 12));
  std::uint16_t half = 0;
  phnsw_half_narrow(&x, &half, 1);
  return half;
}

TEST(Half, DistancesAreThoseOfTheWidenedCoordinates) {
  phnsw::Rng rng(1);
  for (const std::uint32_t n : {1u, 3u, 255u, 256u, 257u, 511u, 768u, 1536u, 4000u, 16000u}) {
    for (const int exponent : {-20, 0, 15}) {
      Guarded<std::uint16_t> a(n), b(n);
      for (std::uint32_t i = 0; i < n; i++) {
        a[i] = random_half(rng, exponent);
        b[i] = random_half(rng, exponent);
      }
      const Sums s = sums_of(a.data(), b.data(), n);
      const double rounding = (n + 8) * 0x1p-52;
      const double length = static_cast<double>(std::sqrt(s.aa * s.bb));
      EXPECT_NEAR(static_cast<double>(s.l2), phnsw_half_l2_squared(a.data(), b.data(), n),
                  rounding * static_cast<double>(s.l2));
      EXPECT_NEAR(static_cast<double>(s.l1), phnsw_half_l1(a.data(), b.data(), n),
                  rounding * static_cast<double>(s.l1));
      EXPECT_NEAR(static_cast<double>(s.ip), phnsw_half_inner_product(a.data(), b.data(), n), rounding * length);
      if (length == 0) continue;  // below
      EXPECT_NEAR(1 - static_cast<double>(s.ip) / length, phnsw_half_cosine_distance(a.data(), b.data(), n),
                  2 * rounding);
    }
  }
}

TEST(Half, CosineOfAZeroVectorIsNotANumber) {
  const std::vector<std::uint16_t> zero(300, 0x8000), one(300, 0x3C00);
  EXPECT_TRUE(std::isnan(phnsw_half_cosine_distance(zero.data(), one.data(), 300)));
  EXPECT_EQ(0.0, phnsw_half_cosine_distance(one.data(), one.data(), 300));
}

}  // namespace
