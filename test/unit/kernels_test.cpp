// Every kernel of every instruction set this machine has, against the scalar reference and against a naive sum in wider
// arithmetic: every length from 0 to twice the widest step and some large ones, aligned and misaligned, with the
// buffers ending at an inaccessible page.  Integers and element-wise results must be equal, sums within the stated
// tolerance.
#include "kernel/kernels.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "guarded.hpp"

namespace {

using phnsw::Kernels;
using phnsw::Rng;

std::vector<const Kernels *> tables() {
  std::vector<const Kernels *> found{&phnsw::kScalarKernels};
#if defined(__x86_64__)
  if (phnsw::cpu_has(phnsw::Simd::kAvx2)) found.push_back(&phnsw::kAvx2Kernels);
  if (phnsw::cpu_has(phnsw::Simd::kAvxVnni)) found.push_back(&phnsw::kAvxVnniKernels);
  if (phnsw::cpu_has(phnsw::Simd::kAvx512)) found.push_back(&phnsw::kAvx512Kernels);
#endif
  return found;
}

std::vector<std::uint32_t> lengths() {
  std::vector<std::uint32_t> all;
  for (std::uint32_t n = 0; n <= 2 * 256 + 1; n++) all.push_back(n);
  for (const std::uint32_t n : {767u, 768u, 1000u, 1536u, 3072u, 4095u, 7901u, 16000u, 16001u}) all.push_back(n);
  return all;
}

enum class Fill { kRandom, kLowest, kHighest };

std::uint8_t byte_of(Fill fill, Rng &rng, std::uint8_t lowest, std::uint8_t highest) {
  if (fill == Fill::kLowest) return lowest;
  if (fill == Fill::kHighest) return highest;
  return static_cast<std::uint8_t>(rng.next());
}

float random_float(Rng &rng) { return static_cast<float>(2 * rng.unit() - 1); }

std::int32_t nibble(const std::uint8_t *b, std::uint32_t i) { return ((b[i / 2] >> ((i & 1) * 4)) & 15) - 8; }

class KernelsTest : public testing::TestWithParam<const Kernels *> {
 protected:
  const Kernels &k() const { return *GetParam(); }
};

// What a half says, by the definition of binary16.
float value_of(std::uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  const float sign = (half & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction != 0 ? std::nanf("") : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                               : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25));
}

// Of the two halves around x, magnitudes of 0 or more, the nearer one, or the
// even one; above the largest, infinity is at 2^16.
std::uint16_t nearest_half(float x) {
  std::uint16_t low = 0;
  std::uint16_t high = 0x7C00;
  while (high - low > 1) {
    const std::uint16_t middle = static_cast<std::uint16_t>((low + high) / 2);
    (value_of(middle) <= x ? low : high) = middle;
  }
  const double below = static_cast<double>(x) - static_cast<double>(value_of(low));
  const double above = (high == 0x7C00 ? 65536.0 : static_cast<double>(value_of(high))) - static_cast<double>(x);
  return below < above || (below == above && (low & 1) == 0) ? low : high;
}

// All halves there are, at every place of a register and in the tail behind it.
TEST_P(KernelsTest, HalvesWidenExactlyAndComeBack) {
  for (const std::uint32_t n : {1u, 7u, 8u, 13u, 64u}) {
    for (std::uint32_t first = 0; first < 0x10000; first += n) {
      Guarded<std::uint16_t> halves(n), back(n);
      Guarded<float> wide(n);
      for (std::uint32_t i = 0; i < n; i++) halves[i] = static_cast<std::uint16_t>(first + i);
      k().widen(halves.data(), wide.data(), n);
      k().narrow(wide.data(), back.data(), n);
      for (std::uint32_t i = 0; i < n; i++) {
        const float expected = value_of(halves[i]);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(wide[i])) << halves[i];
          ASSERT_TRUE(std::isnan(value_of(back[i]))) << halves[i];
        } else {
          ASSERT_EQ(expected, wide[i]) << halves[i];
          ASSERT_EQ(std::signbit(expected), std::signbit(wide[i])) << halves[i];
          ASSERT_EQ(halves[i], back[i]);
        }
      }
    }
  }
}

