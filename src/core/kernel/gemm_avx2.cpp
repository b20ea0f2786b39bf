// AVX2: tiles of 6 rows x 16 columns, 12 accumulators.
//
// vpmaddubsw would saturate, so both operands are widened to 16 bits: the panels when they are loaded (in 8 bits
// they take half of the cache, which a leaf has to fit), the rows once per block.  A step of two dimensions is 2
// widening loads of columns, 6 broadcasts, 12 vpmaddwd and 12 vpaddd.
#include "kernel/avx2.hpp"
#include "kernel/gemm_driver.hpp"

namespace phnsw {
namespace {

// x[i] word j <-> x[j] word i, in either half of the registers.
inline __attribute__((always_inline)) void transpose(__m256i (&x)[8]) noexcept {
  __m256i y[8];
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_epi16(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_epi16(x[i], x[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    x[i] = _mm256_unpacklo_epi32(y[i], y[i + 2]);
    x[i + 1] = _mm256_unpackhi_epi32(y[i], y[i + 2]);
    x[i + 2] = _mm256_unpacklo_epi32(y[i + 1], y[i + 3]);
    x[i + 3] = _mm256_unpackhi_epi32(y[i + 1], y[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    y[2 * i] = _mm256_unpacklo_epi64(x[i], x[4 + i]);
    y[2 * i + 1] = _mm256_unpackhi_epi64(x[i], x[4 + i]);
  }
  for (int i = 0; i < 8; i++) x[i] = y[i];
}

class Tile256 {
 public:
  static constexpr std::uint32_t kRows = 6, kColumns = 16, kLanes = 8;
  typedef std::int32_t Ints __attribute__((vector_size(32), may_alias, aligned(4)));
  typedef float Floats __attribute__((vector_size(32), may_alias, aligned(4)));

  Tile256(void *scratch, std::uint32_t groups) noexcept
      : wide_(static_cast<std::int16_t *>(scratch)), groups_(groups), stride_(row_stride(groups)) {}

  static std::size_t packed_bytes(std::uint32_t groups) { return std::size_t{groups} * 4; }
  static std::size_t scratch_bytes(std::uint32_t groups) { return row_stride(groups) * 2 * kRows; }

  // Pair i of the dimensions of all columns, then pair i + 1; four groups at a time, transposed in registers.
  static void pack(const std::int8_t *const *rows, std::uint32_t groups, std::uint8_t *panel) noexcept {
    for (std::uint32_t g = 0; g < groups; g += 4) {
      const std::uint32_t n = groups - g < 4 ? groups - g : 4;
      __m256i x[8];
#pragma GCC unroll 8
      for (std::uint32_t c = 0; c < 8; c++)
        x[c] = _mm256_set_m128i(four_groups(rows[8 + c], g, n), four_groups(rows[c], g, n));
      transpose(x);
      std::uint8_t *out = panel + std::size_t{g} * 4 * kColumns;
#pragma GCC unroll 8
      for (std::uint32_t i = 0; i < 8; i++) {
        if (i < 2 * n) store32(out + i * 32, x[i]);
      }
    }
  }

  void load(const CodeRows &from, const std::uint32_t *ids, std::uint32_t row0, std::uint32_t rows) noexcept {
    for (std::uint32_t r = 0; r < kRows; r++) {
      const std::uint32_t row = row0 + (r < rows ? r : 0);
      const std::uint32_t id = ids != nullptr ? ids[row] : row;
      const std::int8_t *code = from.row(id);
      for (std::uint32_t g = 0; g < groups_; g += 4) {
        const std::uint32_t n = groups_ - g < 4 ? groups_ - g : 4;
        store32(wide_ + r * stride_ + std::size_t{g} * 4, _mm256_cvtepi8_epi16(four_groups(code, g, n)));
      }
      scale[r] = from.heads[id].scale;
      norm2[r] = from.heads[id].norm2;
    }
  }

  // dots = the products of 6 rows and a panel's 16 columns.
  void multiply(const std::uint8_t *b, std::int32_t (*dots)[kColumns]) const noexcept { products<2>(b, 0, dots); }
  // Those of the columns from 8 * half on only.
  void multiply_half(const std::uint8_t *b, std::uint32_t half, std::int32_t (*dots)[kColumns]) const noexcept {
    products<1>(b + std::size_t{half} * 16, half * 8, dots);
  }

  static void keep(Floats &x) noexcept { asm("" : "+x"(x)); }
  static bool any(Ints mask) noexcept { return _mm256_movemask_epi8(reinterpret_cast<__m256i>(mask)) != 0; }

  float scale[kRows], norm2[kRows];

 private:
  // 16-bit coordinates of a widened row, whole registers.
  static std::size_t row_stride(std::uint32_t groups) { return (std::size_t{groups} + 3) / 4 * 16; }
  static void store32(void *to, __m256i x) noexcept { _mm256_storeu_si256(static_cast<__m256i *>(to), x); }

  // Groups g ... g + 3 of a row, of which there are n; zeros for the others, and for no row.
  static __m128i four_groups(const std::int8_t *row, std::uint32_t g, std::uint32_t n) noexcept {
    if (row == nullptr) return _mm_setzero_si128();
    const std::int8_t *at = row + std::size_t{g} * 4;
    if (n == 4) return load16(at);
    const __m128i some = _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<std::int32_t>(n)), _mm_set_epi32(3, 2, 1, 0));
    return _mm_maskload_epi32(reinterpret_cast<const int *>(at), some);
  }

  // Written out: 12 accumulators, 2 columns, the broadcast and a product are all 16
  // registers, and gcc 12 spills an accumulator in every step.
  static void add_products(__m256i &sum, __m256i a, __m256i b) noexcept {
    __m256i product;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(a), "x"(b));
  }

  // Not inlined, since what is live around the loop would push accumulators out of the registers.
  template <std::uint32_t kVectors>
  [[gnu::noinline]] void products(const std::uint8_t *b, std::uint32_t column,
                                  std::int32_t (*dots)[kColumns]) const noexcept {
    const std::int16_t *row[kRows];
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) row[r] = wide_ + r * stride_;
    __m256i acc[kRows][kVectors];
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) {
#pragma GCC unroll 2
      for (std::uint32_t v = 0; v < kVectors; v++) acc[r][v] = _mm256_setzero_si256();
    }
    for (std::size_t at = 0; at < std::size_t{groups_} * 4; at += 2, b += 32) {
      const __m256i b0 = _mm256_cvtepi8_epi16(load16(b)),
                    b1 = kVectors == 2 ? _mm256_cvtepi8_epi16(load16(b + 16)) : b0;
#pragma GCC unroll 6
      for (std::uint32_t r = 0; r < kRows; r++) {
        std::int32_t two;
        std::memcpy(&two, row[r] + at, 4);
        const __m256i x = _mm256_set1_epi32(two);
        add_products(acc[r][0], b0, x);
        if constexpr (kVectors == 2) add_products(acc[r][1], b1, x);
      }
    }
#pragma GCC unroll 6
    for (std::uint32_t r = 0; r < kRows; r++) {
#pragma GCC unroll 2
      for (std::uint32_t v = 0; v < kVectors; v++) store32(dots[r] + column + 8 * v, acc[r][v]);
    }
  }

