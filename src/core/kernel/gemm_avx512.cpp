// AVX-512 VNNI: tiles of 12 rows x 32 columns, 24 accumulators.
//
// vpdpbusd multiplies unsigned by signed bytes: the panels hold code + 128, the row's 128 * sum is where its accumulators
// start from.  A step of one group (4 dimensions) is 2 loads of columns, 12 broadcasts, 24 vpdpbusd.
// gcc 12 takes the intrinsics' own "undefined" operands for a mistake (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "kernel/gemm_driver.hpp"

namespace phnsw {
namespace {

class Tile512 {
 public:
  static constexpr std::uint32_t kRows = 12, kColumns = 32;

  Tile512(void *scratch, std::uint32_t groups) noexcept : a_(static_cast<std::int32_t *>(scratch)), groups_(groups) {}

  static std::size_t packed_bytes(std::uint32_t groups) { return std::size_t{groups} * 4; }
  static std::size_t scratch_bytes(std::uint32_t groups) { return std::size_t{groups} * 4 * kRows; }

  static void pack(const std::int8_t *code, std::uint8_t *panel, std::uint32_t column, std::uint32_t groups) noexcept {
    std::uint8_t *out = panel + column * 4;
    for (std::uint32_t g = 0; g < groups; g++) {
      std::uint32_t word = 0;
      if (code != nullptr) std::memcpy(&word, code + 4 * std::size_t{g}, 4);
      word ^= 0x80808080u;
      std::memcpy(out + std::size_t{g} * 4 * kColumns, &word, 4);
    }
  }

  void load(const CodeRows &from, const std::uint32_t *ids, std::uint32_t row0, std::uint32_t rows) noexcept {
    for (std::uint32_t r = 0; r < kRows; r++) {
      const std::uint32_t row = row0 + (r < rows ? r : 0);
      const std::uint32_t id = ids != nullptr ? ids[row] : row;
      const std::int8_t *code = from.row(id);
      for (std::uint32_t g = 0; g < groups_; g++) std::memcpy(&a_[std::size_t{g} * kRows + r], code + 4 * std::size_t{g}, 4);
      start_[r] = -128 * from.heads[id].sum;
      scale_[r] = from.heads[id].scale;
      norm2_[r] = from.heads[id].norm2;
    }
  }

  template <bool kSelf>
  bool compute(const GemmPanels &panels, std::uint32_t column0, const float *row_thresholds,
               const float *column_thresholds, std::uint32_t rows, TileOutput<Tile512> *output) const noexcept {
    __m512i acc[kRows][2];
#pragma GCC unroll 12
    for (std::uint32_t r = 0; r < kRows; r++) acc[r][0] = acc[r][1] = _mm512_set1_epi32(start_[r]);
    const std::uint8_t *b = panels.data + std::size_t{column0} * 4 * groups_;
    const std::int32_t *a = a_;
    for (std::uint32_t g = 0; g < groups_; g++, b += 128, a += kRows) {
      const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
#pragma GCC unroll 12
      for (std::uint32_t r = 0; r < kRows; r++) {
        const __m512i x = _mm512_set1_epi32(a[r]);
        acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], b0, x);
        acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], b1, x);
      }
    }
    const __m512 norm0 = _mm512_loadu_ps(panels.norm2 + column0), norm1 = _mm512_loadu_ps(panels.norm2 + column0 + 16);
    const __m512 minus2 = _mm512_set1_ps(-2.0f);
    const __m512 scale0 = _mm512_mul_ps(minus2, _mm512_loadu_ps(panels.scale + column0));
    const __m512 scale1 = _mm512_mul_ps(minus2, _mm512_loadu_ps(panels.scale + column0 + 16));
    __m512 limit0{}, limit1{};
    if constexpr (kSelf) {
      limit0 = _mm512_loadu_ps(column_thresholds);
      limit1 = _mm512_loadu_ps(column_thresholds + 16);
    }
    std::uint32_t any = 0;
#pragma GCC unroll 12
    for (std::uint32_t r = 0; r < kRows; r++) {
      const __m512 norm = _mm512_set1_ps(norm2_[r]), scale = _mm512_set1_ps(scale_[r]);
      const __m512 d0 = distance(acc[r][0], scale, scale0, _mm512_add_ps(norm, norm0));
      const __m512 d1 = distance(acc[r][1], scale, scale1, _mm512_add_ps(norm, norm1));
      _mm512_store_ps(output->distance[r], d0);
      _mm512_store_ps(output->distance[r] + 16, d1);
      const __m512 limit = r < rows ? _mm512_set1_ps(row_thresholds[r]) : _mm512_setzero_ps();
      const std::uint32_t hits = both(_mm512_cmp_ps_mask(d0, limit, _CMP_LT_OQ), _mm512_cmp_ps_mask(d1, limit, _CMP_LT_OQ));
      output->row_hits[r] = hits;
      any |= hits;
      if constexpr (kSelf) {
        const std::uint32_t columns =
            both(_mm512_cmp_ps_mask(d0, limit0, _CMP_LT_OQ), _mm512_cmp_ps_mask(d1, limit1, _CMP_LT_OQ));
        output->column_hits[r] = columns;
        any |= columns;
      }
    }
    return any != 0;
  }

 private:
  static __m512 distance(__m512i acc, __m512 row_scale, __m512 column_scale, __m512 norms) noexcept {
    const __m512 product = _mm512_mul_ps(row_scale, column_scale);
    return _mm512_max_ps(_mm512_fmadd_ps(product, _mm512_cvtepi32_ps(acc), norms), _mm512_setzero_ps());
  }
  static std::uint32_t both(__mmask16 low, __mmask16 high) noexcept {
    return static_cast<std::uint32_t>(low) | static_cast<std::uint32_t>(high) << 16;
  }

  std::int32_t *a_;
  std::uint32_t groups_;
  std::int32_t start_[kRows];
  float scale_[kRows];
  float norm2_[kRows];
};

void dots512(const std::uint8_t *biased, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n,
             std::uint32_t bytes, std::int32_t *dots) {
  std::uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const std::int8_t *row[4];
    __m512i acc[4];
    for (int r = 0; r < 4; r++) {
      row[r] = from.row(ids[i + static_cast<std::uint32_t>(r)]);
      acc[r] = _mm512_setzero_si512();
    }
    for (std::uint32_t at = 0; at < bytes; at += 64) {
      const __m512i x = _mm512_loadu_si512(biased + at);
      for (int r = 0; r < 4; r++) acc[r] = _mm512_dpbusd_epi32(acc[r], x, _mm512_loadu_si512(row[r] + at));
    }
    for (std::uint32_t r = 0; r < 4; r++) dots[i + r] = _mm512_reduce_add_epi32(acc[r]) - 128 * from.heads[ids[i + r]].sum;
  }
  for (; i < n; i++) {
    const std::int8_t *row = from.row(ids[i]);
    __m512i acc = _mm512_setzero_si512();
    for (std::uint32_t at = 0; at < bytes; at += 64) {
      acc = _mm512_dpbusd_epi32(acc, _mm512_loadu_si512(biased + at), _mm512_loadu_si512(row + at));
    }
    dots[i] = _mm512_reduce_add_epi32(acc) - 128 * from.heads[ids[i]].sum;
  }
}

}  // namespace

extern const GemmKernels kAvx512Gemm;
const GemmKernels kAvx512Gemm = make_gemm<Tile512>("avx512", dots512);

}  // namespace phnsw
