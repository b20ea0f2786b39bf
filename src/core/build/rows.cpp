#include "build/rows.hpp"

#include <algorithm>
#include <cmath>

#include "base/rng.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kSampleRows = 16384;
constexpr std::size_t kSampleBytes = std::size_t{32} << 20;
// A mean of fewer says little about the rows to come.
constexpr std::uint32_t kCentreRowsMin = 64;
constexpr std::uint32_t kRowsMax = 0xFFFFFF00u;  // ids are 32 bits, with room for a last page
constexpr std::uint32_t kEncodeBlock = 32;
constexpr std::uint32_t kMeanBlock = 256;

std::uint64_t hash_code(const std::int8_t *code, std::size_t bytes, float scale) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &scale, 4);
  std::uint64_t a = bits, b = 0x9E3779B97F4A7C15u;
  for (std::size_t i = 0; i < bytes; i += 16) {  // the stride is a multiple of 64
    std::uint64_t word[2];
    std::memcpy(word, code + i, 16);
    a = (a ^ word[0]) * 0xBF58476D1CE4E5B9u;
    a ^= a >> 32;
    b = (b ^ word[1]) * 0x94D049BB133111EBu;
    b ^= b >> 29;
  }
  return mix64(a ^ mix64(b));
}

double norm_of(const float *vector, std::uint32_t dims) noexcept {
  double sum = 0;
  for (std::uint32_t i = 0; i < dims; i++) sum += static_cast<double>(vector[i]) * static_cast<double>(vector[i]);
  return std::sqrt(sum);
}

}  // namespace

std::uint32_t Rows::sample_rows_max() const noexcept {
  const std::size_t fit = kSampleBytes / (std::size_t{params_.dims} * sizeof(float));
  return static_cast<std::uint32_t>(std::clamp<std::size_t>(fit, 1, kSampleRows));
}

Status Rows::add(const float *vectors, const phnsw_tid *tids, std::uint32_t n, bool alone) {
  if (codec_ == nullptr) {
    const std::uint32_t most = sample_rows_max();
    if (const Status status = grow_sample(n); !status.ok()) return status;
    const std::uint32_t take = std::min(n, most - sampled_);
    std::memcpy(sample_.data() + std::size_t{sampled_} * params_.dims, vectors,
                std::size_t{take} * params_.dims * sizeof(float));
    std::memcpy(sample_tids_.data() + sampled_, tids, take * sizeof(phnsw_tid));
    for (std::uint32_t i = 0; i < take; i++)
      norms_.push_back(norm_of(vectors + std::size_t{i} * params_.dims, params_.dims));
    sampled_ += take;
    if (sampled_ < most) return {};
    if (const Status status = fix_codec(); !status.ok()) return status;
    vectors += std::size_t{take} * params_.dims;
    tids += take;
    n -= take;
  }
  if (n == 0) return {};
  context_.team.set_alone(alone);
  const Status status = encode(vectors, tids, n, alone);
  context_.team.set_alone(false);
  return status;
}

// Room for n more, or as many as the sample takes.  In the arena, whose other arrays get this memory afterwards.
Status Rows::grow_sample(std::uint32_t n) {
  const std::uint32_t most = sample_rows_max(), wanted = std::min(most, sampled_ + std::min(n, most));
  Status status;
  if (sample_.data() == nullptr) {
    status = sample_.reserve(context_.arena, std::size_t{most} * params_.dims);
    if (status.ok()) status = sample_.grow(std::size_t{std::clamp(rows_expected_, wanted, most)} * params_.dims);
    sample_tids_.reset(most);
  }
  if (status.ok() && std::size_t{wanted} * params_.dims > sample_.size()) {
    status = sample_.grow(std::size_t{std::min(most, 2 * wanted)} * params_.dims);
  }
  return status;
}

Status Rows::finish() {
  if (codec_ == nullptr) {
    if (const Status status = fix_codec(); !status.ok()) return status;
  }
  points_ = rows_;
  return {};
}

