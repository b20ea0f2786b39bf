#include "codec/rotation.hpp"

#include <cmath>
#include <limits>

#include "base/rng.hpp"
#include "kernel/kernels.hpp"

namespace phnsw {

Rotation::Rotation(std::uint32_t dims, std::uint64_t seed) : dims_(dims) {
  while ((2u << log2_) <= dims_) log2_++;
  const std::size_t n = static_cast<std::size_t>(kRounds) * dims_;
  signs_.reset(n);
  Rng rng(seed);
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < n; i++) {
    if (i % 64 == 0) word = rng.next();
    signs_[i] = ((word >> (i % 64)) & 1) != 0 ? -1.0f : 1.0f;
  }
}

void Rotation::apply(float *x) const noexcept {
  const Kernels &k = kernels();
  const std::uint32_t power = 1u << log2_;
  for (std::uint32_t round = 0; round < kRounds; round++) {
    k.flip(x, signs_.data() + static_cast<std::size_t>(round) * dims_, dims_);
    k.fwht(round % 2 == 0 ? x : x + (dims_ - power), log2_);
    if (round == 1 && power != dims_) k.mix(x, dims_);
  }
}

bool Rotation::rotate(float *x, float largest) const noexcept {
  if (!(largest <= std::numeric_limits<float>::max())) return false;
  if (largest == 0.0f) return true;
  if (largest >= 0x1.0p-80f && largest <= 0x1.0p100f) {
    apply(x);
    return true;
  }
  const int exponent = std::ilogb(largest);
  const Kernels &k = kernels();
  k.scale(x, std::ldexp(1.0, -exponent), x, dims_);
  apply(x);
  k.scale(x, std::ldexp(1.0, exponent), x, dims_);
  return k.quantise(x, 0.0f, 0, nullptr, dims_) <= std::numeric_limits<float>::max();
}

void Rotation::invert(float *x) const noexcept {
  const Kernels &k = kernels();
  const std::uint32_t power = 1u << log2_;
  // Signs, transform and pairs are each their own inverse.
  for (std::uint32_t round = kRounds; round-- > 0;) {
    if (round == 1 && power != dims_) k.mix(x, dims_);
    k.fwht(round % 2 == 0 ? x : x + (dims_ - power), log2_);
    k.flip(x, signs_.data() + static_cast<std::size_t>(round) * dims_, dims_);
  }
}

double Rotation::error() const noexcept {
  // In units of 2^-24 of the norm: per round log2_ stages of additions, 2 for the scaling, and one that covers the
  // second-order terms and the underflow of small coordinates; 3 for the pairs.
  return (kRounds * (log2_ + 3.0) + 3.0) * 0x1.0p-24;
}

}  // namespace phnsw
