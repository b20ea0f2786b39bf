// AVX2: tiles of 6 rows x 16 columns, 12 accumulators.
//
// vpmaddubsw would saturate, so both operands are widened to 16 bits: the panels hold int16, the rows are widened once per
// block.  A step of two dimensions is 2 loads of columns, 6 broadcasts, 12 vpmaddwd and 12 vpaddd.
#include "kernel/avx2.hpp"
#include "kernel/gemm_driver.hpp"

namespace phnsw {
namespace {

class Tile256 {
 public:
  static constexpr std::uint32_t kRows = 6, kColumns = 16, kLanes = 8;
  typedef std::int32_t Ints __attribute__((vector_size(32), may_alias, aligned(4)));
  typedef float Floats __attribute__((vector_size(32), may_alias, aligned(4)));

  Tile256(void *scratch, std::uint32_t groups) noexcept : a_(static_cast<std::int32_t *>(scratch)), pairs_(groups * 2) {}

  static std::size_t packed_bytes(std::uint32_t groups) { return std::size_t{groups} * 8; }
  static std::size_t scratch_bytes(std::uint32_t groups) { return std::size_t{groups} * 8 * kRows; }

  static void pack(const std::int8_t *const *rows, std::uint32_t groups, std::uint8_t *panel) noexcept {
    for (std::uint32_t column = 0; column < kColumns; column++) {
      for (std::size_t i = 0; i < std::size_t{groups} * 2; i++) {
        const std::int32_t pair = rows[column] != nullptr ? widen(rows[column] + 2 * i) : 0;
        std::memcpy(panel + (i * kColumns + column) * 4, &pair, 4);
      }
    }
  }

  void load(const CodeRows &from, const std::uint32_t *ids, std::uint32_t row0, std::uint32_t rows) noexcept {
    for (std::uint32_t r = 0; r < kRows; r++) {
      const std::uint32_t row = row0 + (r < rows ? r : 0);
      const std::uint32_t id = ids != nullptr ? ids[row] : row;
      const std::int8_t *code = from.row(id);
      for (std::size_t i = 0; i < pairs_; i++) a_[i * kRows + r] = widen(code + 2 * i);
      scale[r] = from.heads[id].scale;
      norm2[r] = from.heads[id].norm2;
    }
  }

  void multiply(const std::uint8_t *b, std::int32_t (*dots)[kColumns]) const noexcept {
    __m256i acc[kRows][2];
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
    const std::int32_t *a = a_;
    for (std::uint32_t i = 0; i < pairs_; i++, b += 64, a += kRows) {
      const __m256i b0 = load32(b), b1 = load32(b + 32);
#pragma GCC unroll 6
      for (std::uint32_t r = 0; r < kRows; r++) {
        const __m256i x = _mm256_set1_epi32(a[r]);
        acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(b0, x));
        acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(b1, x));
      }
    }
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) {
      _mm256_store_si256(reinterpret_cast<__m256i *>(dots[r]), acc[r][0]);
      _mm256_store_si256(reinterpret_cast<__m256i *>(dots[r] + 8), acc[r][1]);
    }
  }

  static void keep(Floats &x) noexcept {
    asm("" : "+x"(x));
  }
  static bool any(Ints mask) noexcept { return _mm256_movemask_epi8(reinterpret_cast<__m256i>(mask)) != 0; }

  float scale[kRows], norm2[kRows];

 private:
  static std::int32_t widen(const std::int8_t *two) noexcept {
    return static_cast<std::int32_t>((static_cast<std::uint32_t>(static_cast<std::uint16_t>(two[1])) << 16) |
                                     static_cast<std::uint16_t>(two[0]));
  }

  std::int32_t *a_;
  std::uint32_t pairs_;
};

std::int32_t dot256(const std::int8_t *a, const std::int8_t *b, std::uint32_t bytes) noexcept {
  __m256i acc0 = _mm256_setzero_si256(), acc1 = acc0;
  const auto wide = [](const std::int8_t *from) {
    return _mm256_cvtepi8_epi16(load16(from));
  };
  for (std::uint32_t at = 0; at < bytes; at += 32) {
    acc0 = _mm256_add_epi32(acc0, _mm256_madd_epi16(wide(a + at), wide(b + at)));
    acc1 = _mm256_add_epi32(acc1, _mm256_madd_epi16(wide(a + at + 16), wide(b + at + 16)));
  }
  return reduce(_mm256_add_epi32(acc0, acc1));
}

void dots256(const std::int8_t *a, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n, std::uint32_t bytes,
             std::int32_t *dots) {
  for (std::uint32_t i = 0; i < n; i++) dots[i] = dot256(a, from.row(ids[i]), bytes);
}

}  // namespace

namespace avx2 {

std::uint32_t find_low_bits(const std::uint64_t *numbers, std::uint32_t n, std::uint64_t bits, std::uint64_t mask) {
  const __m256i wanted = _mm256_set1_epi64x(static_cast<std::int64_t>(bits));
  const __m256i low = _mm256_set1_epi64x(static_cast<std::int64_t>(mask));
  std::uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(numbers + i));
    const __m256i equal = _mm256_cmpeq_epi64(_mm256_and_si256(x, low), wanted);
    const int found = _mm256_movemask_pd(_mm256_castsi256_pd(equal));
    if (found != 0) return i + static_cast<std::uint32_t>(__builtin_ctz(static_cast<unsigned>(found)));
  }
  while (i < n && (numbers[i] & mask) != bits) i++;
  return i;
}

std::uint32_t find_largest(const std::uint64_t *numbers, std::uint32_t n) {
  std::uint32_t place = 0;
  for (std::uint32_t i = 1; i < n; i++) place = numbers[i] > numbers[place] ? i : place;
  return place;
}

}  // namespace avx2

extern const GemmKernels kAvx2Gemm;
const GemmKernels kAvx2Gemm = make_gemm<Tile256>("avx2", dots256, avx2::find_low_bits, avx2::find_largest);

}  // namespace phnsw
