#include "codec/validate.hpp"

#include <cmath>

namespace phnsw {

const char *find_code_fault(const Codec &codec, const phnsw_slot &slot) noexcept {
  const phnsw_codec_params &p = codec.params();
  const phnsw_code_head &head = slot.head;
  if (!std::isfinite(head.scale) || head.scale < 0.0f) return "scale is negative or not finite";
  // An infinite residual is legal: float32 did not reach, nothing is known.
  if (!(head.residual >= 0.0f)) return "residual is negative or not a number";
  if (!std::isfinite(head.norm2) || head.norm2 < 0.0f) return "norm is negative or not finite";

  std::int32_t sum = 0;
  std::int32_t squares = 0;
  for (std::uint32_t i = 0; i < p.code_dims; i++) {
    const std::int32_t c =
        p.bits == 8 ? static_cast<std::int8_t>(slot.code[i]) : ((slot.code[i / 2] >> ((i & 1) * 4)) & 15) - 8;
    if (c < -codec.limit()) return "code has a coordinate out of range";
    sum += c;
    squares += c * c;
  }
  const std::uint32_t bytes = phnsw_code_bytes(p.code_dims, p.bits);
  for (std::uint32_t i = p.bits == 8 ? p.code_dims : (p.code_dims + 1) / 2; i < bytes; i++) {
    if (slot.code[i] != 0) return "padding of the code is not zero";
  }
  if (sum != head.sum) return "sum does not fit the code";
  const double norm2 = static_cast<double>(coded_norm2(head.scale, squares));
  if (std::fabs(norm2 - static_cast<double>(head.norm2)) > norm2 * 0x1.0p-20) return "norm does not fit the code";
  return nullptr;
}

}  // namespace phnsw
