// Reservoirs: for each point the candidates for its list, pruned while they arrive (HashPrune of PiPNN).
//
// A candidate falls into a bucket by its direction from the point; a bucket keeps its nearest candidate, a reservoir
// its `capacity` nearest buckets.  With b(h) the smallest key (distance, id) ever offered to bucket h, the content is
// always the `capacity` smallest of the b(h): it depends on the set of offers only, not on their order.  Proof: b(h)
// and, once the reservoir is full, the limit (its largest key) only ever fall, so a bucket that was refused or evicted
// had b(h) >= limit and can return only by an offer below the limit, which then is its b(h).
//
// offer() may be called by any number of threads at once: a lock byte per reservoir, and a refusal that needs no lock.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/array.hpp"
#include "build/context.hpp"

namespace phnsw {

// A candidate in one number, nearest first: 21 bits of distance (a short
// key's, the sign left out), 32 of id, 11 of bucket.
constexpr std::uint32_t kBucketBits = 11;
inline std::uint64_t reservoir_entry(float distance, std::uint32_t id, std::uint32_t bucket) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &distance, 4);
  return std::uint64_t{bits >> 10} << (32 + kBucketBits) | std::uint64_t{id} << kBucketBits | bucket;
}
inline std::uint64_t entry_key(std::uint64_t entry) noexcept {
  return entry >> (32 + kBucketBits) << 42 | (entry >> kBucketBits & 0xFFFFFFFF);
}

class Reservoirs {
 public:
  static constexpr std::uint32_t kCapacityMax = 254;

  // A capacity not below `wanted` (up to kCapacityMax) that fills whole cache lines.
  static std::uint32_t capacity_for(std::uint32_t wanted) noexcept {
    const std::size_t bytes =
        (sizeof(Header) + wanted * sizeof(std::uint64_t) + kCacheLine - 1) / kCacheLine * kCacheLine;
    return static_cast<std::uint32_t>(
        std::min<std::size_t>((bytes - sizeof(Header)) / sizeof(std::uint64_t), kCapacityMax));
  }

  Status allocate(BuildContext &context, std::uint32_t n, std::uint32_t capacity) {
    capacity_ = capacity;
    stride_ = (sizeof(Header) + capacity * sizeof(std::uint64_t) + kCacheLine - 1) / kCacheLine * kCacheLine;
    if (const Status status = bytes_.allocate(context.arena, n * stride_); !status.ok()) return status;
    constexpr std::uint32_t kBlock = 4096;
    return context.team.for_each((n + kBlock - 1) / kBlock, [&](std::size_t block, unsigned) {
      const std::uint32_t end = std::min<std::uint32_t>(n, static_cast<std::uint32_t>(block + 1) * kBlock);
      for (std::uint32_t i = static_cast<std::uint32_t>(block) * kBlock; i < end; i++) *header(i) = Header{};
    });
  }
  // Where the list of a point may be written once its candidates have been read: they are gone then.
  [[nodiscard]] std::uint32_t *list(std::uint32_t point) const noexcept {
    return reinterpret_cast<std::uint32_t *>(bytes_.data() + point * stride_);
  }
  // The lists of all points, `capacity` ids each, as an array; in this memory,
  // whose rest others get.  This has none any more.
  Status become_lists(BuildContext &context, std::uint32_t n, std::uint32_t capacity,
                      ArenaArray<std::uint32_t> *lists) {
    const bool here = bytes_.can_shrink();
    if (!here) {
      if (const Status status = lists->allocate(context.arena, std::size_t{n} * capacity); !status.ok()) return status;
    }
    const std::size_t bytes = capacity * sizeof(std::uint32_t);
    std::uint8_t *to = here ? bytes_.data() : reinterpret_cast<std::uint8_t *>(lists->data());
    // Here, lists move to where those before them were: as many at a time as fit the room of those that have moved.
    for (std::size_t moved = here ? 1 : 0; moved < n;) {
      const std::size_t end = here ? std::min<std::size_t>(n, moved * stride_ / bytes) : n;
      constexpr std::size_t kBlock = 8192;
      const Status status =
          context.team.for_each((end - moved + kBlock - 1) / kBlock, [&](std::size_t block, unsigned) {
            const std::size_t first = moved + block * kBlock;
            for (std::size_t i = first; i < std::min(end, first + kBlock); i++)
              std::memcpy(to + i * bytes, bytes_.data() + i * stride_, bytes);
          });
      if (!status.ok()) return status;
      moved = end;
    }
    if (here) lists->take_over(bytes_, std::size_t{n} * capacity);
    bytes_.release();
    return {};
  }

