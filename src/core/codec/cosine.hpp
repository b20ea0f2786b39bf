// The cosine distance from the three sums that kernels give, for every type of coordinate alike.
#pragma once

#include <cmath>

namespace phnsw {

// 1 - <a,b> / (|a| |b|), the quotient clamped to [-1, 1].  0 / 0 when a norm is zero: NaN passes the comparisons.
inline double cosine_distance(double ab, double aa, double bb) noexcept {
  const double cosine = ab / std::sqrt(aa * bb);
  return 1.0 - (cosine > 1.0 ? 1.0 : cosine < -1.0 ? -1.0 : cosine);
}

}  // namespace phnsw