// Around every half and every middle between two: ties go to the even one.
TEST_P(KernelsTest, FloatsNarrowToTheNearestHalf) {
  constexpr std::uint32_t kMagnitudes = 0x7C00;
  std::vector<float> x;
  for (std::uint32_t half = 0; half < kMagnitudes; half++) {
    const float low = value_of(static_cast<std::uint16_t>(half));
    const float high = half + 1 == kMagnitudes ? 65536.0f : value_of(static_cast<std::uint16_t>(half + 1));
    const float middle = (low + high) / 2;
    for (const float v :
         {std::nextafter(low, 1e9f), std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 1e9f)}) {
      x.push_back(v);
      x.push_back(-v);
    }
  }
  for (const float v : {1e-45f, 1e-8f, 65535.0f, 65536.0f, 1e9f, 3.4e38f, INFINITY}) {
    x.push_back(v);
    x.push_back(-v);
  }
  const std::uint32_t n = static_cast<std::uint32_t>(x.size());
  std::vector<std::uint16_t> halves(n);
  k().narrow(x.data(), halves.data(), n);
  for (std::uint32_t i = 0; i < n; i++) {
    const std::uint16_t sign = std::signbit(x[i]) ? 0x8000 : 0;
    const std::uint16_t expected = std::fabs(x[i]) >= 65536.0f ? std::uint16_t{0x7C00} : nearest_half(std::fabs(x[i]));
    ASSERT_EQ(expected | sign, halves[i]) << x[i];
  }
}

// The four integer dot products are exact for every byte value, the extremes of both signs included; the buffers end
// at a guard page, and a shifted start checks every misalignment.
TEST_P(KernelsTest, IntegerDotProductsAreExact) {
  Rng rng(1);
  for (const std::uint32_t n : lengths()) {
    for (const Fill fill : {Fill::kRandom, Fill::kLowest, Fill::kHighest}) {
      Guarded<std::uint8_t> u(n), b4(n / 2 + n % 2), a4(n / 2 + n % 2);
      Guarded<std::int8_t> a(n), b(n);
      for (std::uint32_t i = 0; i < n; i++) {
        u[i] = byte_of(fill, rng, 0, 255);
        a[i] = static_cast<std::int8_t>(byte_of(fill, rng, 0x80, 127));
        b[i] = static_cast<std::int8_t>(byte_of(fill == Fill::kHighest ? Fill::kLowest : fill, rng, 0x80, 127));
      }
      for (std::uint32_t i = 0; i < n / 2 + n % 2; i++) {
        a4[i] = byte_of(fill, rng, 0, 255);
        b4[i] = byte_of(fill, rng, 0, 255);
      }
      std::int64_t u8s8 = 0, s8s8 = 0, u8s4 = 0, s4s4 = 0;
      for (std::uint32_t i = 0; i < n; i++) {
        u8s8 += u[i] * b[i];
        s8s8 += a[i] * b[i];
        u8s4 += u[i] * nibble(b4.data(), i);
        s4s4 += nibble(a4.data(), i) * nibble(b4.data(), i);
      }
      ASSERT_EQ(k().dot_u8s8(u.data(), b.data(), n), u8s8) << n;
      ASSERT_EQ(k().dot_s8s8(a.data(), b.data(), n), s8s8) << n;
      ASSERT_EQ(k().dot_u8s4(u.data(), b4.data(), n), u8s4) << n;
      ASSERT_EQ(k().dot_s4s4(a4.data(), b4.data(), n), s4s4) << n;
    }
  }
}

TEST_P(KernelsTest, IntegerDotProductsTakeAnyAlignment) {
  Rng rng(2);
  std::vector<std::uint8_t> u(400);
  std::vector<std::int8_t> b(400);
  for (std::size_t i = 0; i < u.size(); i++) {
    u[i] = static_cast<std::uint8_t>(rng.next());
    b[i] = static_cast<std::int8_t>(rng.next());
  }
  for (std::uint32_t shift = 0; shift < 70; shift++) {
    const Kernels &s = phnsw::kScalarKernels;
    EXPECT_EQ(k().dot_u8s8(&u[shift], &b[70 - shift], 300), s.dot_u8s8(&u[shift], &b[70 - shift], 300));
    EXPECT_EQ(k().dot_s4s4(&u[shift], &u[70 - shift], 300), s.dot_s4s4(&u[shift], &u[70 - shift], 300));
  }
}

