// AVX2: tiles of 6 rows x 16 columns, 12 accumulators.
//
// vpmaddubsw would saturate, so both operands are widened to 16 bits: the panels hold int16, the rows are widened once per
// block.  A step of two dimensions is 2 loads of columns, 6 broadcasts, 12 vpmaddwd and 12 vpaddd.
#include <immintrin.h>

#include "kernel/gemm_driver.hpp"

namespace phnsw {
namespace {

class Tile256 {
 public:
  static constexpr std::uint32_t kRows = 6, kColumns = 16;

  Tile256(void *scratch, std::uint32_t groups) noexcept : a_(static_cast<std::int32_t *>(scratch)), pairs_(groups * 2) {}

  static std::size_t packed_bytes(std::uint32_t groups) { return std::size_t{groups} * 8; }
  static std::size_t scratch_bytes(std::uint32_t groups) { return std::size_t{groups} * 8 * kRows; }

  static void pack(const std::int8_t *code, std::uint8_t *panel, std::uint32_t column, std::uint32_t groups) noexcept {
    for (std::size_t i = 0; i < std::size_t{groups} * 2; i++) {
      const std::int32_t pair = code != nullptr ? widen(code + 2 * i) : 0;
      std::memcpy(panel + (i * kColumns + column) * 4, &pair, 4);
    }
  }

  void load(const CodeRows &from, const std::uint32_t *ids, std::uint32_t row0, std::uint32_t rows) noexcept {
    for (std::uint32_t r = 0; r < kRows; r++) {
      const std::uint32_t row = row0 + (r < rows ? r : 0);
      const std::uint32_t id = ids != nullptr ? ids[row] : row;
      const std::int8_t *code = from.row(id);
      for (std::size_t i = 0; i < pairs_; i++) a_[i * kRows + r] = widen(code + 2 * i);
      scale_[r] = from.heads[id].scale;
      norm2_[r] = from.heads[id].norm2;
    }
  }

  template <bool kSelf>
  bool compute(const GemmPanels &panels, std::uint32_t column0, const float *row_thresholds,
               const float *column_thresholds, std::uint32_t rows, TileOutput<Tile256> *output) const noexcept {
    __m256i acc[kRows][2];
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
    const std::uint8_t *b = panels.data + std::size_t{column0} * 4 * pairs_;
    const std::int32_t *a = a_;
    for (std::uint32_t i = 0; i < pairs_; i++, b += 64, a += kRows) {
      const __m256i b0 = load256(b), b1 = load256(b + 32);
#pragma GCC unroll 6
      for (std::uint32_t r = 0; r < kRows; r++) {
        const __m256i x = _mm256_set1_epi32(a[r]);
        acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(b0, x));
        acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(b1, x));
      }
    }
    const __m256 minus2 = _mm256_set1_ps(-2.0f);
    std::uint64_t any = 0;
    for (std::uint32_t r = 0; r < rows; r++) output->row_hits[r] = output->column_hits[r] = 0;
#pragma GCC unroll 2
    for (std::uint32_t h = 0; h < 2; h++) {
      const std::uint32_t column = column0 + 8 * h;
      const __m256 norms = _mm256_loadu_ps(panels.norm2 + column);
      const __m256 scales = _mm256_mul_ps(minus2, _mm256_loadu_ps(panels.scale + column));
#pragma GCC unroll 6
      for (std::uint32_t r = 0; r < kRows; r++) {
        if (r >= rows) break;
        const __m256 product = _mm256_mul_ps(_mm256_set1_ps(scale_[r]), scales);
        const __m256 norm = _mm256_add_ps(_mm256_set1_ps(norm2_[r]), norms);
        const __m256 d = _mm256_max_ps(_mm256_fmadd_ps(product, _mm256_cvtepi32_ps(acc[r][h]), norm), _mm256_setzero_ps());
        _mm256_store_ps(output->distance[r] + 8 * h, d);
        const __m256 limit = _mm256_set1_ps(row_thresholds[r]);
        output->row_hits[r] |= std::uint64_t{mask(_mm256_cmp_ps(d, limit, _CMP_LT_OQ))} << (8 * h);
        if constexpr (kSelf) {
          const __m256 limits = _mm256_loadu_ps(column_thresholds + 8 * h);
          output->column_hits[r] |= std::uint64_t{mask(_mm256_cmp_ps(d, limits, _CMP_LT_OQ))} << (8 * h);
        }
        any |= output->row_hits[r] | output->column_hits[r];
      }
    }
    return any != 0;
  }

 private:
  static std::int32_t widen(const std::int8_t *two) noexcept {
    return static_cast<std::int32_t>((static_cast<std::uint32_t>(static_cast<std::uint16_t>(two[1])) << 16) |
                                     static_cast<std::uint16_t>(two[0]));
  }
  static __m256i load256(const std::uint8_t *from) noexcept {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
  }
  static std::uint32_t mask(__m256 lanes) noexcept { return static_cast<std::uint32_t>(_mm256_movemask_ps(lanes)); }

  std::int32_t *a_;
  std::uint32_t pairs_;
  float scale_[kRows];
  float norm2_[kRows];
};

std::int32_t dot256(const std::uint8_t *biased, const std::int8_t *row, std::uint32_t bytes) noexcept {
  const __m256i bias = _mm256_set1_epi16(128);
  __m256i acc0 = _mm256_setzero_si256(), acc1 = acc0;
  for (std::uint32_t at = 0; at < bytes; at += 32) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(biased + at));
    const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(row + at));
    const __m256i x0 = _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(x)), bias);
    const __m256i x1 = _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(x, 1)), bias);
    acc0 = _mm256_add_epi32(acc0, _mm256_madd_epi16(x0, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(y))));
    acc1 = _mm256_add_epi32(acc1, _mm256_madd_epi16(x1, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(y, 1))));
  }
  acc0 = _mm256_add_epi32(acc0, acc1);
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(acc0), _mm256_extracti128_si256(acc0, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
  return _mm_cvtsi128_si32(sum);
}

void dots256(const std::uint8_t *biased, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n,
             std::uint32_t bytes, std::int32_t *dots) {
  for (std::uint32_t i = 0; i < n; i++) dots[i] = dot256(biased, from.row(ids[i]), bytes);
}

}  // namespace

extern const GemmKernels kAvx2Gemm;
const GemmKernels kAvx2Gemm = make_gemm<Tile256>("avx2", dots256);

}  // namespace phnsw
