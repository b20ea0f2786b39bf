// See visited.hpp.
#include "graph/visited.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace phnsw {

void Visited::begin(std::uint32_t id_limit, bool hashed) {
  id_limit_ = 0;  // refuses everything should an allocation fail below
  forget_direct();
  hashed_ = hashed;
  if (hashed) {
    begin_hashed();
  } else {
    begin_direct(id_limit);
  }
  id_limit_ = id_limit;
}

void Visited::forget_direct() noexcept {
  std::uint64_t *bits = bits_.data();
  for (std::size_t i = 0; i < logged_; i++) bits[log_[i] / 64] = 0;
  logged_ = 0;
  // A scan of a whole table leaves a log as long as the table: not to be kept by every backend.
  if (log_.size() > kLogKept) log_ = Array<std::uint32_t>();
}

void Visited::trim() noexcept {
  id_limit_ = 0;
  forget_direct();
  log_ = Array<std::uint32_t>();
  table_ = Array<std::uint32_t>();
  used_ = 0;
}

void Visited::begin_direct(std::uint32_t id_limit) {
  const std::size_t words = std::size_t{id_limit} / 64 + 1;
  if (words <= bits_.size()) return;
  // An index grows a page at a time: room to spare, so that most searches find the bits.
  bits_.reset_zero(std::max<std::size_t>(words + words / 4, 64));
}

void Visited::begin_hashed() {
  // After one huge search the small ones that follow would clear a huge table: 32 times too large is too large.
  std::size_t size = table_.size();
  if (size > kTableMin && used_ < size / 32) size = kTableMin;
  if (size < kTableMin) size = kTableMin;
  if (size != table_.size()) {
    reset_table(size);
  } else if (used_ != 0) {
    std::memset(table_.data(), 0xFF, table_.size() * sizeof(std::uint32_t));
    used_ = 0;
  }
}

void Visited::reset_table(std::size_t size) {
  Array<std::uint32_t> table(size);
  std::memset(table.data(), 0xFF, size * sizeof(std::uint32_t));
  table_ = std::move(table);
  used_ = 0;
  shift_ = 32;
  for (std::size_t s = size; s > 1; s /= 2) shift_--;
}

void Visited::grow(std::size_t wanted) {
  std::size_t size = table_.size();
  while (2 * wanted > size) size *= 2;
  Array<std::uint32_t> old(size);
  std::memset(old.data(), 0xFF, size * sizeof(std::uint32_t));
  std::swap(old, table_);
  for (; size > old.size(); size /= 2) shift_--;
  const std::size_t mask = table_.size() - 1;
  for (const std::uint32_t id : old) {
    if (id == kEmpty) continue;
    std::size_t at = home(id);
    while (table_[at] != kEmpty) at = (at + 1) & mask;
    table_[at] = id;
  }
}

std::uint32_t Visited::insert_fresh_direct(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh) {
  if (logged_ + n > log_.size()) log_.resize(std::max(2 * log_.size(), logged_ + n + 1024));
  std::uint64_t *bits = bits_.data();
  std::uint32_t *log = log_.data() + logged_;
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < n; i++) {
    const std::uint32_t id = links[i];
    if (id >= id_limit_) continue;
    const std::uint64_t word = bits[id / 64];
    const std::uint64_t bit = std::uint64_t{1} << (id % 64);
    bits[id / 64] = word | bit;
    fresh[count] = id;
    log[count] = id;
    count += (word & bit) == 0;  // no branch: whether a link is new is a coin toss to the predictor
  }
  logged_ += count;
  return count;
}

std::uint32_t Visited::insert_fresh_hashed(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh) {
  if (2 * (used_ + n) > table_.size()) grow(used_ + n);
  std::uint32_t *table = table_.data();
  const std::size_t mask = table_.size() - 1;
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < n; i++) {
    const std::uint32_t id = links[i];
    if (id >= id_limit_) continue;
    std::size_t at = home(id);
    while (table[at] != kEmpty && table[at] != id) at = (at + 1) & mask;
    fresh[count] = id;
    count += table[at] != id;
    table[at] = id;
  }
  used_ += count;
  return count;
}

}  // namespace phnsw
