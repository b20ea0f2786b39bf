// Finds: which points of one part met in its leaves, delivered to the reservoirs when the part is done.
//
// A point of a part is in several of its leaves and meets the same neighbours there again; collected, each pair is
// offered once, and each reservoir is visited once per part instead of once per leaf.  Points are named by their place
// in the part.  One worker's.  What the reservoirs keep does not depend on which leaves make a part.
#pragma once

#include "base/array.hpp"
#include "build/sketch.hpp"

namespace phnsw {

class Finds {
 public:
  // Another part: ids[n] are its points, each of them in at most `leaves` leaves that find `neighbours` of it.
  void begin(const std::uint32_t *ids, std::uint32_t n, std::uint32_t leaves, std::uint32_t neighbours);
  [[nodiscard]] const std::uint32_t *ids() const noexcept { return ids_; }

  // How many the point at `place` has found.
  [[nodiscard]] std::uint32_t count(std::uint32_t place) const noexcept { return count_[place]; }
  // It has found the one at `other`, which may be among its first `before` already, but not behind them.
  void add(std::uint32_t place, std::uint32_t other, float distance, std::uint32_t before) noexcept {
    if (before != 0 && has(place, other, before)) return;
    found_[std::size_t{place} * each_ + count_[place]++] = neighbour_key(distance, other);
  }
  // The two are to meet, whatever their distance.
  void add_far(std::uint32_t place, std::uint32_t other) noexcept {
    far_[far_count_++] = std::uint64_t{place} << 32 | other;
  }
  // Offers each pair to both points' reservoirs.
  void deliver(const Points &points, const Sketches &sketches, Reservoirs &reservoirs) noexcept;

 private:
  // Among the first n of the list.  One call of a kernel, since nothing of it could be predicted.
  [[nodiscard]] bool has(std::uint32_t place, std::uint32_t other, std::uint32_t n) const noexcept {
    return gemm_.find_low_bits(found_.data() + std::size_t{place} * each_, n, other, 0xFFFFFFFF) < n;
  }
  void join_pairs(std::uint32_t *offers) noexcept;

  const GemmKernels &gemm_ = gemm_kernels();
  const std::uint32_t *ids_ = nullptr;
  std::uint32_t n_ = 0, each_ = 0, far_count_ = 0;
  Array<std::uint64_t> found_;   // n * each: (distance, the other's place)
  Array<std::uint8_t> count_;    // n
  Array<std::uint64_t> far_;     // pairs of places
  Array<float> sketch_;          // n * Sketches::kLanes
  Array<std::uint64_t> offers_;  // sorted by the point they are for
  Array<std::uint32_t> end_;     // where each point's offers end
};

}  // namespace phnsw
