// The reference tiles, in plain C++: 4 rows x 16 columns, for any machine.
#include "kernel/gemm_driver.hpp"

namespace phnsw {
namespace {

class TileScalar {
 public:
  static constexpr std::uint32_t kRows = 4, kColumns = 16;

  TileScalar(void *scratch, std::uint32_t groups) noexcept : a_(static_cast<std::int8_t *>(scratch)), groups_(groups) {}

  static std::size_t packed_bytes(std::uint32_t groups) { return std::size_t{groups} * 4; }
  static std::size_t scratch_bytes(std::uint32_t groups) { return std::size_t{groups} * 4 * kRows; }

  // A panel is dimension by dimension, so that the inner loop runs over neighbouring columns.
  static void pack(const std::int8_t *code, std::uint8_t *panel, std::uint32_t column, std::uint32_t groups) noexcept {
    for (std::size_t i = 0; i < std::size_t{groups} * 4; i++) {
      panel[i * kColumns + column] = static_cast<std::uint8_t>(code != nullptr ? code[i] : 0);
    }
  }

  void load(const CodeRows &from, const std::uint32_t *ids, std::uint32_t row0, std::uint32_t rows) noexcept {
    const std::size_t bytes = std::size_t{groups_} * 4;
    for (std::uint32_t r = 0; r < kRows; r++) {
      const std::uint32_t row = row0 + (r < rows ? r : 0);
      const std::uint32_t id = ids != nullptr ? ids[row] : row;
      std::memcpy(a_ + r * bytes, from.row(id), bytes);
      scale_[r] = from.heads[id].scale;
      norm2_[r] = from.heads[id].norm2;
    }
  }

  template <bool kSelf>
  bool compute(const GemmPanels &panels, std::uint32_t column0, const float *row_thresholds,
               const float *column_thresholds, std::uint32_t rows, TileOutput<TileScalar> *output) const noexcept {
    const std::size_t bytes = std::size_t{groups_} * 4;
    const std::int8_t *b = reinterpret_cast<const std::int8_t *>(panels.data) + column0 * bytes;
    std::uint64_t any = 0;
    for (std::uint32_t r = 0; r < rows; r++) {
      std::int32_t acc[kColumns] = {};
      for (std::size_t i = 0; i < bytes; i++) {
        const std::int32_t a = a_[r * bytes + i];
        for (std::uint32_t c = 0; c < kColumns; c++) acc[c] += a * b[i * kColumns + c];
      }
      std::uint64_t row_hits = 0, column_hits = 0;
      for (std::uint32_t c = 0; c < kColumns; c++) {
        const float product = scale_[r] * (-2.0f * panels.scale[column0 + c]);
        const float norms = norm2_[r] + panels.norm2[column0 + c];
        // As a fused multiply-add: the product of two floats is exact in double.
        const double exact = static_cast<double>(norms) + static_cast<double>(product) * static_cast<double>(acc[c]);
        const float d = exact > 0.0 ? static_cast<float>(exact) : 0.0f;
        output->distance[r][c] = d;
        row_hits |= std::uint64_t{d < row_thresholds[r]} << c;
        if constexpr (kSelf) column_hits |= std::uint64_t{d < column_thresholds[c]} << c;
      }
      output->row_hits[r] = row_hits;
      output->column_hits[r] = column_hits;
      any |= row_hits | column_hits;
    }
    return any != 0;
  }

 private:
  std::int8_t *a_;
  std::uint32_t groups_;
  float scale_[kRows];
  float norm2_[kRows];
};

void dots_scalar(const std::uint8_t *biased, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n,
                 std::uint32_t bytes, std::int32_t *dots) {
  for (std::uint32_t i = 0; i < n; i++) {
    const std::int8_t *row = from.row(ids[i]);
    std::int32_t acc = 0;
    for (std::uint32_t at = 0; at < bytes; at++) acc += (static_cast<std::int32_t>(biased[at]) - 128) * row[at];
    dots[i] = acc;
  }
}

}  // namespace

extern const GemmKernels kScalarGemm;
const GemmKernels kScalarGemm = make_gemm<TileScalar>("scalar", dots_scalar);

}  // namespace phnsw
