#include "codec/codec.hpp"

#include <cmath>
#include <cstring>

#include "kernel/kernels.hpp"

namespace phnsw {
namespace {

constexpr int kExponentMax = 120;
constexpr float kFloatMax = std::numeric_limits<float>::max();
// Covers the rounding of every float64 sum here: (n + 8) 2^-52 < 1e-11 for n <= 16,001.
constexpr double kInflate = 1.0 + 1e-11;
// Unit roundoff of float32.
constexpr double kUnit = 0x1.0p-24;
// A decoded vector so many times as long as its residual has at least the
// direction of the original, to about 20 degrees.
constexpr double kTelling = 3;

Status validate(const phnsw_codec_params &p) {
  if (p.metric != PHNSW_L2 && p.metric != PHNSW_IP && p.metric != PHNSW_COSINE) {
    return Status(PHNSW_CORRUPT, "codec: unknown metric");
  }
  if (p.dims < 1 || p.dims > PHNSW_DIMS_MAX) return Status(PHNSW_CORRUPT, "codec: dimensions out of range");
  if (p.space_dims != p.dims + (p.metric == PHNSW_IP ? 1u : 0u)) {
    return Status(PHNSW_CORRUPT, "codec: dimensions of the space do not fit the metric");
  }
  if (p.code_dims < 1 || p.code_dims > p.space_dims)
    return Status(PHNSW_CORRUPT, "codec: code dimensions out of range");
  if (p.bits != 8 && p.bits != 4) return Status(PHNSW_CORRUPT, "codec: bits are neither 8 nor 4");
  if (p.exponent < -kExponentMax || p.exponent > kExponentMax || (p.metric == PHNSW_COSINE && p.exponent != 0)) {
    return Status(PHNSW_CORRUPT, "codec: exponent out of range");
  }
  if (!(p.max_norm >= 0.0f && p.max_norm <= kFloatMax) || (p.metric != PHNSW_IP && p.max_norm != 0.0f)) {
    return Status(PHNSW_CORRUPT, "codec: maximal norm out of range");
  }
  if (p.m < PHNSW_M_MIN || p.m > PHNSW_M_MAX) return Status(PHNSW_CORRUPT, "codec: M out of range");
  if (phnsw_slot_bytes(p.code_dims, p.bits, p.m) > PHNSW_PAGE_CONTENT) {
    return Status(PHNSW_CORRUPT, "codec: a slot does not fit a page");
  }
  return Status();
}

}  // namespace

float round_up(double value) noexcept {
  if (value > static_cast<double>(kFloatMax)) return std::numeric_limits<float>::infinity();
  const float nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) >= value) return nearest;
  return std::nextafter(nearest, std::numeric_limits<float>::infinity());
}

Status Codec::create(const phnsw_codec_params &params, const float *centre, std::unique_ptr<Codec> *codec) {
  if (Status status = validate(params); !status.ok()) return status;
  std::unique_ptr<Codec> made(new Codec());
  made->params_ = params;
  if (centre != nullptr) {
    made->centre_.reset(params.space_dims);
    std::memcpy(made->centre_.data(), centre, params.space_dims * sizeof(float));
    const float largest = kernels().quantise(centre, 0.0f, 0, nullptr, params.space_dims);
    made->centre_norm_ = std::sqrt(kernels().ip_f32(centre, centre, params.space_dims)) * kInflate;
    if (!(largest <= kFloatMax) || !std::isfinite(made->centre_norm_)) {
      return Status(PHNSW_CORRUPT, "codec: the centre is not finite");
    }
  }
  made->rotation_ = Rotation(params.space_dims, params.rotation_seed);
  *codec = std::move(made);
  return Status();
}

Status Codec::choose(phnsw_metric metric, std::uint32_t dims, std::uint32_t m, std::uint64_t rotation_seed,
                     phnsw_codec_params *params) {
  if (metric != PHNSW_L2 && metric != PHNSW_IP && metric != PHNSW_COSINE) {
    return Status(PHNSW_BAD_ARGUMENT, "unknown metric");
  }
  if (dims < 1 || dims > PHNSW_DIMS_MAX) return Status(PHNSW_BAD_ARGUMENT, "number of dimensions out of range");
  if (m < PHNSW_M_MIN || m > PHNSW_M_MAX) return Status(PHNSW_BAD_ARGUMENT, "M out of range");

  phnsw_codec_params p{};
  p.dims = dims;
  p.space_dims = dims + (metric == PHNSW_IP ? 1u : 0u);
  p.metric = static_cast<std::uint16_t>(metric);
  p.rotation_seed = rotation_seed;
  p.m = m;
  p.code_dims = p.space_dims;
  p.bits = 8;
  if (phnsw_slot_bytes(p.code_dims, 8, m) > PHNSW_PAGE_CONTENT) {
    p.bits = 4;
    const std::uint32_t room = (PHNSW_PAGE_CONTENT - phnsw_slot_bytes(0, 4, m)) & ~3u;
    if (p.code_dims > 2 * room) p.code_dims = 2 * room;
  }
  *params = p;
  return Status();
}

