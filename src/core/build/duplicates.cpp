// Rows::join_duplicates(): equal codes, found by their hashes, confirmed by comparison.
#include <algorithm>

#include "build/rows.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kShards = 16;  // of the hash space; each is one worker's at a time
constexpr std::uint32_t shard_of(std::uint64_t hash) noexcept { return static_cast<std::uint32_t>(hash >> 60); }

}  // namespace

Status Rows::find_owners(ArenaArray<std::uint32_t> *owner) {
  std::size_t count[kShards] = {}, begin[kShards + 1] = {};
  for (std::uint32_t row = 0; row < rows_; row++) count[shard_of(hashes_[row])]++;
  for (std::uint32_t shard = 0; shard < kShards; shard++) {
    std::size_t room = 64;
    while (room < 2 * count[shard]) room *= 2;
    begin[shard + 1] = begin[shard] + room;
  }
  ArenaArray<std::uint32_t> table;  // open addressing: the owners' rows
  if (const Status status = table.allocate(context_.arena, begin[kShards]); !status.ok()) return status;
  return context_.team.for_each(kShards, [&](std::size_t shard, unsigned) {
    std::uint32_t *slots = table.data() + begin[shard];
    const std::size_t mask = begin[shard + 1] - begin[shard] - 1;
    std::fill(slots, slots + mask + 1, PHNSW_NONE);
    for (std::uint32_t row = 0; row < rows_; row++) {
      if ((row & kPollMask) == 0 && context_.team.stopped()) return;
      const std::uint64_t hash = hashes_[row];
      if (shard_of(hash) != shard) continue;
      std::size_t place = hash & mask;
      for (;; place = (place + 1) & mask) {
        const std::uint32_t other = slots[place];
        if (other == PHNSW_NONE) {
          slots[place] = row;
          (*owner)[row] = row;
          break;
        }
        if (hashes_[other] == hash && heads_[other].scale == heads_[row].scale &&
            std::memcmp(codes_.data() + other * stride_, codes_.data() + row * stride_, stride_) == 0) {
          (*owner)[row] = other;
          heads_[other].residual = std::max(heads_[other].residual, heads_[row].residual);
          break;
        }
      }
    }
  });
}

Status Rows::join_duplicates() {
  ArenaArray<std::uint32_t> owner;
  if (const Status status = owner.allocate(context_.arena, rows_); !status.ok()) return status;
  if (const Status status = find_owners(&owner); !status.ok()) return status;
  hashes_.release();
  for (std::uint32_t row = 0; row < rows_; row++) duplicates_ += owner[row] != row;
  return duplicates_ == 0 ? Status() : compact(owner);
}

Status Rows::compact(const ArenaArray<std::uint32_t> &owner) {
  ArenaArray<std::uint32_t> point_of_row;
  Status status = point_of_row.allocate(context_.arena, rows_);
  if (status.ok()) status = first_row_.allocate(context_.arena, rows_ - duplicates_);
  if (status.ok()) status = duplicate_.allocate(context_.arena, duplicates_);
  if (!status.ok()) return status;
  std::uint32_t point = 0, found = 0;
  for (std::uint32_t row = 0; row < rows_; row++) {
    if ((row & kPollMask) == 0 && context_.team.stopped()) return kStopped;
    if (owner[row] != row) {
      point_of_row[row] = point_of_row[owner[row]];  // the owner comes first
      duplicate_[found++] = std::uint64_t{point_of_row[row]} << 32 | row;
      continue;
    }
    if (row != point) {
      std::memcpy(codes_.data() + point * stride_, codes_.data() + row * stride_, stride_);
      heads_[point] = heads_[row];
    }
    point_of_row[row] = point;
    first_row_[point++] = row;
  }
  points_ = point;
  std::sort(duplicate_.data(), duplicate_.data() + found);
  return {};
}

}  // namespace phnsw
