// AVX-512 VNNI: tiles of 12 rows x 32 columns, 24 accumulators.
//
// vpdpbusd multiplies unsigned by signed bytes: the panels hold code + 128, the row's 128 * sum is where its
// accumulators start from.  A step of one group (4 dimensions) is 2 loads of columns, 12 broadcasts, 24 vpdpbusd.  gcc
// 12 takes the intrinsics' own "undefined" operands for a mistake (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "kernel/gemm_driver.hpp"

namespace phnsw {
namespace {

// x[i] lane j <-> x[j] lane i.
inline __attribute__((always_inline)) void transpose(__m512i (&x)[16]) noexcept {
  __m512i y[16];
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  // x[4q + r], 128-bit lane l: column 4l + r of rows 4q ... 4q + 3.
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  // The same for those lanes: a matrix of 4 x 4 of them for each r.
  for (int r = 0; r < 4; r++) {
    y[r] = _mm512_shuffle_i32x4(x[r], x[4 + r], 0x88);
    y[4 + r] = _mm512_shuffle_i32x4(x[r], x[4 + r], 0xDD);
    y[8 + r] = _mm512_shuffle_i32x4(x[8 + r], x[12 + r], 0x88);
    y[12 + r] = _mm512_shuffle_i32x4(x[8 + r], x[12 + r], 0xDD);
  }
  for (int r = 0; r < 4; r++) {
    x[r] = _mm512_shuffle_i32x4(y[r], y[8 + r], 0x88);
    x[4 + r] = _mm512_shuffle_i32x4(y[4 + r], y[12 + r], 0x88);
    x[8 + r] = _mm512_shuffle_i32x4(y[r], y[8 + r], 0xDD);
    x[12 + r] = _mm512_shuffle_i32x4(y[4 + r], y[12 + r], 0xDD);
  }
}

class Tile512 {
 public:
  static constexpr std::uint32_t kRows = 12, kColumns = 32, kLanes = 16;
  typedef std::int32_t Ints __attribute__((vector_size(64), may_alias, aligned(4)));
  typedef float Floats __attribute__((vector_size(64), may_alias, aligned(4)));

  Tile512(void *, std::uint32_t groups) noexcept : groups_(groups) {}

  static std::size_t packed_bytes(std::uint32_t groups) { return std::size_t{groups} * 4; }
  static std::size_t scratch_bytes(std::uint32_t) { return 0; }

  // Sixteen columns by sixteen groups at a time, transposed in registers.
  static void pack(const std::int8_t *const *rows, std::uint32_t groups, std::uint8_t *panel) noexcept {
    static constexpr std::int8_t kZeros[64] = {};
    const __m512i bias = _mm512_set1_epi8(-128);
    for (std::uint32_t column = 0; column < kColumns; column += 16) {
      for (std::uint32_t g = 0; g < groups; g += 16) {
        const std::uint32_t n = groups - g < 16 ? groups - g : 16;
        const __mmask16 some = static_cast<__mmask16>((1u << n) - 1);
        __m512i x[16];
#pragma GCC unroll 16
        for (std::uint32_t c = 0; c < 16; c++) {
          const std::int8_t *row = rows[column + c];
          x[c] = _mm512_maskz_loadu_epi32(some, row != nullptr ? row + std::size_t{g} * 4 : kZeros);
        }
        transpose(x);
        std::uint8_t *out = panel + (std::size_t{g} * kColumns + column) * 4;
#pragma GCC unroll 16
        for (std::uint32_t i = 0; i < 16; i++) {
          if (i < n) _mm512_storeu_si512(out + i * kColumns * 4, _mm512_xor_si512(x[i], bias));
        }
      }
    }
  }

  void load(const CodeRows &from, const std::uint32_t *ids, std::uint32_t row0, std::uint32_t rows) noexcept {
    for (std::uint32_t r = 0; r < kRows; r++) {
      const std::uint32_t row = row0 + (r < rows ? r : 0);
      const std::uint32_t id = ids != nullptr ? ids[row] : row;
      row_[r] = from.row(id);
      start_[r] = -128 * from.heads[id].sum;
      scale[r] = from.heads[id].scale;
      norm2[r] = from.heads[id].norm2;
    }
  }

  // dots = the products of 12 rows and a panel's 32 columns.
  void multiply(const std::uint8_t *b, std::int32_t (*dots)[kColumns]) const noexcept { products<2>(b, 0, dots); }
  // Those of the columns from 16 * half on only.
  void multiply_half(const std::uint8_t *b, std::uint32_t half, std::int32_t (*dots)[kColumns]) const noexcept {
    products<1>(b + std::size_t{half} * 64, half * 16, dots);
  }

  static void keep(Floats &x) noexcept { asm("" : "+v"(x)); }
  static bool any(Ints mask) noexcept { return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) != 0; }

  float scale[kRows], norm2[kRows];

