// Rows: the input of a bulk build, from raw vectors to distinct coded points.
//
// The first rows are kept raw until there are enough of them to fix the codec (exponent, norm bound, centre)
// from; then every row is encoded as it comes.  What results depends on the rows and their order only, not on how
// they were cut into chunks, nor on threads.  Used by the conductor.
#pragma once

#include <memory>
#include <vector>

#include "base/array.hpp"
#include "build/context.hpp"
#include "codec/codec.hpp"

namespace phnsw {

class Rows {
 public:
  Rows(BuildContext &context, const phnsw_codec_params &chosen, std::uint32_t rows_expected) noexcept
      : context_(context), params_(chosen), rows_expected_(rows_expected) {}

  // vectors: n * dims floats.  alone: they are not worth waking the team for.
  Status add(const float *vectors, const phnsw_tid *tids, std::uint32_t n, bool alone);
  // No more rows: codec() exists afterwards.
  Status finish();
  // Rows with the same code become one point, the first of them its owner, with the largest of their residuals.
  Status join_duplicates();

  [[nodiscard]] const Codec &codec() const noexcept { return *codec_; }
  [[nodiscard]] Points points() const noexcept {
    return {{codes_.data(), heads_.data(), stride_}, points_, params_.code_dims};
  }
  [[nodiscard]] phnsw_tid tid_of_point(std::uint32_t point) const noexcept {
    return tids_[duplicates_ == 0 ? point : first_row_[point]];
  }
  // Further rows of points, sorted by (point, row): point << 32 | row.
  [[nodiscard]] std::uint32_t duplicates() const noexcept { return duplicates_; }
  [[nodiscard]] const std::uint64_t *duplicate() const noexcept { return duplicate_.data(); }
  [[nodiscard]] phnsw_tid tid_of_duplicate(std::uint32_t i) const noexcept {
    return tids_[static_cast<std::uint32_t>(duplicate_[i])];
  }
  [[nodiscard]] std::uint64_t rows() const noexcept { return rows_; }
  // Those that have come, encoded or not.
  [[nodiscard]] std::uint64_t seen() const noexcept { return rows_ < sampled_ ? sampled_ : rows_; }
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }
  // What the codes will ask the arena for when they grow next.
  [[nodiscard]] std::size_t code_bytes_ahead() const noexcept {
    const std::size_t bytes = rows_ahead(seen()) * code_stride();
    return bytes > codes_.size() ? bytes - codes_.size() : 0;
  }

 private:
  [[nodiscard]] std::uint32_t sample_rows_max() const noexcept;
  Status grow_sample(std::uint32_t n);
  Status fix_codec();
  // Addresses for so many rows; for as many as ids can name, if the system has them to spare.
  Status reserve(std::size_t rows);
  Status reserve();
  Status fix_centre(const Codec &uncentred, Array<float> *centre, bool *found);
  Status encode(const float *vectors, const phnsw_tid *tids, std::uint32_t n, bool alone);
  Status grow(std::size_t end, bool alone);
  // Room for so many codes is made when there are `rows`.
  [[nodiscard]] std::size_t rows_ahead(std::size_t rows) const noexcept {
    const std::size_t most = std::max<std::size_t>(rows_expected_, rows + rows / 8);
    return std::min(most, rows + rows / 4);
  }
  [[nodiscard]] std::size_t code_stride() const noexcept {
    return (params_.code_dims + kCacheLine - 1) / kCacheLine * kCacheLine;
  }
  void drop_skipped(const Array<std::uint8_t> &kept, std::uint32_t n);
  Status find_owners(ArenaArray<std::uint32_t> *owner);
  Status compact(const ArenaArray<std::uint32_t> &owner);

  BuildContext &context_;
  phnsw_codec_params params_;
  const std::uint32_t rows_expected_;
  std::unique_ptr<Codec> codec_;
  std::size_t stride_ = 0;

  ArenaArray<float> sample_;  // until the codec is fixed
  Array<phnsw_tid> sample_tids_;
  std::vector<double> norms_;  // of the sample
  std::uint32_t sampled_ = 0;

  ArenaArray<std::int8_t> codes_;  // of rows, then of points
  std::size_t touched_ = 0;        // so many bytes of them the system has provided, at least
  ArenaArray<phnsw_code_head> heads_;
  ArenaArray<phnsw_tid> tids_;        // of rows
  ArenaArray<std::uint64_t> hashes_;  // of rows, until duplicates are joined
  std::uint32_t rows_ = 0;
  std::uint32_t points_ = 0;
  std::uint64_t skipped_ = 0;

  std::uint32_t duplicates_ = 0;
  ArenaArray<std::uint32_t> first_row_;
  ArenaArray<std::uint64_t> duplicate_;
};

}  // namespace phnsw
