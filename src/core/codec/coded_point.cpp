#include "codec/coded_point.hpp"

#include "kernel/kernels.hpp"

namespace phnsw {

CodedPoint::CodedPoint(const Codec &codec, const phnsw_slot &slot) noexcept : codec_(codec), slot_(slot) {
  if (codec.params().bits != 8) return;
  const std::uint32_t n = codec.code_dims();
  for (std::uint32_t i = 0; i < n; i++) code_[i] = slot.code[i] ^ 0x80;
}

void CodedPoint::batch(const phnsw_slot *const *slots, std::uint32_t n, float *distances) const noexcept {
  const Kernels &k = kernels();
  const std::uint32_t dims = codec_.code_dims();
  std::int32_t dots[kBatch];
  if (codec_.params().bits == 8) {
    const std::int8_t *codes[kBatch];
    for (std::uint32_t i = 0; i < n; i++) codes[i] = reinterpret_cast<const std::int8_t *>(slots[i]->code);
    k.dots_u8s8(code_, codes, n, dims, dots);
    // Unsigned: the sum is whatever stands on the page.
    for (std::uint32_t i = 0; i < n; i++) {
      const std::uint32_t sum = static_cast<std::uint32_t>(slots[i]->head.sum);
      dots[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(dots[i]) - k.dots_added * sum);
    }
  } else {
    for (std::uint32_t i = 0; i < n; i++) dots[i] = k.dot_s4s4(slot_.code, slots[i]->code, dims);
  }
  for (std::uint32_t i = 0; i < n; i++) distances[i] = coded_distance(slot_.head, slots[i]->head, dots[i]);
}

void CodedPoint::distances(const phnsw_slot *const *slots, std::uint32_t n, float *distances) const noexcept {
  for (std::uint32_t done = 0; done < n; done += kBatch) {
    batch(slots + done, n - done < kBatch ? n - done : kBatch, distances + done);
  }
}

bool CodedPoint::any_nearer(const phnsw_slot *const *slots, std::uint32_t n, float than) const noexcept {
  for (std::uint32_t done = 0; done < n; done += kGlance) {
    const std::uint32_t count = n - done < kGlance ? n - done : kGlance;
    float distances[kGlance];
    batch(slots + done, count, distances);
    for (std::uint32_t i = 0; i < count; i++) {
      if (distances[i] < than) return true;
    }
  }
  return false;
}

}  // namespace phnsw