int Codec::exponent_for(double typical_max_norm) noexcept {
  if (!std::isfinite(typical_max_norm) || typical_max_norm <= 0) return 0;
  const int exponent = std::ilogb(typical_max_norm);
  if (exponent >= -20 && exponent <= 20) return 0;
  return exponent < -kExponentMax ? -kExponentMax : exponent > kExponentMax ? kExponentMax : exponent;
}

bool Codec::prepare(const float *vector, float *prepared) const noexcept {
  const Kernels &k = kernels();
  const std::uint32_t n = params_.dims;
  if (params_.metric == PHNSW_COSINE) {
    const double norm2 = k.ip_f32(vector, vector, n);
    if (!(norm2 > 0)) return false;
    k.scale(vector, 1.0 / std::sqrt(norm2), prepared, n);
    return true;
  }
  if (params_.exponent == 0) {
    std::memcpy(prepared, vector, n * sizeof(float));
  } else {
    k.scale(vector, std::ldexp(1.0, -params_.exponent), prepared, n);
  }
  if (params_.metric == PHNSW_IP) {
    const double max = static_cast<double>(params_.max_norm);
    const double missing = max * max - k.ip_f32(prepared, prepared, n);
    prepared[n] = missing > 0 ? static_cast<float>(std::sqrt(missing)) : 0.0f;
  }
  return true;
}

bool Codec::rotate(float *prepared) const noexcept {
  return rotation_.rotate(prepared, kernels().quantise(prepared, 0.0f, 0, nullptr, params_.space_dims));
}

bool Codec::transform(float *prepared) const noexcept {
  if (centre_.size() == 0) return rotate(prepared);
  return rotation_.rotate(prepared, kernels().subtract(prepared, centre_.data(), params_.space_dims));
}

double Codec::transform_error(double norm) const noexcept {
  // Rotation and subtraction are relative to the difference, the division by the norm (cosine) to the unit vector.
  // The factor covers the difference between the norm before and after, and the products of errors.
  const double relative = (rotation_.error() + kUnit) * norm;
  return 1.01 * (relative + (params_.metric == PHNSW_COSINE ? kUnit : 0.0)) + 4 * Rotation::kAbsoluteError;
}

double Codec::distance_from_centre_max(const float *vector) const noexcept {
  const double norm = std::sqrt(kernels().ip_f32(vector, vector, params_.dims));
  const double prepared = params_.metric == PHNSW_COSINE ? 1.0 : std::ldexp(norm, -params_.exponent);
  return (prepared + static_cast<double>(params_.max_norm) + centre_norm_) * kInflate;
}

bool Codec::encode(const float *vector, float *scratch, phnsw_code_head *head, std::int8_t *codes) const noexcept {
  if (!prepare(vector, scratch)) return false;
  const Kernels &k = kernels();
  float largest = std::numeric_limits<float>::infinity();
  if (transform(scratch)) largest = k.quantise(scratch, 0.0f, 0, nullptr, params_.code_dims);
  // A scale that float32 holds needs no more; it fails only where the transformation did.
  if (largest <= kFloatMax) {
    quantise(scratch, largest, head, codes);
  } else {
    std::memset(codes, 0, params_.code_dims);
    *head = phnsw_code_head{0.0f, 0.0f, 0, round_up(distance_from_centre_max(vector))};
  }
  return true;
}

