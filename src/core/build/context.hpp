// What every step of a bulk build is given: threads, memory, progress, and the sets of points it works on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/arena.hpp"
#include "base/array.hpp"
#include "base/team.hpp"
#include "capi/phnsw_build.h"
#include "kernel/gemm.hpp"

namespace phnsw {

// Written by the conductor and its workers, read by the backend's thread.
class BuildProgress {
 public:
  void begin(phnsw_build_phase phase, std::uint64_t total) noexcept {
    const auto now = std::chrono::steady_clock::now();
    if (phase_ != 0) seconds_[phase_] += std::chrono::duration<double>(now - began_).count();
    began_ = now;
    phase_ = phase;
    shown_phase_.store(phase, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    total_.store(total, std::memory_order_relaxed);
  }
  void add(std::uint64_t done) noexcept { done_.fetch_add(done, std::memory_order_relaxed); }
  [[nodiscard]] phnsw_build_phase phase() const noexcept {
    return static_cast<phnsw_build_phase>(shown_phase_.load(std::memory_order_relaxed));
  }
  [[nodiscard]] std::uint64_t done() const noexcept { return done_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t total() const noexcept { return total_.load(std::memory_order_relaxed); }
  void set_points(std::uint64_t points) noexcept { points_.store(points, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t points() const noexcept { return points_.load(std::memory_order_relaxed); }
  // Of ended phases; the conductor's.
  [[nodiscard]] double seconds(int phase) const noexcept { return seconds_[phase]; }

 private:
  std::atomic<int> shown_phase_{PHNSW_PHASE_LOAD};
  std::atomic<std::uint64_t> done_{0};
  std::atomic<std::uint64_t> total_{0};
  std::atomic<std::uint64_t> points_{0};
  int phase_ = 0;  // the conductor's
  std::chrono::steady_clock::time_point began_;
  double seconds_[PHNSW_PHASE_WRITE + 1] = {};
};

struct BuildContext {
  Team &team;
  Arena &arena;
  BuildProgress &progress;
};

// A set of coded points, ids 0 ... n - 1.  Codes are one int8 a coordinate,
// zero padded to the stride, a multiple of 64.
struct Points {
  CodeRows rows;
  std::uint32_t n;
  std::uint32_t dims;  // coordinates of a code
  [[nodiscard]] std::uint32_t groups() const noexcept { return (dims + 3) / 4; }
  [[nodiscard]] std::uint32_t row_bytes() const noexcept { return static_cast<std::uint32_t>(rows.stride); }
};

// The lists of one level.
struct LevelLinks {
  std::uint32_t capacity = 0;
  ArenaArray<std::uint32_t> links;  // n * capacity, nearest first
  ArenaArray<std::uint8_t> counts;  // n

  Status allocate(Arena &arena, std::uint32_t n, std::uint32_t list_capacity) {
    capacity = list_capacity;
    if (const Status status = links.allocate(arena, std::size_t{n} * list_capacity); !status.ok()) return status;
    return counts.allocate(arena, n);
  }
  [[nodiscard]] std::uint32_t *list(std::uint32_t id) const noexcept {
    return links.data() + std::size_t{id} * capacity;
  }
  void prefetch(std::uint32_t id) const noexcept {
    __builtin_prefetch(&counts[id]);
    for (std::uint32_t at = 0; at < capacity; at += kCacheLine / sizeof *links.data())
      __builtin_prefetch(list(id) + at);
  }
};

// How densely a level is connected; see README.md.
struct GraphParams {
  std::uint32_t leaf_points;      // most points of a leaf
  std::uint32_t leaf_neighbours;  // nearest of each point that a leaf contributes
  std::uint32_t far_leaves;       // of so many leaves, one has a point meet a random member
  std::uint32_t fanout_top;       // parts that a point belongs to on the first level of the partition
  std::uint32_t fanout_below;     // ... on the second
  std::uint32_t reservoir;        // candidates that a point remembers
  std::uint32_t carve_dims;  // so many coordinates, the first, tell which parts a point is in: all, or a multiple of 4
  std::uint64_t seed;
};

// One worker's share of multiply-adds between two looks at the stop flag: 4 ms
// with the fastest kernels, 50 with the slowest.
constexpr std::uint64_t kMultiplyAddsPerStep = std::uint64_t{1} << 26;

// Sequential loops over points look at it when (i & kPollMask) == 0.
constexpr std::uint32_t kPollMask = 0xFFFF;
constexpr Status kStopped{PHNSW_CANCELLED, "the build was stopped"};

}  // namespace phnsw
