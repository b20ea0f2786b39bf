// The generator's stream is part of the file format: golden values, computed independently from the published
// algorithm (the first three are the reference implementation's for seed 0).
#include "base/rng.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace {

using phnsw::mix64;
using phnsw::Rng;

TEST(RngTest, StreamIsFrozen) {
  Rng zero(0);
  EXPECT_EQ(zero.next(), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(zero.next(), 0x6E789E6AA1B965F4u);
  EXPECT_EQ(zero.next(), 0x06C45D188009454Fu);
  Rng other(1234567);
  EXPECT_EQ(other.next(), 6457827717110365317u);
  EXPECT_EQ(other.next(), 3203168211198807973u);
  EXPECT_EQ(other.next(), 9817491932198370423u);
  EXPECT_EQ(mix64(0), 0xE220A8397B1DCDAFu);
}

TEST(RngTest, BelowStaysBelowAndIsUniform) {
  Rng rng(1);
  std::vector<int> counts(10);
  for (int i = 0; i < 100000; i++) {
    const std::uint32_t v = rng.below(10);
    ASSERT_LT(v, 10u);
    counts[v]++;
  }
  // Six standard deviations of a binomial around 10,000.
  for (const int count : counts) EXPECT_NEAR(count, 10000, 570);
  for (int i = 0; i < 100; i++) EXPECT_EQ(rng.below(1), 0u);
}

TEST(RngTest, UnitIsAboveZeroAndAtMostOne) {
  Rng rng(2);
  double sum = 0;
  for (int i = 0; i < 100000; i++) {
    const double v = rng.unit();
    ASSERT_GT(v, 0.0);
    ASSERT_LE(v, 1.0);
    sum += v;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.006);
}

}  // namespace
