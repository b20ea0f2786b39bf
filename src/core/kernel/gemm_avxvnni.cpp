// AVX-VNNI: tiles of 6 rows x 16 columns, 12 accumulators; the layout of
// gemm_avx512.cpp in registers of half the width.
//
// The panels hold code + 128 (unsigned, as vpdpbusd wants one side), the row's 128 * sum is where its accumulators
// start from.  A step of one group (4 dimensions) is 2 loads of columns, 6 broadcasts, 12 vpdpbusd.
#include "kernel/avx2.hpp"
#include "kernel/gemm_driver.hpp"

namespace phnsw {
namespace {

// x[i] lane j <-> x[j] lane i.
inline __attribute__((always_inline)) void transpose(__m256i (&x)[8]) noexcept {
  __m256i y[8];
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
  }
  // x[4q + r], 128-bit lane l: column 4l + r of rows 4q ... 4q + 3.
  for (int i = 0; i < 8; i += 4) {
    x[i] = _mm256_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm256_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm256_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm256_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  for (int r = 0; r < 4; r++) {
    y[r] = _mm256_permute2x128_si256(x[r], x[4 + r], 0x20);
    y[4 + r] = _mm256_permute2x128_si256(x[r], x[4 + r], 0x31);
  }
  for (int i = 0; i < 8; i++) x[i] = y[i];
}

class TileVnni256 {
 public:
  static constexpr std::uint32_t kRows = 6, kColumns = 16, kLanes = 8;
  typedef std::int32_t Ints __attribute__((vector_size(32), may_alias, aligned(4)));
  typedef float Floats __attribute__((vector_size(32), may_alias, aligned(4)));

  TileVnni256(void *, std::uint32_t groups) noexcept : groups_(groups) {}

  static std::size_t packed_bytes(std::uint32_t groups) { return std::size_t{groups} * 4; }
  static std::size_t scratch_bytes(std::uint32_t) { return 0; }

  // Eight columns by eight groups at a time, transposed in registers.
  static void pack(const std::int8_t *const *rows, std::uint32_t groups, std::uint8_t *panel) noexcept {
    const __m256i bias = _mm256_set1_epi8(-128);
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    for (std::uint32_t column = 0; column < kColumns; column += 8) {
      for (std::uint32_t g = 0; g < groups; g += 8) {
        const std::uint32_t n = groups - g < 8 ? groups - g : 8;
        const __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<std::int32_t>(n)), lane);
        __m256i x[8];
#pragma GCC unroll 8
        for (std::uint32_t c = 0; c < 8; c++) {
          const std::int8_t *row = rows[column + c];
          x[c] = row != nullptr ? _mm256_maskload_epi32(reinterpret_cast<const int *>(row + std::size_t{g} * 4), some)
                                : _mm256_setzero_si256();
        }
        transpose(x);
        std::uint8_t *out = panel + (std::size_t{g} * kColumns + column) * 4;
#pragma GCC unroll 8
        for (std::uint32_t i = 0; i < 8; i++) {
          if (i < n)
            _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + i * kColumns * 4), _mm256_xor_si256(x[i], bias));
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

  // dots = the products of 6 rows and a panel's 16 columns.
  void multiply(const std::uint8_t *b, std::int32_t (*dots)[kColumns]) const noexcept { products<2>(b, 0, dots); }
  // Those of the columns from 8 * half on only.
  void multiply_half(const std::uint8_t *b, std::uint32_t half, std::int32_t (*dots)[kColumns]) const noexcept {
    products<1>(b + std::size_t{half} * 32, half * 8, dots);
  }

  static void keep(Floats &x) noexcept { asm("" : "+x"(x)); }
  static bool any(Ints mask) noexcept { return _mm256_movemask_epi8(reinterpret_cast<__m256i>(mask)) != 0; }

  float scale[kRows], norm2[kRows];

 private:
  // The instruction is written out for the reason that gemm_avx512.cpp gives.
  template <std::uint32_t kVectors>
  void products(const std::uint8_t *b, std::uint32_t column, std::int32_t (*dots)[kColumns]) const noexcept {
    const std::int8_t *row[kRows];
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) row[r] = row_[r];
    __m256i acc[kRows][kVectors];
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) {
#pragma GCC unroll 2
      for (std::uint32_t v = 0; v < kVectors; v++) acc[r][v] = _mm256_set1_epi32(start_[r]);
    }
    for (std::size_t at = 0; at < std::size_t{groups_} * 4; at += 4, b += 64) {
      const __m256i b0 = load32(b), b1 = kVectors == 2 ? load32(b + 32) : b0;
#pragma GCC unroll 6
      for (std::uint32_t r = 0; r < kRows; r++) {
        std::int32_t four;
        std::memcpy(&four, row[r] + at, 4);
        const __m256i x = _mm256_set1_epi32(four);
        asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc[r][0]) : "x"(b0), "x"(x));
        if constexpr (kVectors == 2) asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc[r][1]) : "x"(b1), "x"(x));
      }
    }
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) {
#pragma GCC unroll 2
      for (std::uint32_t v = 0; v < kVectors; v++) {
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(dots[r] + column + 8 * v), acc[r][v]);
      }
    }
  }

  const std::int8_t *row_[kRows];
  std::uint32_t groups_;
  std::int32_t start_[kRows];
};

// Four rows at a time: one load of a serves all.
void dots256(const std::int8_t *a, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n, std::uint32_t bytes,
             std::int32_t *dots) {
  const __m256i bias = _mm256_set1_epi8(-128);
  for (std::uint32_t i = 0; i < n; i += 4) {
    const std::int8_t *row[4];
    std::int32_t sum[4];
    __m256i acc[4];
    for (std::uint32_t r = 0; r < 4; r++) {
      const std::uint32_t id = ids[i + r < n ? i + r : n - 1];
      row[r] = from.row(id);
      sum[r] = 128 * from.heads[id].sum;
      acc[r] = _mm256_setzero_si256();
    }
    for (std::uint32_t at = 0; at < bytes; at += 32) {
      const __m256i x = _mm256_xor_si256(bias, load32(a + at));
      for (int r = 0; r < 4; r++) acc[r] = _mm256_dpbusd_avx_epi32(acc[r], x, load32(row[r] + at));
    }
    std::int32_t four[4];
    _mm_storeu_si128(reinterpret_cast<__m128i *>(four),
                     _mm_sub_epi32(reduce4(acc[0], acc[1], acc[2], acc[3]), load16(sum)));
    for (std::uint32_t r = 0; r < 4 && i + r < n; r++) dots[i + r] = four[r];
  }
}

}  // namespace

extern const GemmKernels kAvxVnniGemm;
const GemmKernels kAvxVnniGemm = make_gemm<TileVnni256>("avxvnni", dots256, avx2::find_low_bits, avx2::find_largest);

}  // namespace phnsw