Status Rows::fix_codec() {
  // The norms that the exponent and the bound of inner products come from: an outlier must not set the scale for all.
  std::vector<double> norms = std::move(norms_);
  double largest = 0, typical = 0;
  if (sampled_ != 0) {
    largest = *std::max_element(norms.begin(), norms.end());
    const auto place = norms.begin() + static_cast<std::ptrdiff_t>(std::uint64_t{sampled_} * 99 / 100);
    std::nth_element(norms.begin(), place, norms.end());
    typical = *place;
    if (typical == 0) typical = largest;
  }
  if (params_.metric != PHNSW_COSINE) params_.exponent = static_cast<std::int8_t>(Codec::exponent_for(typical));
  if (params_.metric == PHNSW_IP) {
    const double bound = std::ldexp(std::min(largest, 8 * typical), -params_.exponent);
    params_.max_norm = bound > 0 ? round_up(bound) : 1.0f;
  }
  std::unique_ptr<Codec> uncentred;
  Status status = Codec::create(params_, nullptr, &uncentred);
  if (!status.ok()) return status;
  Array<float> centre;
  bool found = false;
  if (sampled_ >= kCentreRowsMin) {
    status = fix_centre(*uncentred, &centre, &found);
    if (!status.ok()) return status;
  }
  status = found ? Codec::create(params_, centre.data(), &codec_) : Status();
  if (!status.ok()) return status;
  if (!found) codec_ = std::move(uncentred);

  stride_ = code_stride();
  if (status = reserve(); !status.ok()) return status;
  status = sampled_ == 0 ? Status() : encode(sample_.data(), sample_tids_.data(), sampled_, false);
  sample_.release();
  sample_tids_.reset(0);
  return status;
}

Status Rows::reserve(std::size_t rows) {
  codes_.release();
  heads_.release();
  tids_.release();
  hashes_.release();
  Status status = codes_.reserve(context_.arena, rows * stride_);
  if (status.ok()) status = heads_.reserve(context_.arena, rows);
  if (status.ok()) status = tids_.reserve(context_.arena, rows);
  if (status.ok()) status = hashes_.reserve(context_.arena, rows);
  return status;
}

Status Rows::reserve() {
  std::size_t rows = kRowsMax;
  Status status = reserve(rows);
  if (status.ok() && !Arena::addresses_are_limited()) return status;
  // As many as there are, and half of that: what comes after the rows wants some, too.
  const std::size_t least = std::size_t{std::max(rows_expected_, sampled_)} / 8 * 9 + 9;
  while (!status.ok() && rows > least) status = reserve(rows = std::max(rows / 2, least));
  if (status.ok() && rows / 2 > least) status = reserve(rows / 2);
  return status;
}

Status Rows::fix_centre(const Codec &uncentred, Array<float> *centre, bool *found) {
  const std::uint32_t dims = params_.space_dims, blocks = (sampled_ + kMeanBlock - 1) / kMeanBlock;
  Array<double> sums(std::size_t{blocks} * dims);
  Array<std::uint32_t> counts(blocks);
  Status status = context_.team.for_each(blocks, [&](std::size_t block, unsigned) {
    Array<float> prepared(uncentred.scratch_floats());
    double *sum = sums.data() + block * dims;
    std::fill(sum, sum + dims, 0.0);
    std::uint32_t count = 0;
    const std::uint32_t begin = static_cast<std::uint32_t>(block) * kMeanBlock;
    for (std::uint32_t i = begin; i < std::min(sampled_, begin + kMeanBlock); i++) {
      if (!uncentred.prepare(sample_.data() + std::size_t{i} * params_.dims, prepared.data())) continue;
      for (std::uint32_t j = 0; j < dims; j++) sum[j] += static_cast<double>(prepared[j]);
      count++;
    }
    counts[block] = count;
  });
  if (!status.ok()) return status;
  std::uint32_t count = 0;
  for (const std::uint32_t n : counts) count += n;
  centre->reset(dims);
  bool finite = count != 0;
  for (std::uint32_t j = 0; j < dims && finite; j++) {
    double sum = 0;
    for (std::uint32_t block = 0; block < blocks; block++) sum += sums[std::size_t{block} * dims + j];
    (*centre)[j] = static_cast<float>(sum / count);
    finite = std::isfinite((*centre)[j]);
    *found |= (*centre)[j] != 0.0f;
  }
  *found &= finite;
  return {};
}