// A query's code and those of a hop, every third of them of extreme coordinates; each ends at a guard page.
struct Hop {
  Hop(Rng &rng, std::uint32_t dims) : n(dims), query(dims) {
    for (std::uint32_t i = 0; i < n; i++)
      query[i] = i % 7 < 2 ? (i % 2 == 0 ? 255 : 1) : static_cast<std::uint8_t>(rng.next() % 255 + 1);
  }
  void add(Rng &rng) {
    const bool extremes = codes.size() % 3 == 2;
    owned.push_back(std::make_unique<Guarded<std::int8_t>>(n));
    for (std::uint32_t i = 0; i < n; i++) {
      const std::int8_t extreme = i % 2 == 0 ? 127 : -127;
      (*owned.back())[i] =
          extremes ? extreme : static_cast<std::int8_t>(static_cast<std::int32_t>(rng.next() % 255) - 127);
    }
    codes.push_back(owned.back()->data());
  }
  std::uint32_t n;
  Guarded<std::uint8_t> query;
  std::vector<std::unique_ptr<Guarded<std::int8_t>>> owned;
  std::vector<const std::int8_t *> codes;
};

// Many codes at once: the same numbers as one by one, whatever their number; every code ends at a guard page.
TEST_P(KernelsTest, ProductsOfManyCodesAreThoseOfEach) {
  Rng rng(12);
  for (const std::uint32_t n : {0u, 1u, 15u, 16u, 31u, 32u, 33u, 63u, 64u, 65u, 100u, 128u, 200u, 768u, 16001u}) {
    Hop hop(rng, n);
    const std::uint8_t *u = hop.query.data();
    const std::vector<const std::int8_t *> &pointers = hop.codes;
    for (std::uint32_t count = 0; count <= 9; count++) {
      std::vector<std::int32_t> dots(count + 1, -7);
      k().dots_u8s8(u, pointers.data(), count, n, dots.data());
      for (std::uint32_t i = 0; i < count; i++) {
        // 128 * sum(b), or what the kernel has left the caller of it.
        std::int32_t sum = 0;
        for (std::uint32_t x = 0; x < n; x++) sum += pointers[i][x];
        const std::int32_t left = dots[i] - static_cast<std::int32_t>(k().dots_added) * sum;
        ASSERT_EQ(left, phnsw::kScalarKernels.dot_u8s8(u, pointers[i], n) - 128 * sum) << n << " " << count;
      }
      ASSERT_EQ(dots[count], -7) << "written behind the last";
      hop.add(rng);
    }
  }
}

// The first coordinates of many codes, with the sums of their squares; every code ends at a guard page.
TEST_P(KernelsTest, ProductsAndSquaresOfTheFirstCoordinates) {
  Rng rng(13);
  for (const std::uint32_t n : {64u, 128u, 192u, 448u}) {
    Hop hop(rng, n);
    const std::uint8_t *u = hop.query.data();
    const std::vector<const std::int8_t *> &pointers = hop.codes;
    for (std::uint32_t count = 0; count <= 9; count++) {
      std::vector<std::int32_t> dots(count + 1, -7), squares(count + 1, -7);
      k().dots_squares(u, pointers.data(), count, n, dots.data(), squares.data());
      for (std::uint32_t i = 0; i < count; i++) {
        std::int32_t dot = 0, square = 0;
        for (std::uint32_t x = 0; x < n; x++) {
          dot += (u[x] - 128) * pointers[i][x];
          square += pointers[i][x] * pointers[i][x];
        }
        ASSERT_EQ(dots[i], dot) << n << " " << count;
        ASSERT_EQ(squares[i], square) << n << " " << count;
      }
      ASSERT_EQ(dots[count], -7) << "written behind the last";
      ASSERT_EQ(squares[count], -7) << "written behind the last";
      hop.add(rng);
    }
  }
}

