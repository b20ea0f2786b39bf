#include "codec/query.hpp"

#include <cmath>
#include <cstring>

#include "kernel/kernels.hpp"

namespace phnsw {
namespace {

constexpr float kFloatMax = std::numeric_limits<float>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Relative error of every float64 sum here and in the operators: (n + 8) 2^-52 < 1e-11 for n <= 16,001.
constexpr double kSlack = 1e-11;
constexpr double kUnit = 0x1.0p-24;

// The code as bytes; which of the two the kernels want depends on bits.
const std::int8_t *signed_code(const phnsw_slot &slot) noexcept {
  return reinterpret_cast<const std::int8_t *>(slot.code);
}

double coordinate(const phnsw_slot &slot, std::uint32_t bits, std::uint32_t i) noexcept {
  if (bits == 8) return static_cast<double>(signed_code(slot)[i]);
  return static_cast<double>(((slot.code[i / 2] >> ((i & 1) * 4)) & 15) - 8);
}

// float64 versions of the kernels for what float32 cannot hold.  The scale is passed in: the page may change meanwhile.
double square_f64(const float *y, double scale, const phnsw_slot &slot, std::uint32_t bits, std::uint32_t n) noexcept {
  double sum = 0;
  for (std::uint32_t i = 0; i < n; i++) {
    const double d = static_cast<double>(y[i]) - scale * coordinate(slot, bits, i);
    sum += d * d;
  }
  return sum;
}

double dot_f64(const float *y, const phnsw_slot &slot, std::uint32_t bits, std::uint32_t n) noexcept {
  double sum = 0;
  for (std::uint32_t i = 0; i < n; i++) sum += static_cast<double>(y[i]) * coordinate(slot, bits, i);
  return sum;
}

bool in_range(double v) noexcept { return v >= 0x1.0p-100 && v <= 0x1.0p120; }

}  // namespace

Query::Query(const Codec &codec) : codec_(codec) {
  y_.reset_zero(codec.scratch_floats());
  code_.reset_zero(codec.code_dims());
  if (codec.centre() != nullptr) {
    const std::uint32_t n = codec.params().space_dims;
    centre_norm_ = std::sqrt(kernels().ip_f32(codec.centre(), codec.centre(), n)) * (1 + kSlack);
  }
}

void Query::set(const float *vector, phnsw_query_purpose purpose) noexcept {
  purpose_ = purpose;
  head_ = phnsw_code_head{};
  zero_ = false;
  usable_ = false;
  offset_ = 0;
  part_ = 0;
  if (purpose == PHNSW_FOR_SEARCH) {
    set_search(vector);
    return;
  }
  std::int8_t *codes = reinterpret_cast<std::int8_t *>(code_.data());
  if (!codec_.encode(vector, y_.data(), &head_, codes)) {
    zero_ = true;
    std::memset(codes, 0, codec_.code_dims());
  }
  for (std::uint32_t i = 0; i < codec_.code_dims(); i++) code_[i] ^= 0x80;
}

void Query::set_search(const float *vector) noexcept {
  const Kernels &k = kernels();
  const phnsw_codec_params &p = codec_.params();
  float *y = y_.data();
  zero_ = !codec_.prepare(vector, y);
  if (!zero_ && p.metric == PHNSW_IP) {
    y[p.dims] = 0.0f;
    centre_product_ = codec_.centre() != nullptr ? k.ip_f32(y, codec_.centre(), p.dims) : 0.0;
    usable_ = codec_.rotate(y);
  } else if (!zero_) {
    usable_ = codec_.transform(y);
  }
  if (!usable_) {
    std::memset(code_.data(), 0x80, p.code_dims);
    return;
  }
  norm_ = std::sqrt(k.ip_f32(y, y, p.space_dims)) * (1 + kSlack);
  const std::uint32_t rest = p.space_dims - p.code_dims;
  tail2_ = rest != 0 ? k.ip_f32(y + p.code_dims, y + p.code_dims, rest) : 0.0;
  error_ = codec_.transform_error(norm_);
  quantise();
  choose_part();
}

void Query::quantise() noexcept {
  const Kernels &k = kernels();
  const std::uint32_t n = codec_.code_dims();
  const float largest = k.quantise(y_.data(), 0.0f, 0, nullptr, n);
  std::int8_t *codes = reinterpret_cast<std::int8_t *>(code_.data());
  head_.scale = largest / 127.0f;
  if (head_.scale >= 0x1.0p-100f) {
    k.quantise(y_.data(), 1.0f / head_.scale, 127, codes, n);
  } else {
    // The inverse might not be a float32; the order of such tiny distances is settled by the bounds.
    for (std::uint32_t i = 0; i < n; i++) {
      const double v = head_.scale > 0.0f ? static_cast<double>(y_[i]) / static_cast<double>(head_.scale) : 0.0;
      codes[i] = static_cast<std::int8_t>(v > 127.0 ? 127 : v < -127.0 ? -127 : std::lrint(v));
    }
  }
  // Inner products: with the query scaled to the norm that the stored vectors are completed to.
  const double coded =
      codec_.params().metric == PHNSW_IP
          ? static_cast<double>(codec_.params().max_norm) * norm_ - centre_product_
          : static_cast<double>(head_.scale) * static_cast<double>(head_.scale) * k.dot_s8s8(codes, codes, n);
  offset_ = std::fabs(coded) <= static_cast<double>(kFloatMax) ? static_cast<float>(coded) : 0.0f;
  for (std::uint32_t i = 0; i < n; i++) code_[i] ^= 0x80;
}

void Query::copy_code(std::int8_t *codes) const noexcept {
  for (std::uint32_t i = 0; i < codec_.code_dims(); i++) codes[i] = static_cast<std::int8_t>(code_[i] ^ 0x80);
}

void Query::score(const phnsw_slot *const *slots, std::uint32_t n, float *scores) const noexcept {
  for (std::uint32_t done = 0; done < n; done += kBatch) {
    const std::uint32_t count = n - done < kBatch ? n - done : kBatch;
    std::int32_t dots[kBatch];
    products(slots + done, count, dots);
    if (purpose_ == PHNSW_FOR_INSERT) {
      const phnsw_code_head own = head_;
      for (std::uint32_t i = 0; i < count; i++) scores[done + i] = coded_distance(own, slots[done + i]->head, dots[i]);
    } else {
      score_search(slots + done, count, dots, scores + done);
    }
  }
}

// <query's code, code of slots[i]>, the true values of both.
void Query::products(const phnsw_slot *const *slots, std::uint32_t n, std::int32_t *dots) const noexcept {
  const Kernels &k = kernels();
  const std::uint32_t dims = codec_.code_dims();
  std::uint32_t added = 128;
  if (codec_.params().bits == 8) {
    const std::int8_t *codes[kBatch];
    for (std::uint32_t i = 0; i < n; i++) codes[i] = signed_code(*slots[i]);
    k.dots_u8s8(code_.data(), codes, n, dims, dots);
    added = k.dots_added;
  } else {
    for (std::uint32_t i = 0; i < n; i++) dots[i] = k.dot_u8s4(code_.data(), slots[i]->code, dims);
  }
  // Unsigned: the sum is whatever stands on the page.
  for (std::uint32_t i = 0; i < n; i++) {
    const std::uint32_t sum = static_cast<std::uint32_t>(slots[i]->head.sum);
    dots[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(dots[i]) - added * sum);
  }
}

void Query::score_search(const phnsw_slot *const *slots, std::uint32_t n, const std::int32_t *dots,
                         float *scores) const noexcept {
  const float norm_weight = codec_.params().metric == PHNSW_IP ? 0.0f : 1.0f;
  const float product_weight = codec_.params().metric == PHNSW_IP ? -head_.scale : -2.0f * head_.scale;
  for (std::uint32_t i = 0; i < n; i++) {
    const float score =
        norm_weight * slots[i]->head.norm2 + (product_weight * slots[i]->head.scale) * static_cast<float>(dots[i]);
    scores[i] = std::fabs(score) <= kFloatMax ? score : kInfinity;
  }
}

// norm: an upper bound of |x'|.
double Query::distance_bound(const phnsw_slot &slot, double norm) const noexcept {
  const Kernels &k = kernels();
  const std::uint32_t n = codec_.code_dims();
  const std::uint32_t bits = codec_.params().bits;
  const float scale = slot.head.scale;
  const double square = static_cast<double>(bits == 8 ? k.square_f32s8(y_.data(), scale, signed_code(slot), n)
                                                      : k.square_f32s4(y_.data(), scale, slot.code, n));
  double head = 0;  // of |y - x'| over code_dims
  if (in_range(square)) {
    head = std::sqrt(square) * (1 - float_sum_error(n)) - 1.01 * kUnit * norm;
  } else {
    head = std::sqrt(square_f64(y_.data(), static_cast<double>(scale), slot, bits, n)) * (1 - kSlack);
  }
  if (!(head > 0)) head = 0;
  const double whole = std::sqrt(head * head + tail2_) * (1 - kSlack);
  const double bound = (whole - error_ - static_cast<double>(slot.head.residual)) * (1 - kSlack);
  return bound > 0 ? bound : 0.0;
}

double Query::product_bound(const phnsw_slot &slot, double norm) const noexcept {
  const Kernels &k = kernels();
  const std::uint32_t n = codec_.code_dims();
  const std::uint32_t bits = codec_.params().bits;
  const double scale = static_cast<double>(slot.head.scale);
  const double residual = static_cast<double>(slot.head.residual);
  double dot = static_cast<double>(bits == 8 ? k.dot_f32s8(y_.data(), signed_code(slot), n)
                                             : k.dot_f32s4(y_.data(), slot.code, n));
  double relative = float_sum_error(n);
  if (!std::isfinite(dot)) {
    dot = dot_f64(y_.data(), slot, bits, n);
    relative = kSlack;
  }
  const double q = norm_ + error_;                  // at least the query's norm
  const double v = centre_norm_ + norm + residual;  // at least the vector's
  const double margin = relative * norm_ * norm + error_ * v + q * residual + kSlack * q * v;
  return -(centre_product_ + scale * dot) - margin;
}

double Query::bound(const phnsw_slot &slot) const noexcept {
  if (zero_) return std::numeric_limits<double>::quiet_NaN();
  const phnsw_codec_params &p = codec_.params();
  const double nothing = p.metric == PHNSW_IP ? -std::numeric_limits<double>::infinity() : 0.0;
  if (!usable_) return nothing;
  // |x'| from the head, or from the largest code where its square is beyond float32.
  const phnsw_code_head head = slot.head;
  const double norm2 = static_cast<double>(head.norm2);
  const double norm = in_range(norm2) ? std::sqrt(norm2) * (1 + 4 * kUnit)
                                      : static_cast<double>(head.scale) * codec_.limit() * std::sqrt(p.code_dims);
  switch (p.metric) {
    case PHNSW_L2:
      return std::ldexp(distance_bound(slot, norm), p.exponent);
    case PHNSW_COSINE: {
      const double distance = distance_bound(slot, norm);
      // The operator's own rounding: (2 dims + 6) 2^-53, absolute.
      const double bound = 0.5 * distance * distance * (1 - kSlack) - (4.0 * p.dims + 32.0) * 0x1.0p-53;
      return bound > 2.0 ? 2.0 : bound > 0.0 ? bound : 0.0;
    }
    default: {
      const double bound = std::ldexp(product_bound(slot, norm), 2 * p.exponent);
      return std::isnan(bound) ? nothing : bound;
    }
  }
}

}  // namespace phnsw
