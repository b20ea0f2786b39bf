// Rotation: a random orthogonal map in O(d log d) operations and 4d bits of state.
//
// Four rounds of: random signs; a fast Walsh-Hadamard transform of the first (even rounds) or last (odd rounds) 2^k
// coordinates, 2^k the largest power of two <= d.  Between the second and the third round, when d is no power of two, a
// plane rotation by 45 degrees of each pair (x[i], x[d-1-i]).  The signs are part of the file format: see README.md.
//
// Immutable after construction, shared by threads.
#pragma once

#include <cstdint>

#include "base/array.hpp"

namespace phnsw {

class Rotation {
 public:
  static constexpr std::uint32_t kRounds = 4;

  Rotation() noexcept = default;
  // REQUIRES: dims >= 1.  Throws std::bad_alloc.
  Rotation(std::uint32_t dims, std::uint64_t seed);

  // In place; element-wise the same roundings on every instruction set.  Nothing is rescaled: see rotate().
  void apply(float *x) const noexcept;

  // As apply(), for vectors of any magnitude: `largest` is the largest |x[i]|.  Vectors that would leave float32's
  // comfortable range half-way are rotated at another scale.  false: the result does not fit float32.
  bool rotate(float *x, float largest) const noexcept;

  // The way back, for vectors of moderate magnitude: what rotate() made
  // becomes, but for rounding, what it was made from.
  void invert(float *x) const noexcept;

  // |rotate(x) - R x| <= error() * |x| + kAbsoluteError in exact arithmetic, R the orthogonal matrix meant.
  [[nodiscard]] double error() const noexcept;
  static constexpr double kAbsoluteError = 0x1.0p-142;

  [[nodiscard]] std::uint32_t dims() const noexcept { return dims_; }

 private:
  std::uint32_t dims_ = 0;
  std::uint32_t log2_ = 0;
  Array<float> signs_;  // kRounds x dims_ of +1 / -1
};

}  // namespace phnsw
