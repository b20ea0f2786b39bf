// The rotation is orthogonal to the stated error, frozen, and spreads what stands in one coordinate over all.
#include "codec/rotation.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "coded.hpp"
#include "kernel/kernels.hpp"

namespace {

using phnsw::Rng;
using phnsw::Rotation;
using phnsw::test::gaussian_vector;

constexpr std::uint32_t kDims[] = {1,  2,  3,  4,   5,   6,   7,   8,   9,   15,  16,   17,   31,    33,
                                   63, 64, 65, 100, 127, 129, 255, 257, 300, 768, 1536, 7900, 16000, 16001};

// The same map in float64, written from the definition in README.md: what "exact" means.
std::vector<double> reference(const std::vector<float> &vector, std::uint64_t seed) {
  const std::size_t n = vector.size();
  std::vector<double> x(vector.begin(), vector.end());
  std::size_t power = 1;
  while (power * 2 <= n) power *= 2;
  Rng rng(seed);
  std::vector<std::uint64_t> words((4 * n + 63) / 64);
  for (std::uint64_t &word : words) word = rng.next();
  for (std::size_t round = 0; round < 4; round++) {
    for (std::size_t i = 0; i < n; i++) {
      const std::size_t bit = round * n + i;
      if ((words[bit / 64] >> (bit % 64)) & 1) x[i] = -x[i];
    }
    double *y = round % 2 == 0 ? x.data() : x.data() + (n - power);
    for (std::size_t h = 1; h < power; h *= 2) {
      for (std::size_t i = 0; i < power; i++) {
        if ((i & h) != 0) continue;
        const double a = y[i];
        const double b = y[i + h];
        y[i] = (a + b) / std::sqrt(2.0);
        y[i + h] = (a - b) / std::sqrt(2.0);
      }
    }
    if (power == n || round != 1) continue;
    for (std::size_t i = 0; i < n / 2; i++) {
      const double a = x[i];
      const double b = x[n - 1 - i];
      x[i] = (a + b) / std::sqrt(2.0);
      x[n - 1 - i] = (a - b) / std::sqrt(2.0);
    }
  }
  return x;
}

double norm(const std::vector<float> &v) {
  double sum = 0;
  for (const float x : v) sum += static_cast<double>(x) * x;
  return std::sqrt(sum);
}

float largest(const std::vector<float> &v) {
  float max = 0;
  for (const float x : v) max = std::max(max, std::fabs(x));
  return max;
}

// Against the float64 reference, over magnitudes that need rescaling and such that do not.
TEST(RotationTest, StaysWithinItsErrorOfTheReference) {
  Rng rng(1);
  for (const std::uint32_t dims : kDims) {
    const Rotation rotation(dims, 99);
    for (const double magnitude : {1.0, 1e-42, 1e-30, 1e30, 3e37}) {
      std::vector<float> v = gaussian_vector(rng, dims, magnitude / std::sqrt(dims));
      if (dims > 2) v[1] = static_cast<float>(magnitude);
      const std::vector<double> want = reference(v, 99);
      std::vector<float> got = v;
      ASSERT_TRUE(rotation.rotate(got.data(), largest(v)));
      double error2 = 0;
      for (std::uint32_t i = 0; i < dims; i++) error2 += (got[i] - want[i]) * (got[i] - want[i]);
      EXPECT_LE(std::sqrt(error2), rotation.error() * norm(v) + Rotation::kAbsoluteError) << dims << " " << magnitude;
    }
  }
}

// Every column has norm 1 and every two are orthogonal.
TEST(RotationTest, IsOrthogonal) {
  for (const std::uint32_t dims : {1u, 2u, 3u, 5u, 16u, 31u, 100u}) {
    const Rotation rotation(dims, 3);
    std::vector<std::vector<float>> columns;
    for (std::uint32_t i = 0; i < dims; i++) {
      std::vector<float> unit(dims);
      unit[i] = 1.0f;
      rotation.apply(unit.data());
      columns.push_back(unit);
    }
    for (std::uint32_t i = 0; i < dims; i++) {
      for (std::uint32_t j = 0; j <= i; j++) {
        double dot = 0;
        for (std::uint32_t k = 0; k < dims; k++) dot += static_cast<double>(columns[i][k]) * columns[j][k];
        EXPECT_NEAR(dot, i == j ? 1.0 : 0.0, 3 * rotation.error()) << dims;
      }
    }
  }
}

// One huge coordinate is what a rotation is for: afterwards none is far above the mean, wherever it stood.
TEST(RotationTest, SpreadsOneCoordinate) {
  for (const std::uint32_t dims : {100u, 300u, 768u, 1000u, 1536u, 3000u}) {
    const Rotation rotation(dims, 5);
    for (std::uint32_t step = 0; step <= 50; step++) {
      const std::uint32_t at = step * (dims - 1) / 50;
      std::vector<float> v(dims);
      v[at] = 1.0f;
      rotation.apply(v.data());
      EXPECT_LT(largest(v) * std::sqrt(dims), 7.0) << dims << " " << at;
    }
  }
}

// The signs come from the generator's stream: frozen, as codes on disk depend on them; and the bits are the same on
// every instruction set.
TEST(RotationTest, IsFrozenAndTheSameEverywhere) {
  const std::string before = phnsw::kernels().name;
  for (const std::uint32_t dims : kDims) {
    Rng rng(7);
    const std::vector<float> v = gaussian_vector(rng, dims);
    const Rotation rotation(dims, 12345);
    std::vector<float> want = v;
    ASSERT_TRUE(phnsw::force_kernels("scalar"));
    rotation.apply(want.data());
    for (const char *name : {"avx2", "avxvnni", "avx512"}) {
      if (!phnsw::force_kernels(name)) continue;
      std::vector<float> got = v;
      rotation.apply(got.data());
      EXPECT_EQ(std::memcmp(got.data(), want.data(), dims * sizeof(float)), 0) << name << " " << dims;
    }
  }
  ASSERT_TRUE(phnsw::force_kernels(before.c_str()));
  const float golden[] = {-0x1.448c6p+0f,  -0x1.18e6ccp+2f, -0x1.18e6cep+2f, -0x1.d67d4cp+2f,
                          -0x1.8debc2p+1f, 0x1.fb2cfep+1f,  -0x1.217858p+2f};
  std::vector<float> v{1, 2, 3, 4, 5, 6, 7};
  Rotation(7, 42).apply(v.data());
  for (int i = 0; i < 7; i++) EXPECT_EQ(v[i], golden[i]) << i;
}

// The way back leads to where it began.
TEST(RotationTest, IsInverted) {
  Rng rng(8);
  for (const std::uint32_t dims : kDims) {
    const Rotation rotation(dims, 31);
    const std::vector<float> v = gaussian_vector(rng, dims);
    std::vector<float> x = v;
    rotation.apply(x.data());
    rotation.invert(x.data());
    double square = 0;
    for (std::uint32_t i = 0; i < dims; i++)
      square += std::pow(static_cast<double>(x[i]) - static_cast<double>(v[i]), 2);
    EXPECT_LE(std::sqrt(square), 2 * rotation.error() * norm(v)) << dims;
  }
}

// The pieces that do not fit float32 are refused, the largest that do are not.
TEST(RotationTest, RefusesOnlyWhatOverflows) {
  constexpr float kMax = std::numeric_limits<float>::max();
  std::vector<float> v(64, kMax);
  EXPECT_FALSE(Rotation(64, 1).rotate(v.data(), std::numeric_limits<float>::infinity()));
  std::vector<float> one(64);
  one[3] = kMax;
  EXPECT_TRUE(Rotation(64, 1).rotate(one.data(), kMax));
  EXPECT_LE(largest(one), kMax);
  std::vector<float> zero(64);
  EXPECT_TRUE(Rotation(64, 1).rotate(zero.data(), 0.0f));
  EXPECT_EQ(largest(zero), 0.0f);
}

}  // namespace
