// Visited: the set of node ids that one search has seen.
//
// Two forms, chosen by begin() from the size of the index:
//
//   direct   one byte per id that holds the number of the search that saw it last, so that forgetting everything is an
//            increment; the bytes are cleared once in 255 searches
//   hashed   open addressing with linear probing, at most half full, sized by the work and not by the index; forgetting
//            clears the table, which costs no more than a constant times the insertions that made it so large
//
// Invariants: every id in the set is below the limit given to begin(); hashed: 2 * used <= table size.
// One thread at a time.  Throws std::bad_alloc from begin() and from growth; the set is unchanged then.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/array.hpp"
#include "capi/phnsw_format.h"

namespace phnsw {

class Visited {
 public:
  // Indexes up to this size use the direct form.  A table that fits the L2 cache is faster than hashing; beyond that
  // a hash of a few thousand entries touches less memory, and no backend holds a byte per row of a huge table.
  static constexpr std::uint32_t kDirectLimit = 2u << 20;

  // Forgets everything; ids at or above id_limit are refused from now on.
  void begin(std::uint32_t id_limit) { begin(id_limit, id_limit > kDirectLimit); }
  // The form by choice, for tests and benchmarks.
  void begin(std::uint32_t id_limit, bool hashed);

  // Adds the ids of links[0 ... n) that are below the limit and not in the set, and stores them, in order, in fresh.
  // Returns how many.  REQUIRES: fresh has room for n; it may be links itself.
  std::uint32_t insert_fresh(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh) {
    return hashed_ ? insert_fresh_hashed(links, n, fresh) : insert_fresh_direct(links, n, fresh);
  }

  [[nodiscard]] std::size_t memory() const noexcept { return seen_.size() + table_.size() * sizeof(std::uint32_t); }

 private:
  static constexpr std::uint32_t kEmpty = PHNSW_NONE;
  static constexpr std::size_t kTableMin = 4096;

  std::uint32_t insert_fresh_direct(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh) noexcept;
  std::uint32_t insert_fresh_hashed(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh);
  void begin_direct();
  void begin_hashed();
  void reset_table(std::size_t size);
  void grow(std::size_t wanted);
  [[nodiscard]] std::size_t home(std::uint32_t id) const noexcept {
    return static_cast<std::size_t>((id * 0x9E3779B1u) >> shift_);
  }

  bool hashed_ = false;
  std::uint8_t epoch_ = 0;      // direct: of the current search, 1 ... 255
  std::uint32_t id_limit_ = 0;
  std::uint32_t shift_ = 32;    // hashed: 32 - log2(table size)
  std::size_t used_ = 0;        // hashed: ids in the table
  Array<std::uint8_t> seen_;    // direct
  Array<std::uint32_t> table_;  // hashed
};

}  // namespace phnsw