// Sums in float32 stay within float_sum_error() of the same sum in float64, for codes of both widths.
TEST_P(KernelsTest, FloatSumsStayWithinTheirBound) {
  Rng rng(3);
  for (const std::uint32_t n : lengths()) {
    Guarded<float> q(n);
    Guarded<std::int8_t> c8(n);
    Guarded<std::uint8_t> c4(n / 2 + n % 2);
    const float scale = 0.0078125f;  // a power of two: scale * c is exact, so that only the sum is judged
    for (std::uint32_t i = 0; i < n; i++) {
      q[i] = random_float(rng);
      c8[i] = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
    }
    for (std::uint32_t i = 0; i < n / 2 + n % 2; i++) c4[i] = static_cast<std::uint8_t>(rng.next());
    double square8 = 0, dot8 = 0, size8 = 0, square4 = 0, dot4 = 0, size4 = 0;
    for (std::uint32_t i = 0; i < n; i++) {
      const double d8 = q[i] - scale * c8[i];
      const double d4 = q[i] - scale * nibble(c4.data(), i);
      square8 += d8 * d8;
      square4 += d4 * d4;
      dot8 += static_cast<double>(q[i]) * c8[i];
      dot4 += static_cast<double>(q[i]) * nibble(c4.data(), i);
      size8 += std::fabs(static_cast<double>(q[i]) * c8[i]);
      size4 += std::fabs(static_cast<double>(q[i]) * nibble(c4.data(), i));
    }
    const double error = phnsw::float_sum_error(n);
    ASSERT_NEAR(k().square_f32s8(q.data(), scale, c8.data(), n), square8, error * square8) << n;
    ASSERT_NEAR(k().square_f32s4(q.data(), scale, c4.data(), n), square4, error * square4) << n;
    ASSERT_NEAR(k().dot_f32s8(q.data(), c8.data(), n), dot8, error * size8) << n;
    ASSERT_NEAR(k().dot_f32s4(q.data(), c4.data(), n), dot4, error * size4) << n;
  }
}

// The operators' sums agree with a long double sum to float64's precision, at every magnitude float32 has.
TEST_P(KernelsTest, OperatorSumsAreFloat64) {
  Rng rng(4);
  for (const std::uint32_t n : lengths()) {
    for (const float magnitude : {1.0f, 1e-38f, 1e38f}) {
      Guarded<float> a(n), b(n);
      long double l2 = 0, ip = 0, l1 = 0, aa = 0, bb = 0, size = 0;
      for (std::uint32_t i = 0; i < n; i++) {
        a[i] = random_float(rng) * magnitude;
        b[i] = random_float(rng) * magnitude;
        const long double d = static_cast<long double>(a[i]) - b[i];
        l2 += d * d;
        l1 += std::fabs(d);
        ip += static_cast<long double>(a[i]) * b[i];
        size += std::fabs(static_cast<long double>(a[i]) * b[i]);
        aa += static_cast<long double>(a[i]) * a[i];
        bb += static_cast<long double>(b[i]) * b[i];
      }
      const long double error = (n + 2) * 0x1.0p-53L;
      ASSERT_NEAR(k().l2_f32(a.data(), b.data(), n), l2, error * l2) << n;
      ASSERT_NEAR(k().l1_f32(a.data(), b.data(), n), l1, error * l1) << n;
      ASSERT_NEAR(k().ip_f32(a.data(), b.data(), n), ip, error * size) << n;
      double got_ab = -1, got_aa = -1, got_bb = -1;
      k().cosine_f32(a.data(), b.data(), n, &got_ab, &got_aa, &got_bb);
      ASSERT_NEAR(got_ab, ip, error * size) << n;
      ASSERT_NEAR(got_aa, aa, error * aa) << n;
      ASSERT_NEAR(got_bb, bb, error * bb) << n;
    }
  }
}

// The steps of encoding give the reference's bits: the same codes on every machine.
TEST_P(KernelsTest, EncodingStepsAreBitExact) {
  Rng rng(5);
  const Kernels &s = phnsw::kScalarKernels;
  for (const std::uint32_t n : lengths()) {
    Guarded<float> x(n), y(n), want(n), signs(n);
    Guarded<std::int8_t> codes(n), want_codes(n);
    for (std::uint32_t i = 0; i < n; i++) {
      x[i] = want[i] = random_float(rng);
      y[i] = random_float(rng);
      signs[i] = rng.below(2) == 0 ? 1.0f : -1.0f;
    }
    const auto same = [&] { return n == 0 || std::memcmp(x.data(), want.data(), n * sizeof(float)) == 0; };
    const double factor = 1 / 0.3;
    k().scale(x.data(), factor, x.data(), n);
    s.scale(want.data(), factor, want.data(), n);
    ASSERT_TRUE(same()) << "scale " << n;
    ASSERT_EQ(k().subtract(x.data(), y.data(), n), s.subtract(want.data(), y.data(), n)) << n;
    ASSERT_TRUE(same()) << "subtract " << n;
    k().flip(x.data(), signs.data(), n);
    s.flip(want.data(), signs.data(), n);
    ASSERT_TRUE(same()) << "flip " << n;
    k().mix(x.data(), n);
    s.mix(want.data(), n);
    ASSERT_TRUE(same()) << "mix " << n;

    const float largest = k().quantise(x.data(), 0.0f, 0, nullptr, n);
    ASSERT_EQ(largest, s.quantise(x.data(), 0.0f, 0, nullptr, n)) << n;
    for (const std::int32_t limit : {127, 7}) {
      // The second scale clips.
      for (const float inverse : {static_cast<float>(limit) / (largest + 0.001f), 40.0f}) {
        k().quantise(x.data(), inverse, limit, codes.data(), n);
        s.quantise(x.data(), inverse, limit, want_codes.data(), n);
        double residual2 = 0;
        for (std::uint32_t i = 0; i < n; i++) {
          ASSERT_EQ(codes[i], want_codes[i]) << n;
          ASSERT_LE(std::abs(codes[i]), limit);
          const double d = x[i] - 0.01f * static_cast<double>(codes[i]);
          residual2 += d * d;
        }
        std::int32_t sum = 0, squares = 0, want_sum = 0, want_squares = 0;
        double got2 = -1, want2 = -1;
        k().code_sums(x.data(), 0.01f, codes.data(), n, &sum, &squares, &got2);
        s.code_sums(x.data(), 0.01f, codes.data(), n, &want_sum, &want_squares, &want2);
        ASSERT_EQ(sum, want_sum) << n;
        ASSERT_EQ(squares, want_squares) << n;
        ASSERT_NEAR(got2, residual2, residual2 * 1e-11) << n;
        ASSERT_NEAR(want2, residual2, residual2 * 1e-11) << n;
      }
    }
  }
}