 private:
  // The instruction is written out: from its intrinsic gcc 12 makes a loop that
  // copies or spills every accumulator in every step.
  template <std::uint32_t kVectors>
  void products(const std::uint8_t *b, std::uint32_t column, std::int32_t (*dots)[kColumns]) const noexcept {
    const std::int8_t *row[kRows];
#pragma GCC unroll 12
    for (std::uint32_t r = 0; r < kRows; r++) row[r] = row_[r];
    __m512i acc[kRows][kVectors];
#pragma GCC unroll 12
    for (std::uint32_t r = 0; r < kRows; r++) {
#pragma GCC unroll 2
      for (std::uint32_t v = 0; v < kVectors; v++) acc[r][v] = _mm512_set1_epi32(start_[r]);
    }
    for (std::size_t at = 0; at < std::size_t{groups_} * 4; at += 4, b += 128) {
      const __m512i b0 = _mm512_loadu_si512(b), b1 = kVectors == 2 ? _mm512_loadu_si512(b + 64) : b0;
#pragma GCC unroll 12
      for (std::uint32_t r = 0; r < kRows; r++) {
        std::int32_t four;
        std::memcpy(&four, row[r] + at, 4);
        const __m512i x = _mm512_set1_epi32(four);
        asm("vpdpbusd %2, %1, %0" : "+v"(acc[r][0]) : "v"(b0), "v"(x));
        if constexpr (kVectors == 2) asm("vpdpbusd %2, %1, %0" : "+v"(acc[r][1]) : "v"(b1), "v"(x));
      }
    }
#pragma GCC unroll 12
    for (std::uint32_t r = 0; r < kRows; r++) {
#pragma GCC unroll 2
      for (std::uint32_t v = 0; v < kVectors; v++) _mm512_storeu_si512(dots[r] + column + 16 * v, acc[r][v]);
    }
  }

  const std::int8_t *row_[kRows];
  std::uint32_t groups_;
  std::int32_t start_[kRows];
};

// Sums of the lanes of four vectors.
__m128i sum_lanes(__m512i a, __m512i b, __m512i c, __m512i d) noexcept {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

void dots512(const std::int8_t *a, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n, std::uint32_t bytes,
             std::int32_t *dots) {
  const __m512i bias = _mm512_set1_epi8(-128);
  for (std::uint32_t i = 0; i < n; i += 4) {
    const std::int8_t *row[4];
    std::int32_t sum[4];
    __m512i acc[4];
    for (std::uint32_t r = 0; r < 4; r++) {
      const std::uint32_t id = ids[i + r < n ? i + r : n - 1];
      row[r] = from.row(id);
      sum[r] = 128 * from.heads[id].sum;
      acc[r] = _mm512_setzero_si512();
    }
    for (std::uint32_t at = 0; at < bytes; at += 64) {
      const __m512i x = _mm512_xor_si512(bias, _mm512_loadu_si512(a + at));
      for (int r = 0; r < 4; r++) acc[r] = _mm512_dpbusd_epi32(acc[r], x, _mm512_loadu_si512(row[r] + at));
    }
    std::int32_t four[4];
    const __m128i sums = _mm_loadu_si128(reinterpret_cast<const __m128i *>(sum));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(four), _mm_sub_epi32(sum_lanes(acc[0], acc[1], acc[2], acc[3]), sums));
    for (std::uint32_t r = 0; r < 4 && i + r < n; r++) dots[i + r] = four[r];
  }
}

std::uint32_t find_low_bits(const std::uint64_t *numbers, std::uint32_t n, std::uint64_t bits, std::uint64_t mask) {
  const __m512i wanted = _mm512_set1_epi64(static_cast<std::int64_t>(bits));
  const __m512i low = _mm512_set1_epi64(static_cast<std::int64_t>(mask));
  for (std::uint32_t i = 0; i < n; i += 8) {
    const __mmask8 inside = static_cast<__mmask8>(n - i >= 8 ? 0xFF : (1u << (n - i)) - 1);
    const __m512i x = _mm512_maskz_loadu_epi64(inside, numbers + i);
    const __mmask8 found = _mm512_mask_testn_epi64_mask(inside, _mm512_xor_si512(x, wanted), low);
    if (found != 0) return i + static_cast<std::uint32_t>(__builtin_ctz(found));
  }
  return n;
}

std::uint32_t find_largest(const std::uint64_t *numbers, std::uint32_t n) {
  __m512i largest = _mm512_setzero_si512();
  for (std::uint32_t i = 0; i < n; i += 8) {
    const __mmask8 inside = static_cast<__mmask8>(n - i >= 8 ? 0xFF : (1u << (n - i)) - 1);
    largest = _mm512_max_epu64(largest, _mm512_maskz_loadu_epi64(inside, numbers + i));
  }
  return find_low_bits(numbers, n, _mm512_reduce_max_epu64(largest), ~std::uint64_t{0});
}

}  // namespace

extern const GemmKernels kAvx512Gemm;
const GemmKernels kAvx512Gemm = make_gemm<Tile512>("avx512", dots512, find_low_bits, find_largest);

}  // namespace phnsw
