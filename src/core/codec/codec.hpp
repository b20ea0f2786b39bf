// Codec: from float32 vectors to codes and back to provable bounds.
//
//   vector (dims)
//     -> prepared (space_dims): divided by its norm (cosine), by 2^exponent (the others); completed to max_norm by one
//        more coordinate (inner product)
//     -> minus the centre -> rotated -> first code_dims coordinates -> scale * integers
//
// Immutable after create(); shared by threads.  The bulk build works on unpacked codes (one int8 a coordinate, whatever
// `bits`); pages hold packed ones.  See README.md for the derivations.
#pragma once

#include <cstdint>
#include <memory>

#include "base/array.hpp"
#include "base/status.hpp"

namespace phnsw {

class Codec {
 public:
  // params are validated; centre: space_dims floats or null.
  static Status create(const phnsw_codec_params &params, const float *centre, std::unique_ptr<Codec> *codec);
  static Status choose(phnsw_metric metric, std::uint32_t dims, std::uint32_t m, std::uint64_t rotation_seed,
                       phnsw_codec_params *params);

  [[nodiscard]] const phnsw_codec_params &params() const noexcept { return params_; }
  [[nodiscard]] const float *centre() const noexcept { return centre_.size() != 0 ? centre_.data() : nullptr; }
  [[nodiscard]] std::uint32_t code_dims() const noexcept { return params_.code_dims; }
  // Floats of scratch memory that prepare() and encode() want (space_dims rounded up).
  [[nodiscard]] std::uint32_t scratch_floats() const noexcept;

  // The vector in the space before centring (space_dims floats).  false: a zero vector under cosine.
  bool prepare(const float *vector, float *prepared) const noexcept;
  // Encodes; codes: code_dims int8 (the caller's padding is left alone).  false: a zero vector under cosine.
  bool encode(const float *vector, float *scratch, phnsw_code_head *head, std::int8_t *codes) const noexcept;

  // Unpacked codes to the bytes of a slot, and back.  Padding bytes of the slot are zeroed.
  void pack(const std::int8_t *codes, std::uint8_t *slot_code) const noexcept;
  void unpack(const std::uint8_t *slot_code, std::int8_t *codes) const noexcept;

  // Centres, rotates in place: space_dims floats.  Used by queries; encode() is prepare + transform + quantise.
  void transform(float *prepared) const noexcept;

 private:
  Codec() = default;

  phnsw_codec_params params_{};
  Array<float> centre_;
  Array<float> signs_;  // 4 rounds x space_dims of +1 / -1
};

// Squared distance of two coded points, from heads and the integer dot product of their codes; never negative.
inline float coded_distance(const phnsw_code_head &a, const phnsw_code_head &b, std::int32_t dot) noexcept {
  const float d = a.norm2 + b.norm2 - 2.0f * a.scale * b.scale * static_cast<float>(dot);
  return d > 0.0f ? d : 0.0f;
}

}  // namespace phnsw