  void prefetch(std::uint32_t point) const noexcept {
    const std::uint8_t *at = bytes_.data() + point * stride_;
    for (std::size_t i = 0; i < stride_; i += kCacheLine) {
      __builtin_prefetch(at + i, 1);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
    }
  }

  // entries: as reservoir_entry() makes them.
  void offer(std::uint32_t point, const std::uint64_t *entries, std::uint32_t n) noexcept {
    Header *head = header(point);
    const std::atomic_ref<std::uint64_t> limit(head->limit);
    std::uint32_t first = 0;
    while (first < n && entries[first] >= limit.load(std::memory_order_relaxed)) first++;
    if (first == n) return;
    const std::atomic_ref<std::uint8_t> lock(head->lock);
    while (lock.exchange(1, std::memory_order_acquire) != 0) {
      while (lock.load(std::memory_order_relaxed) != 0) {
      }
    }
    for (std::uint32_t i = first; i < n; i++) insert(head, entries[i]);
    lock.store(0, std::memory_order_release);
  }
  void offer(std::uint32_t point, std::uint64_t entry) noexcept { offer(point, &entry, 1); }

  // Stores the candidates of a point as keys (distance, id), in no particular
  // order, in keys[capacity()]; returns how many.
  std::uint32_t candidates(std::uint32_t point, std::uint64_t *keys) const noexcept {
    Header *head = header(point);
    for (std::uint32_t i = 0; i < head->count; i++) keys[i] = entry_key(entries_of(head)[i]);
    return head->count;
  }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }

 private:
  struct Header {
    std::uint64_t limit = ~std::uint64_t{0};  // entries at or above it are refused: the largest of a full reservoir
    std::uint16_t count = 0;
    std::uint8_t lock = 0;
    std::uint8_t farthest = 0;  // its place, when full
    std::uint32_t unused = 0;
  };
  static_assert(sizeof(Header) == 16);

  [[nodiscard]] Header *header(std::uint32_t point) const noexcept {
    return reinterpret_cast<Header *>(bytes_.data() + point * stride_);
  }
  static std::uint64_t *entries_of(Header *head) noexcept { return reinterpret_cast<std::uint64_t *>(head + 1); }

  void insert(Header *head, std::uint64_t entry) noexcept {
    if (entry >= head->limit) return;
    constexpr std::uint64_t kBucketMask = (std::uint64_t{1} << kBucketBits) - 1;
    std::uint64_t *entries = entries_of(head);
    std::uint32_t place = gemm_.find_low_bits(entries, head->count, entry & kBucketMask, kBucketMask);
    if (place < head->count) {
      if (entry >= entries[place]) return;
    } else if (head->count < capacity_) {
      head->count++;
    } else {
      place = head->farthest;
    }
    entries[place] = entry;
    if (head->count < capacity_ || (head->limit != ~std::uint64_t{0} && place != head->farthest)) return;
    head->farthest = static_cast<std::uint8_t>(gemm_.find_largest(entries, capacity_));
    std::atomic_ref<std::uint64_t>(head->limit).store(entries[head->farthest], std::memory_order_relaxed);
  }

  const GemmKernels &gemm_ = gemm_kernels();
  ArenaArray<std::uint8_t> bytes_;
  std::size_t stride_ = 0;
  std::uint32_t capacity_ = 0;
};

}  // namespace phnsw
