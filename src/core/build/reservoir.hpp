// Reservoirs: for each point the candidates for its list, pruned while they arrive (HashPrune of PiPNN).
//
// A candidate falls into a bucket by its direction from the point; a bucket keeps its nearest candidate, a reservoir its
// `capacity` nearest buckets.  With b(h) the smallest key (distance, id) ever offered to bucket h, the content is always
// the `capacity` smallest of the b(h): it depends on the set of offers only, not on their order.  Proof: b(h) and, once
// the reservoir is full, the limit (its largest key) only ever fall, so a bucket that was refused or evicted had
// b(h) >= limit and can return only by an offer below the limit, which then is its b(h).
//
// offer() may be called by any number of threads at once: a lock byte per reservoir, and a refusal that needs no lock.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/array.hpp"
#include "build/context.hpp"

namespace phnsw {

class Reservoirs {
 public:
  static constexpr std::uint32_t kCapacityMax = 252;

  // A capacity not below `wanted` (up to kCapacityMax) that fills whole cache lines.
  static std::uint32_t capacity_for(std::uint32_t wanted) noexcept {
    // Keys are aligned only behind an even number of hashes, four to a key.
    const std::size_t rounded = (wanted + std::size_t{3}) / 4 * 4;
    const std::size_t bytes = (sizeof(Header) + rounded * kEntryBytes + kCacheLine - 1) / kCacheLine * kCacheLine;
    const std::size_t fits = (bytes - sizeof(Header)) / kEntryBytes / 4 * 4;
    return static_cast<std::uint32_t>(std::min<std::size_t>(fits, kCapacityMax));
  }

  Status allocate(BuildContext &context, std::uint32_t n, std::uint32_t capacity) {
    capacity_ = capacity;
    stride_ = (sizeof(Header) + capacity * kEntryBytes + kCacheLine - 1) / kCacheLine * kCacheLine;
    if (const Status status = bytes_.allocate(context.arena, n * stride_); !status.ok()) return status;
    constexpr std::uint32_t kBlock = 4096;
    return context.team.for_each((n + kBlock - 1) / kBlock, [&](std::size_t block, unsigned) {
      const std::uint32_t end = std::min<std::uint32_t>(n, static_cast<std::uint32_t>(block + 1) * kBlock);
      for (std::uint32_t i = static_cast<std::uint32_t>(block) * kBlock; i < end; i++) *header(i) = Header{};
    });
  }
  void release() noexcept { bytes_.release(); }

  void prefetch(std::uint32_t point) const noexcept {
    const std::uint8_t *at = bytes_.data() + point * stride_;
    for (std::size_t i = 0; i < stride_; i += kCacheLine) {
      __builtin_prefetch(at + i, 1);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // gcc 12 may drop a prefetch from a loop without it
    }
  }

  struct Offer {
    std::uint64_t key;
    std::uint16_t bucket;
  };
  void offer(std::uint32_t point, const Offer *offers, std::uint32_t n) noexcept {
    Header *head = header(point);
    const std::atomic_ref<std::uint64_t> limit(head->limit);
    std::uint32_t first = 0;
    while (first < n && offers[first].key >= limit.load(std::memory_order_relaxed)) first++;
    if (first == n) return;
    const std::atomic_ref<std::uint8_t> lock(head->lock);
    while (lock.exchange(1, std::memory_order_acquire) != 0) {
      while (lock.load(std::memory_order_relaxed) != 0) {
      }
    }
    for (std::uint32_t i = first; i < n; i++) insert(head, offers[i].key, offers[i].bucket);
    lock.store(0, std::memory_order_release);
  }
  void offer(std::uint32_t point, std::uint64_t key, std::uint16_t bucket) noexcept {
    const Offer one{key, bucket};
    offer(point, &one, 1);
  }

  // Copies the candidates of a point, in no particular order, to keys[capacity()]; returns how many.
  std::uint32_t candidates(std::uint32_t point, std::uint64_t *keys) const noexcept {
    Header *head = header(point);
    std::memcpy(keys, keys_of(head), head->count * sizeof(std::uint64_t));
    return head->count;
  }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }

 private:
  struct Header {
    std::uint64_t limit = kNoNeighbour;  // keys at or above it are refused: the largest key of a full reservoir
    std::uint16_t count = 0;
    std::uint8_t lock = 0;
    std::uint8_t farthest = 0;  // its place, when full
    std::uint32_t unused = 0;
  };
  static constexpr std::size_t kEntryBytes = sizeof(std::uint64_t) + sizeof(std::uint16_t);

  [[nodiscard]] Header *header(std::uint32_t point) const noexcept {
    return reinterpret_cast<Header *>(bytes_.data() + point * stride_);
  }
  static std::uint16_t *buckets_of(Header *head) noexcept { return reinterpret_cast<std::uint16_t *>(head + 1); }
  std::uint64_t *keys_of(Header *head) const noexcept {
    return reinterpret_cast<std::uint64_t *>(buckets_of(head) + capacity_);
  }

  void insert(Header *head, std::uint64_t key, std::uint16_t bucket) noexcept {
    if (key >= head->limit) return;
    std::uint16_t *buckets = buckets_of(head);
    std::uint64_t *keys = keys_of(head);
    const std::uint32_t count = head->count;
    std::uint32_t place = find(buckets, count, bucket);
    if (place < count) {
      if (key >= keys[place]) return;
      keys[place] = key;
      if (count == capacity_ && place == head->farthest) find_limit(head, keys);
      return;
    }
    if (count < capacity_) {
      head->count++;
    } else {
      place = head->farthest;
    }
    buckets[place] = bucket;
    keys[place] = key;
    if (head->count == capacity_) find_limit(head, keys);
  }

  static std::uint32_t find(const std::uint16_t *buckets, std::uint32_t count, std::uint16_t bucket) noexcept {
    // Four at a time: a zero lane of the difference borrows into its top bit.
    const std::uint64_t wanted = bucket * std::uint64_t{0x0001000100010001};
    for (std::uint32_t i = 0; i < count; i += 4) {
      std::uint64_t four;
      std::memcpy(&four, buckets + i, 8);
      four ^= wanted;
      const std::uint64_t zero = (four - 0x0001000100010001) & ~four & 0x8000800080008000;
      if (zero != 0) {
        const std::uint32_t place = i + static_cast<std::uint32_t>(__builtin_ctzll(zero)) / 16;
        return place < count ? place : count;
      }
    }
    return count;
  }

  void find_limit(Header *head, const std::uint64_t *keys) const noexcept {
    std::uint64_t largest = keys[0];
    std::uint32_t place = 0;
    for (std::uint32_t i = 1; i < capacity_; i++) {
      place = keys[i] > largest ? i : place;
      largest = keys[i] > largest ? keys[i] : largest;
    }
    head->farthest = static_cast<std::uint8_t>(place);
    std::atomic_ref<std::uint64_t>(head->limit).store(largest, std::memory_order_relaxed);
  }

  ArenaArray<std::uint8_t> bytes_;
  std::size_t stride_ = 0;
  std::uint32_t capacity_ = 0;
};

}  // namespace phnsw
