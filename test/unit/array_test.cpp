// Array: aligned, moved without copying, zeroed on request, and an impossible size is bad_alloc, not a wrapped product.
#include "base/array.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace {

using phnsw::Array;

TEST(ArrayTest, IsAlignedToCacheLines) {
  for (const std::size_t n : {1u, 3u, 64u, 1000u}) {
    const Array<std::uint8_t> array(n);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(array.data()) % phnsw::kCacheLine, 0u);
    EXPECT_EQ(array.size(), n);
  }
}

TEST(ArrayTest, EmptyArraysOwnNothing) {
  Array<int> array(0);
  EXPECT_EQ(array.data(), nullptr);
  EXPECT_EQ(array.size(), 0u);
  array.reset_zero(0);
  array.resize(0);
  EXPECT_EQ(array.begin(), array.end());
}

TEST(ArrayTest, ResetZeroZeroesAndResizeKeeps) {
  Array<std::uint32_t> array;
  array.reset_zero(100);
  for (const std::uint32_t v : array) EXPECT_EQ(v, 0u);
  for (std::uint32_t i = 0; i < 100; i++) array[i] = i;
  array.resize(1000);
  ASSERT_EQ(array.size(), 1000u);
  for (std::uint32_t i = 0; i < 100; i++) EXPECT_EQ(array[i], i);
  array.resize(10);
  ASSERT_EQ(array.size(), 10u);
  for (std::uint32_t i = 0; i < 10; i++) EXPECT_EQ(array[i], i);
}

TEST(ArrayTest, MovesOwnership) {
  Array<int> a(5);
  int *data = a.data();
  Array<int> b(std::move(a));
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(a.data(), nullptr);
  EXPECT_EQ(a.size(), 0u);
  Array<int> c(7);
  c = std::move(b);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(c.size(), 5u);
}

TEST(ArrayTest, ImpossibleSizesAreRefused) {
  Array<std::uint64_t> array(4);
  EXPECT_THROW(array.reset(static_cast<std::size_t>(-1) / 4), std::bad_alloc);
  EXPECT_EQ(array.size(), 0u);
  EXPECT_EQ(array.data(), nullptr);
}

}  // namespace
