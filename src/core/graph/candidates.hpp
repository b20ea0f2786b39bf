// Candidates: the window of a best-first search, a flat array sorted by (score, id).
//
// A heap would find the nearest candidate as fast, but the search also asks for the farthest one (the bound), for the
// first one not yet expanded, and for all of them in order.  At ef = 40 the array is ten cache lines, and a batch of
// arrivals moves every element at most once.  Entries carry their order as one integer, so that the binary search for a
// place is a load, a comparison and a conditional move a step.
//
// Layout: buffer_[head_ ... head_ + size_) is the window.  The head moves when candidates are taken from the front, so
// that taking one of thousands moves nothing; the content slides back to the start when the room behind it runs out.
//
// Invariants: sorted by precedes(); cursor_ is the index of the first candidate with expanded == 0, or size_;
// size_ <= capacity_ between calls; merge() may leave up to kBatch more, which the caller cuts off.
// One thread at a time.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/array.hpp"
#include "capi/phnsw_search.h"

namespace phnsw {

// A candidate inside the machine.
struct Entry {
  std::uint64_t key;  // order_key()
  std::uint32_t version;
  std::uint32_t expanded;
};
static_assert(sizeof(Entry) == 16);

// The order of candidates as one integer: by score, equal scores by id.  A float's bits
// compare like the float once the sign bit of positive ones and all bits of negative ones are
// flipped.  NaN counts as farthest; adding zero turns -0 into +0.
inline std::uint64_t order_key(std::uint32_t id, float score) noexcept {
  const float clean = score == score ? score + 0.0f : std::numeric_limits<float>::infinity();
  const auto bits = std::bit_cast<std::int32_t>(clean);
  const std::uint32_t flip = static_cast<std::uint32_t>(bits >> 31) | 0x80000000u;
  return std::uint64_t{static_cast<std::uint32_t>(bits) ^ flip} << 32 | id;
}

inline std::uint32_t id_of(const Entry &entry) noexcept { return static_cast<std::uint32_t>(entry.key); }

inline float score_of(const Entry &entry) noexcept {
  const auto order = static_cast<std::uint32_t>(entry.key >> 32);
  return std::bit_cast<float>((order & 0x80000000u) != 0 ? order ^ 0x80000000u : ~order);
}

inline phnsw_candidate candidate_of(const Entry &entry) noexcept {
  return {score_of(entry), id_of(entry), entry.version, entry.expanded};
}

inline bool precedes(const Entry &a, const Entry &b) noexcept { return a.key < b.key; }

class Candidates {
 public:
  // Most candidates that merge() takes at once.
  static constexpr std::uint32_t kBatch = 256;

  // Empties the window.  Allocates when `capacity` is larger than ever before.
  void begin(std::uint32_t capacity) {
    const std::size_t wanted = 2 * std::size_t{capacity} + 2 * kBatch;
    if (buffer_.size() < wanted) buffer_.reset(wanted);
    capacity_ = whole_ = capacity;
    head_ = 0;
    size_ = 0;
    cursor_ = 0;
  }

  [[nodiscard]] const Entry *data() const noexcept { return buffer_.data() + head_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] bool full() const noexcept { return size_ >= capacity_; }
  [[nodiscard]] std::uint32_t excess() const noexcept { return size_ > capacity_ ? size_ - capacity_ : 0; }
  [[nodiscard]] std::size_t memory() const noexcept { return buffer_.size() * sizeof(Entry); }

  // The first unexpanded candidate, or null.
  [[nodiscard]] const Entry *open() const noexcept { return cursor_ != size_ ? data() + cursor_ : nullptr; }

  // How many candidates are expanded before the first that is not.
  [[nodiscard]] std::uint32_t expanded() const noexcept { return cursor_; }

  // Stores the ids of the first unexpanded candidates, n at most, nearest first; returns how many.
  std::uint32_t upcoming(std::uint32_t *ids, std::uint32_t n) const noexcept {
    const Entry *window = data();
    std::uint32_t found = 0;
    for (std::uint32_t i = cursor_; i < size_ && found < n; i++) {
      if (window[i].expanded == 0) ids[found++] = id_of(window[i]);
    }
    return found;
  }

