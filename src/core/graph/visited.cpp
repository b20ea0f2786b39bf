// See visited.hpp.
#include "graph/visited.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace phnsw {

void Visited::begin(std::uint32_t id_limit, bool hashed) {
  id_limit_ = 0;  // refuses everything should an allocation fail below
  hashed_ = hashed;
  if (hashed) {
    begin_hashed();
  } else if (seen_.size() < id_limit) {
    // An index grows a page at a time: room to spare, so that most searches find the table large enough.
    const std::size_t room = std::max<std::size_t>(id_limit, seen_.size() + seen_.size() / 4);
    seen_.reset_zero((room + 4095) & ~std::size_t{4095});
    epoch_ = 1;
  } else {
    begin_direct();
  }
  id_limit_ = id_limit;
}

void Visited::begin_direct() {
  if (epoch_ == 255) {
    if (seen_.size() != 0) std::memset(seen_.data(), 0, seen_.size());
    epoch_ = 0;
  }
  epoch_++;
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

std::uint32_t Visited::insert_fresh_direct(const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh) noexcept {
  std::uint8_t *seen = seen_.data();
  const std::uint8_t epoch = epoch_;
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < n; i++) {
    const std::uint32_t id = links[i];
    if (id >= id_limit_) continue;
    fresh[count] = id;
    count += seen[id] != epoch;  // no branch: whether a link is new is a coin toss to the predictor
    seen[id] = epoch;
  }
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
