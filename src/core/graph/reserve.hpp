// Reserve: the candidates of a streaming search that are not in the window, nearest first on demand.
//
// Most searches end before anything is taken back (LIMIT 10 at ef = 40), and most scored nodes end here.  So adding is
// an append to an unordered tail; the first take after that turns head and tail into one binary heap.
//
// Invariants: entries_[0 ... heaped_) is a min-heap by precedes(); entries_[heaped_ ... size_) is in any order.
// One thread at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/array.hpp"
#include "graph/candidates.hpp"

namespace phnsw {

class Reserve {
 public:
  // Empties; keeps the memory unless the last search needed far more than searches here usually do.
  void begin() noexcept {
    if (entries_.size() > kKeptMax && size_ < entries_.size() / 32) entries_ = Array<Entry>();
    size_ = 0;
    heaped_ = 0;
  }

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t memory() const noexcept { return entries_.size() * sizeof(Entry); }

  // Room for n more: write to tail(), then added(how many).  Throws std::bad_alloc, unchanged.
  void make_room(std::size_t n) {
    if (size_ + n <= entries_.size()) return;
    Array<Entry> grown(std::max(2 * entries_.size(), size_ + n + kSizeMin));
    if (size_ != 0) std::memcpy(grown.data(), entries_.data(), size_ * sizeof(Entry));
    entries_ = std::move(grown);
  }
  [[nodiscard]] Entry *tail() noexcept { return entries_.data() + size_; }
  void added(std::size_t n) noexcept { size_ += n; }

  // Stores the first n candidates at most, in the order of precedes(), in *first; returns how many.  REQUIRES: none
  // precedes one with the key `least`.  Of hundreds in any order: counted by the upper bits of their keys, 64 counts an
  // octave of the score, since comparisons that cannot be predicted cost more than all the rest.
  std::uint32_t nearest(std::uint32_t n, std::uint64_t least, Array<Entry> *first) const {
    constexpr std::uint32_t kBuckets = 256;
    std::uint32_t counts[kBuckets] = {};
    const auto bucket = [least = static_cast<std::uint32_t>(least >> 32)](const Entry &entry) {
      return std::min((upper_bits(entry) - least) >> kBucketShift, kBuckets - 1);
    };
    for (std::size_t i = 0; i < size_; i++) counts[bucket(entries_[i])]++;
    std::uint32_t last = 0, picked = counts[0], written = 0;
    while (picked < n && last + 1 < kBuckets) picked += counts[++last];
    if (first->size() < picked + 1) first->reset(picked + 1);
    for (std::size_t i = 0; i < size_; i++) {
      (*first)[written] = entries_[i];
      written += bucket(entries_[i]) <= last;
    }
    n = std::min(n, picked);
    std::sort(first->begin(), first->begin() + picked, [](const Entry &a, const Entry &b) { return a.key < b.key; });
    return n;
  }

  // Removes the first candidate in the order of precedes().  REQUIRES: !empty().
  Entry take() noexcept {
    if (heaped_ != size_) heapify();
    std::pop_heap(entries_.begin(), entries_.begin() + size_, later);
    heaped_ = --size_;
    return entries_[size_];
  }

 private:
  static std::uint32_t upper_bits(const Entry &entry) noexcept { return static_cast<std::uint32_t>(entry.key >> 32); }

  static constexpr std::uint32_t kBucketShift = 17;  // of a float's 23 bits
  static constexpr std::size_t kSizeMin = 1024;
  static constexpr std::size_t kKeptMax = 1u << 16;

  static bool later(const Entry &a, const Entry &b) noexcept { return precedes(b, a); }

  void heapify() noexcept {
    if (size_ - heaped_ > heaped_ / 8) {
      std::make_heap(entries_.begin(), entries_.begin() + size_, later);
    } else {
      for (std::size_t end = heaped_ + 1; end <= size_; end++) {
        std::push_heap(entries_.begin(), entries_.begin() + end, later);
      }
    }
    heaped_ = size_;
  }

  Array<Entry> entries_;
  std::size_t size_ = 0;
  std::size_t heaped_ = 0;
};

}  // namespace phnsw
