// Codec: from float32 vectors to codes and back to provable bounds.
//
//   vector (dims)
//     -> prepared (space_dims): divided by its norm (cosine), by 2^exponent (the others); completed to max_norm by one
//        more coordinate (inner product; max_norm is a norm after the division)
//     -> minus the centre -> rotated -> first code_dims coordinates -> scale * integers
//
// Immutable after create(); shared by threads.  The bulk build works on unpacked codes (one int8 a coordinate, whatever
// `bits`); pages hold packed ones.  See README.md for the derivations.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "base/array.hpp"
#include "base/status.hpp"
#include "codec/rotation.hpp"

namespace phnsw {

class Codec {
 public:
  // params are validated; centre: space_dims floats or null.
  static Status create(const phnsw_codec_params &params, const float *centre, std::unique_ptr<Codec> *codec);
  static Status choose(phnsw_metric metric, std::uint32_t dims, std::uint32_t m, std::uint64_t rotation_seed,
                       phnsw_codec_params *params);
  // The exponent for data whose norms go up to about `typical_max_norm`, so that they become about 1: 0 where float32's
  // range is wide enough anyway (2^-20 ... 2^20), and for a norm that is zero or not finite.  Cosine needs none.
  static int exponent_for(double typical_max_norm) noexcept;

  [[nodiscard]] const phnsw_codec_params &params() const noexcept { return params_; }
  [[nodiscard]] const float *centre() const noexcept { return centre_.size() != 0 ? centre_.data() : nullptr; }
  [[nodiscard]] std::uint32_t code_dims() const noexcept { return params_.code_dims; }
  // Largest code coordinate: 127 or 7.
  [[nodiscard]] std::int32_t limit() const noexcept { return params_.bits == 8 ? 127 : 7; }
  // Floats of scratch memory that prepare() and encode() want (space_dims rounded up).
  [[nodiscard]] std::uint32_t scratch_floats() const noexcept { return (params_.space_dims + 15u) & ~15u; }

  // The vector in the space before centring (space_dims floats).  false: a zero vector under cosine.
  bool prepare(const float *vector, float *prepared) const noexcept;
  // Encodes; codes: code_dims int8 (the caller's padding is left alone).  false: a zero vector under cosine.
  bool encode(const float *vector, float *scratch, phnsw_code_head *head, std::int8_t *codes) const noexcept;

  // A vector that has about this code (scratch_floats() floats of room, dims of them are the
  // vector): what encode() took, as far as the code tells.  false: it tells little of the
  // vector's direction, which is short beside what coding has lost.
  bool decode(const phnsw_code_head &head, const std::int8_t *codes, float *vector) const noexcept;

  // Unpacked codes to the bytes of a slot, and back.  Padding bytes of the slot are zeroed.
  void pack(const std::int8_t *codes, std::uint8_t *slot_code) const noexcept;
  void unpack(const std::uint8_t *slot_code, std::int8_t *codes) const noexcept;

  // Centres, rotates in place: space_dims floats.  Used by queries; encode() is prepare + transform + quantise.
  // false: too large for float32, the content is then meaningless.
  bool transform(float *prepared) const noexcept;
  // Rotates without centring; false as above.
  bool rotate(float *prepared) const noexcept;
  // Bound of the distance between transform()'s or rotate()'s result and what exact arithmetic would give from the
  // original vector, when the result's norm is at most `norm`.
  [[nodiscard]] double transform_error(double norm) const noexcept;

 private:
  Codec() = default;

  // Head and codes of the rotated vector x, whose largest coordinate is `largest`.
  void quantise(const float *x, float largest, phnsw_code_head *head, std::int8_t *codes) const noexcept;
  // Codes of one scale; the squared error over code_dims, the sum of the codes and of their squares.
  double quantise_at(const float *x, float scale, std::int8_t *codes, std::int32_t *sum,
                     std::int32_t *squares) const noexcept;
  // An upper bound of the distance between the prepared vector and the centre, without float32's limits.
  [[nodiscard]] double distance_from_centre_max(const float *vector) const noexcept;

  phnsw_codec_params params_{};
  Array<float> centre_;
  Rotation rotation_;
  double centre_norm_ = 0;
};

// |x'|^2 as a head stores it, never infinite.
inline float coded_norm2(float scale, std::int32_t squares) noexcept {
  const double norm2 = static_cast<double>(scale) * static_cast<double>(scale) * static_cast<double>(squares);
  constexpr float kMax = std::numeric_limits<float>::max();
  return norm2 < static_cast<double>(kMax) ? static_cast<float>(norm2) : kMax;
}

// Squared distance of two coded points, from heads and the integer dot product of their codes; never negative, never
// NaN: +inf where float32 does not reach.
inline float coded_distance(const phnsw_code_head &a, const phnsw_code_head &b, std::int32_t dot) noexcept {
  const float d = a.norm2 + b.norm2 - 2.0f * (a.scale * b.scale) * static_cast<float>(dot);
  if (d <= 0.0f) return 0.0f;
  return d <= std::numeric_limits<float>::max() ? d : std::numeric_limits<float>::infinity();
}

// The smallest float32 not below value; REQUIRES: not NaN.
float round_up(double value) noexcept;

}  // namespace phnsw