// Halves go to the even neighbour, values beyond the limit to the limit.
TEST_P(KernelsTest, QuantiseRoundsToEvenAndClamps) {
  const float x[] = {0.5f, 1.5f, -0.5f, -2.5f, 126.5f, 200.0f, -1e30f, 3.49f, 0.0f, -0.0f, 1e30f};
  const std::int8_t want[] = {0, 2, 0, -2, 126, 127, -127, 3, 0, 0, 127};
  std::int8_t codes[11];
  k().quantise(x, 1.0f, 127, codes, 11);
  for (int i = 0; i < 11; i++) EXPECT_EQ(codes[i], want[i]) << i;
}

// The transform equals the reference's bits, is its own inverse and keeps the norm.
TEST_P(KernelsTest, WalshHadamardIsBitExactAndOrthonormal) {
  Rng rng(6);
  for (std::uint32_t log2n = 0; log2n <= 14; log2n++) {
    const std::uint32_t n = 1u << log2n;
    Guarded<float> x(n), want(n);
    std::vector<float> original(n);
    double norm2 = 0;
    for (std::uint32_t i = 0; i < n; i++) {
      x[i] = want[i] = original[i] = random_float(rng);
      norm2 += static_cast<double>(x[i]) * x[i];
    }
    k().fwht(x.data(), log2n);
    phnsw::kScalarKernels.fwht(want.data(), log2n);
    ASSERT_EQ(std::memcmp(x.data(), want.data(), n * sizeof(float)), 0) << log2n;
    double sum = 0, first = 0;
    for (std::uint32_t i = 0; i < n; i++) {
      sum += static_cast<double>(x[i]) * x[i];
      first += original[i];
    }
    EXPECT_NEAR(sum, norm2, norm2 * 1e-5);
    EXPECT_NEAR(x[0], first / std::sqrt(n), 1e-5 * std::sqrt(norm2));
    k().fwht(x.data(), log2n);
    for (std::uint32_t i = 0; i < n; i++) ASSERT_NEAR(x[i], original[i], 1e-5 * std::sqrt(norm2)) << log2n;
  }
}

INSTANTIATE_TEST_SUITE_P(AllTables, KernelsTest, testing::ValuesIn(tables()),
                         [](const testing::TestParamInfo<const Kernels *> &table) { return table.param->name; });

// Forcing a table by name works for those the machine has and refuses others, leaving the table in use alone.
TEST(KernelChoice, ForcesByNameAndRefusesUnknownNames) {
  const std::string before = phnsw::kernels().name;
  for (const Kernels *table : tables()) {
    ASSERT_TRUE(phnsw::force_kernels(table->name));
    EXPECT_EQ(&phnsw::kernels(), table);
    EXPECT_FALSE(phnsw::force_kernels("sse9"));
    EXPECT_EQ(&phnsw::kernels(), table);
  }
  ASSERT_TRUE(phnsw::force_kernels("auto"));
  EXPECT_EQ(&phnsw::kernels(), tables().back());
  ASSERT_TRUE(phnsw::force_kernels(before.c_str()));
}

}  // namespace
