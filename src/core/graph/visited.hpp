// Visited: the set of node ids that one search has seen.
//
// Two forms, chosen by begin() from the size of the index:
//
//   direct   one bit per id, and a log of the ids that were added, so that forgetting costs no more than adding did
//   hashed   open addressing with linear probing, at most half full, sized by the work and not by the index; forgetting
//            clears the table, which costs no more than a constant times the insertions that made it so large
//
// Invariants: every id in the set is below the limit given to begin(); direct: bits_ is zero but for the logged ids;
// hashed: 2 * used_ <= table size.
// One thread at a time.  Throws std::bad_alloc from begin() and insert_fresh(); the set is unchanged then.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/array.hpp"
#include "capi/phnsw_format.h"

namespace phnsw {

class Visited {
 public:
  // Indexes up to this size use the direct form: 2 MB of bits, within the L2 and L3 caches and within work_mem.
  static constexpr std::uint32_t kDirectLimit = 16u << 20;

  // Forgets everything; ids at or above id_limit are refused from now on.
  void begin(std::uint32_t id_limit) { begin(id_limit, id_limit > kDirectLimit); }
  // The form by choice, for tests and benchmarks.
  void begin(std::uint32_t id_limit, bool hashed);

  // Adds the ids of links[0 ... n) that are below the limit and not in the set, and stores them, in order, in fresh.
  // Returns how many.  REQUIRES: fresh has room for n; it may be links itself.
  std::uint32_t insert_fresh(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh) {
    return hashed_ ? insert_fresh_hashed(links, n, fresh) : insert_fresh_direct(links, n, fresh);
  }

  [[nodiscard]] std::size_t memory() const noexcept {
    return bits_.size() * sizeof(std::uint64_t) + (log_.size() + table_.size()) * sizeof(std::uint32_t);
  }

  // Without the bits, which an index of that many nodes takes whatever is searched for.
  [[nodiscard]] std::size_t memory_by_work() const noexcept {
    return (log_.size() + table_.size()) * sizeof(std::uint32_t);
  }

  // Forgets everything and gives memory_by_work() back; everything is refused until begin().
  void trim() noexcept;

 private:
  static constexpr std::uint32_t kEmpty = PHNSW_NONE;
  static constexpr std::size_t kTableMin = 4096;
  static constexpr std::size_t kLogKept = 1u << 17;

  std::uint32_t insert_fresh_direct(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh);
  std::uint32_t insert_fresh_hashed(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh);
  void forget_direct() noexcept;
  void begin_direct(std::uint32_t id_limit);
  void begin_hashed();
  void reset_table(std::size_t size);
  void grow(std::size_t wanted);
  [[nodiscard]] std::size_t home(std::uint32_t id) const noexcept {
    return static_cast<std::size_t>((id * 0x9E3779B1u) >> shift_);
  }

  bool hashed_ = false;
  std::uint32_t id_limit_ = 0;
  std::uint32_t shift_ = 32;    // hashed: 32 - log2(table size)
  std::size_t used_ = 0;        // hashed: ids in the table
  std::size_t logged_ = 0;      // direct: ids in the log
  Array<std::uint64_t> bits_;   // direct
  Array<std::uint32_t> log_;    // direct
  Array<std::uint32_t> table_;  // hashed
};

}  // namespace phnsw
