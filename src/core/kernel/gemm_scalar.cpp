// The reference tiles, in plain C++: 4 rows x 16 columns, for any machine.
#include "kernel/gemm_driver.hpp"

namespace phnsw {
namespace {

class TileScalar {
 public:
  static constexpr std::uint32_t kRows = 4, kColumns = 16, kLanes = 4;
  typedef std::int32_t Ints __attribute__((vector_size(16), may_alias, aligned(4)));
  typedef float Floats __attribute__((vector_size(16), may_alias, aligned(4)));

  TileScalar(void *scratch, std::uint32_t groups) noexcept : a_(static_cast<std::int8_t *>(scratch)), groups_(groups) {}

  static std::size_t packed_bytes(std::uint32_t groups) { return std::size_t{groups} * 4; }
  static std::size_t scratch_bytes(std::uint32_t groups) { return std::size_t{groups} * 4 * kRows; }

  // A panel is dimension by dimension, so that the inner loop runs over neighbouring columns.
  static void pack(const std::int8_t *const *rows, std::uint32_t groups, std::uint8_t *panel) noexcept {
    for (std::size_t i = 0; i < std::size_t{groups} * 4; i++) {
      for (std::uint32_t column = 0; column < kColumns; column++) {
        *panel++ = static_cast<std::uint8_t>(rows[column] != nullptr ? rows[column][i] : 0);
      }
    }
  }

  void load(const CodeRows &from, const std::uint32_t *ids, std::uint32_t row0, std::uint32_t rows) noexcept {
    const std::size_t bytes = std::size_t{groups_} * 4;
    for (std::uint32_t r = 0; r < kRows; r++) {
      const std::uint32_t row = row0 + (r < rows ? r : 0);
      const std::uint32_t id = ids != nullptr ? ids[row] : row;
      std::memcpy(a_ + r * bytes, from.row(id), bytes);
      scale[r] = from.heads[id].scale;
      norm2[r] = from.heads[id].norm2;
    }
  }

  void multiply(const std::uint8_t *b, std::int32_t (*dots)[kColumns]) const noexcept {
    const std::size_t bytes = std::size_t{groups_} * 4;
    for (std::uint32_t r = 0; r < kRows; r++) {
      std::int32_t acc[kColumns] = {};
      for (std::size_t i = 0; i < bytes; i++) {
        const std::int32_t a = a_[r * bytes + i];
        for (std::uint32_t c = 0; c < kColumns; c++) acc[c] += a * static_cast<std::int8_t>(b[i * kColumns + c]);
      }
      std::memcpy(dots[r], acc, sizeof acc);
    }
  }

  // Keeps the compiler from fusing a multiplication with what follows.
  static void keep(Floats &x) noexcept { asm("" : "+m"(x)); }
  static bool any(Ints mask) noexcept {
    std::int32_t all = 0;
    for (std::uint32_t i = 0; i < kLanes; i++) all |= mask[i];
    return all != 0;
  }

  float scale[kRows], norm2[kRows];

 private:
  std::int8_t *a_;
  std::uint32_t groups_;
};

void dots_scalar(const std::int8_t *a, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n,
                 std::uint32_t bytes, std::int32_t *dots) {
  for (std::uint32_t i = 0; i < n; i++) {
    const std::int8_t *row = from.row(ids[i]);
    std::int32_t acc = 0;
    for (std::uint32_t at = 0; at < bytes; at++) acc += a[at] * row[at];
    dots[i] = acc;
  }
}

std::uint32_t find_low_bits(const std::uint64_t *numbers, std::uint32_t n, std::uint64_t bits, std::uint64_t mask) {
  std::uint32_t i = 0;
  while (i < n && (numbers[i] & mask) != bits) i++;
  return i;
}

std::uint32_t find_largest(const std::uint64_t *numbers, std::uint32_t n) {
  std::uint32_t place = 0;
  for (std::uint32_t i = 1; i < n; i++) place = numbers[i] > numbers[place] ? i : place;
  return place;
}

}  // namespace

extern const GemmKernels kScalarGemm;
const GemmKernels kScalarGemm = make_gemm<TileScalar>("scalar", dots_scalar, find_low_bits, find_largest);

}  // namespace phnsw