  // Marks the first unexpanded candidate expanded and stores its id.  false: there is none.
  bool pop(std::uint32_t *id) noexcept {
    if (cursor_ == size_) return false;
    Entry *window = buffer_.data() + head_;
    window[cursor_].expanded = 1;
    *id = id_of(window[cursor_]);
    advance();
    return true;
  }

  // Inserts batch[0 ... n), sorted by precedes(), none of them expanded.  REQUIRES: n <= kBatch, excess() == 0.
  // From the far end: the entries behind the place of the last arrival move once, by n, those before it by n - 1 ...
  // All places are looked for before anything moves, so that the processor can overlap the searches.
  void merge(const Entry *batch, std::uint32_t n) noexcept {
    make_room();
    Entry *window = buffer_.data() + head_;
    std::uint32_t places[kBatch];
    for (std::uint32_t i = 0; i < n; i++) places[i] = place(window, size_, batch[i].key);
    std::uint32_t end = size_;  // window[0 ... end) has not moved yet
    for (std::uint32_t left = n; left > 0; left--) {
      const std::uint32_t at = places[left - 1];
      std::memmove(window + at + left, window + at, (end - at) * sizeof(Entry));
      window[at + left - 1] = batch[left - 1];
      end = at;
    }
    size_ += n;
    if (n != 0 && end < cursor_) cursor_ = end;
  }

  // Drops what is beyond the capacity; the caller has read it from data() + size() - excess().
  void cut() noexcept {
    size_ -= excess();
    if (cursor_ > size_) cursor_ = size_;
  }

  // Appends a candidate that every one in the window precedes.  REQUIRES: !full().
  void append(const Entry &candidate) noexcept {
    if (head_ + size_ == buffer_.size()) make_room();
    buffer_[head_ + size_] = candidate;
    const bool was_at_end = cursor_ == size_;
    size_++;
    if (was_at_end && candidate.expanded != 0) cursor_ = size_;
  }

  // Removes the first n.  REQUIRES: n <= size().
  void drop_front(std::uint32_t n) noexcept {
    head_ += n;
    size_ -= n;
    cursor_ = cursor_ > n ? cursor_ - n : 0;
    const Entry *window = buffer_.data() + head_;
    while (cursor_ < size_ && window[cursor_].expanded != 0) cursor_++;
  }

  // Removes the first n with their places, until widen().  REQUIRES: n <= size(), n < the capacity.
  void narrow(std::uint32_t n) noexcept {
    drop_front(n);
    capacity_ -= n;
  }
  void widen() noexcept { capacity_ = whole_; }

 private:
  // First index in window[0 ... end) whose key is above `key`.  The trip count depends on `end` alone and the choice
  // is a mask (gcc 12 makes a branch of a conditional expression here), so the only branch is predicted.
  static std::uint32_t place(const Entry *window, std::uint32_t end, std::uint64_t key) noexcept {
    const Entry *low = window;
    for (std::uint32_t length = end; length > 0;) {
      const std::uint32_t half = (length + 1) / 2;
      low += half & (0u - static_cast<std::uint32_t>(low[half - 1].key < key));
      length -= half;
    }
    return static_cast<std::uint32_t>(low - window);
  }

  void advance() noexcept {
    const Entry *window = buffer_.data() + head_;
    do {
      cursor_++;
    } while (cursor_ < size_ && window[cursor_].expanded != 0);
  }

  // Room for capacity_ + kBatch from the head on.
  void make_room() noexcept {
    if (head_ + capacity_ + kBatch <= buffer_.size()) return;
    std::memmove(buffer_.data(), buffer_.data() + head_, size_ * sizeof(Entry));
    head_ = 0;
  }

  Array<Entry> buffer_;
  std::uint32_t capacity_ = 0;
  std::uint32_t whole_ = 0;  // capacity_, but for narrow()
  std::size_t head_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t cursor_ = 0;
};

}  // namespace phnsw