  std::int16_t *wide_;
  std::uint32_t groups_;
  std::size_t stride_;
};

// |a| by b with a's signs, which vpmaddubsw does not saturate with (2 * 127 * 127 < 32,768); kCount rows share what is
// made of a.
template <std::uint32_t kCount>
void dots_of(const std::int8_t *a, const std::int8_t *const *rows, std::uint32_t bytes, __m256i *sums) noexcept {
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::uint32_t r = 0; r < kCount; r++) sums[r] = _mm256_setzero_si256();
  for (std::uint32_t at = 0; at < bytes; at += 32) {
    const __m256i x = load32(a + at), size = _mm256_abs_epi8(x);
    for (std::uint32_t r = 0; r < kCount; r++) {
      const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(load32(rows[r] + at), x));
      sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
    }
  }
}

void dots256(const std::int8_t *a, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n, std::uint32_t bytes,
             std::int32_t *dots) {
  __m256i sums[4];
  std::uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const std::int8_t *rows[4] = {from.row(ids[i]), from.row(ids[i + 1]), from.row(ids[i + 2]), from.row(ids[i + 3])};
    dots_of<4>(a, rows, bytes, sums);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(dots + i), reduce4(sums[0], sums[1], sums[2], sums[3]));
  }
  for (; i < n; i++) {
    const std::int8_t *row = from.row(ids[i]);
    dots_of<1>(a, &row, bytes, sums);
    dots[i] = reduce(sums[0]);
  }
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