Status Rows::grow(std::size_t end, bool alone) {
  // What is expected at once, what comes beyond in growing steps; codes, which are most of it, in steps
  // always, so that they get the memory that has been cleared meanwhile.
  std::size_t room = end;
  if (end > hashes_.size()) room = std::max<std::size_t>(end + end / 8, std::min<std::size_t>(rows_expected_, end * 8));
  Status status = end * stride_ <= codes_.size() ? Status() : codes_.grow(rows_ahead(end) * stride_);
  if (status.ok()) status = heads_.grow(room);
  if (status.ok()) status = tids_.grow(room);
  if (status.ok()) status = hashes_.grow(room);
  if (!status.ok()) return status;
  if (!alone && touched_ < end * stride_ && context_.arena.file_bytes() == 0) {
    status = Arena::touch(context_.team, reinterpret_cast<char *>(codes_.data()) + touched_, codes_.size() - touched_);
    touched_ = codes_.size();
  }
  touched_ = std::max(touched_, (end * stride_ + Arena::kPiece - 1) / Arena::kPiece * Arena::kPiece);
  return status;
}

Status Rows::encode(const float *vectors, const phnsw_tid *tids, std::uint32_t n, bool alone) {
  if (n > kRowsMax - rows_) return {PHNSW_LIMIT, "an index holds at most 4294967040 rows"};
  Status status = grow(std::size_t{rows_} + n, alone);
  if (!status.ok()) return status;

  Array<std::uint8_t> kept(n);
  std::atomic<std::uint32_t> skipped{0};
  status = context_.team.for_each((n + kEncodeBlock - 1) / kEncodeBlock, [&](std::size_t block, unsigned) {
    Array<float> scratch(codec_->scratch_floats());
    const std::uint32_t begin = static_cast<std::uint32_t>(block) * kEncodeBlock;
    for (std::uint32_t i = begin; i < std::min(n, begin + kEncodeBlock); i++) {
      const std::size_t row = std::size_t{rows_} + i;
      std::int8_t *code = codes_.data() + row * stride_;
      kept[i] = codec_->encode(vectors + std::size_t{i} * params_.dims, scratch.data(), &heads_[row], code);
      if (kept[i] == 0) skipped.fetch_add(1, std::memory_order_relaxed);
      std::memset(code + params_.code_dims, 0, stride_ - params_.code_dims);
      tids_[row] = tids[i];
      hashes_[row] = hash_code(code, stride_, heads_[row].scale);
    }
  });
  if (!status.ok()) return status;
  if (skipped.load() != 0) {
    drop_skipped(kept, n);
  } else {
    rows_ += n;
  }
  context_.progress.add(n);
  return {};
}

void Rows::drop_skipped(const Array<std::uint8_t> &kept, std::uint32_t n) {
  const std::size_t first = rows_;
  for (std::size_t row = first; row < first + n; row++) {
    if (kept[row - first] == 0) {
      skipped_++;
      continue;
    }
    if (row != rows_) {
      std::memcpy(codes_.data() + rows_ * stride_, codes_.data() + row * stride_, stride_);
      heads_[rows_] = heads_[row];
      tids_[rows_] = tids_[row];
      hashes_[rows_] = hashes_[row];
    }
    rows_++;
  }
}

}  // namespace phnsw