double Codec::quantise_at(const float *x, float scale, std::int8_t *codes, std::int32_t *sum,
                          std::int32_t *squares) const noexcept {
  const Kernels &k = kernels();
  const std::uint32_t n = params_.code_dims;
  if (scale >= 0x1.0p-100f) {
    k.quantise(x, 1.0f / scale, limit(), codes, n);
  } else {
    // The inverse might not be a float32.
    const double bound = limit();
    for (std::uint32_t i = 0; i < n; i++) {
      double v = scale > 0.0f ? static_cast<double>(x[i]) / static_cast<double>(scale) : 0.0;
      v = v < bound ? v : bound;
      v = v > -bound ? v : -bound;
      codes[i] = static_cast<std::int8_t>(std::lrint(v));
    }
  }
  double residual2 = 0;
  k.code_sums(x, scale, codes, n, sum, squares, &residual2);
  return residual2;
}

void Codec::quantise(const float *x, float largest, phnsw_code_head *head, std::int8_t *codes) const noexcept {
  std::int32_t sum = 0;
  std::int32_t squares = 0;
  float scale = largest / static_cast<float>(limit());
  double residual2 = 0;
  if (params_.bits == 8) {
    residual2 = quantise_at(x, scale, codes, &sum, &squares);
  } else {
    // With 15 levels it pays to clip the largest coordinates: the best of a few scales.
    constexpr float kClips[] = {1.0f, 0.85f, 0.72f, 0.62f, 0.54f};
    float best = scale;
    double least = std::numeric_limits<double>::infinity();
    for (const float clip : kClips) {
      residual2 = quantise_at(x, scale * clip, codes, &sum, &squares);
      if (residual2 < least) {
        least = residual2;
        best = scale * clip;
      }
    }
    scale = best;
    residual2 = quantise_at(x, scale, codes, &sum, &squares);
  }

  const std::uint32_t rest = params_.space_dims - params_.code_dims;
  if (rest != 0) residual2 += kernels().ip_f32(x + params_.code_dims, x + params_.code_dims, rest);
  const double residual = std::sqrt(residual2) * kInflate;
  const double coded = static_cast<double>(scale) * std::sqrt(static_cast<double>(squares));
  // |x| <= |x'| + |x - x'|, wherever the error of x is relative to |x|.
  head->scale = scale;
  head->norm2 = coded_norm2(scale, squares);
  head->sum = sum;
  head->residual = round_up((residual + transform_error((coded + residual) * kInflate)) * kInflate);
}

bool Codec::decode(const phnsw_code_head &head, const std::int8_t *codes, float *vector) const noexcept {
  const Kernels &k = kernels();
  for (std::uint32_t i = 0; i < params_.space_dims; i++) {
    vector[i] = i < params_.code_dims ? head.scale * static_cast<float>(codes[i]) : 0.0f;
  }
  rotation_.invert(vector);
  for (std::uint32_t i = 0; i < params_.space_dims && centre() != nullptr; i++) vector[i] += centre_[i];
  const double norm = std::sqrt(k.ip_f32(vector, vector, params_.dims));
  // Bytes that make no sense have no vector.
  if (!(std::ldexp(norm, params_.exponent) <= static_cast<double>(kFloatMax))) {
    std::memset(vector, 0, params_.dims * sizeof(float));
    return false;
  }
  if (params_.exponent != 0) k.scale(vector, std::ldexp(1.0, params_.exponent), vector, params_.dims);
  return norm > kTelling * static_cast<double>(head.residual);
}

void Codec::pack(const std::int8_t *codes, std::uint8_t *slot_code) const noexcept {
  const std::uint32_t n = params_.code_dims;
  const std::uint32_t bytes = phnsw_code_bytes(n, params_.bits);
  std::uint32_t used = n;
  if (params_.bits == 8) {
    std::memcpy(slot_code, codes, n);
  } else {
    for (std::uint32_t i = 0; i < n / 2; i++) {
      slot_code[i] = static_cast<std::uint8_t>((codes[2 * i] + 8) | ((codes[2 * i + 1] + 8) << 4));
    }
    if ((n & 1) != 0) slot_code[n / 2] = static_cast<std::uint8_t>(codes[n - 1] + 8);
    used = (n + 1) / 2;
  }
  std::memset(slot_code + used, 0, bytes - used);
}

void Codec::unpack(const std::uint8_t *slot_code, std::int8_t *codes) const noexcept {
  const std::uint32_t n = params_.code_dims;
  if (params_.bits == 8) {
    std::memcpy(codes, slot_code, n);
    return;
  }
  for (std::uint32_t i = 0; i < n; i++) {
    codes[i] = static_cast<std::int8_t>(((slot_code[i / 2] >> ((i & 1) * 4)) & 15) - 8);
  }
}

}  // namespace phnsw
