#include "merge/graph.hpp"

#include <algorithm>
#include <cmath>

#include "base/rng.hpp"

namespace phnsw {
namespace {

std::uint32_t width_for(std::uint32_t ef) noexcept { return std::min(2 * ef, MergeGraph::kWindowMax); }

std::uint64_t hash_code(const std::int8_t *code, std::size_t bytes) noexcept {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < bytes; i += 8) {  // the stride is a multiple of 64
    std::uint64_t word;
    std::memcpy(&word, code + i, 8);
    hash = (hash ^ word) * 0xBF58476D1CE4E5B9u;
    hash ^= hash >> 29;
  }
  return mix64(hash);
}

}  // namespace

std::size_t MergeGraph::node_bytes(const phnsw_codec_params &params) noexcept {
  return MergeNodes::node_bytes(params) + 12;  // where offers begin, who reached it, the queue
}

std::size_t MergeGraph::row_bytes(const phnsw_codec_params &params, std::uint32_t ef) noexcept {
  const std::size_t code = MergeNodes::stride_for(params) + sizeof(phnsw_code_head);
  // Row and point; window; list among new points and list; reservoir; offers, victims and changes of M links; numbers.
  return 2 * code + width_for(ef) * 8 + 4 * params.m * 4 + 16 + std::size_t{ef < 64 ? 64 : ef} * 8 +
         params.m * (4 + 4 + sizeof(ListChange)) + 120;
}

Status MergeGraph::allocate(std::uint32_t rows_max) {
  width_ = width_for(ef_);
  const std::size_t points = std::size_t{limit_} + rows_max;
  if (points >= PHNSW_NONE) return {PHNSW_LIMIT, "an index holds at most 4294967294 nodes"};
  if (const Status status = nodes_.grow(limit_, static_cast<std::uint32_t>(points)); !status.ok()) return status;
  row_codes_.reset(rows_max * stride_);
  row_heads_.reset(rows_max);
  scratch_.reset(codec_.scratch_floats());
  window_.reset(std::size_t{rows_max} * width_);
  window_n_.reset_zero(rows_max);
  return {};
}

const char *MergeGraph::load(std::uint32_t id, const phnsw_slot &slot, bool *whole) noexcept {
  std::int8_t *code = nodes_.codes.data() + id * stride_;
  phnsw_code_head &head = nodes_.heads[id];
  if (slot.state > PHNSW_SLOT_DEAD) return "state of a slot";
  // Head and code of a live slot never change.
  const bool same =
      slot.state == PHNSW_SLOT_LIVE && nodes_.states[id] == PHNSW_SLOT_LIVE && nodes_.versions[id] == slot.version;
  nodes_.live += slot.state == PHNSW_SLOT_LIVE;
  nodes_.live -= nodes_.states[id] == PHNSW_SLOT_LIVE;
  nodes_.versions[id] = slot.version;
  nodes_.states[id] = slot.state;
  if (slot.state == PHNSW_SLOT_FREE) {
    // Infinitely far from everything.
    head = {0.0f, std::numeric_limits<float>::infinity(), 0, 0.0f};
    std::memset(code, 0, stride_);
    lists.counts[id] = 0;
    return nullptr;
  }
  if (slot.count > lists.capacity) return "a list has more links than 2M";
  if (!same) {
    if (!(slot.head.scale >= 0.0f) || !std::isfinite(slot.head.scale)) return "scale is negative or not finite";
    if (!(slot.head.norm2 >= 0.0f) || !std::isfinite(slot.head.norm2)) return "norm is negative or not finite";
    head = slot.head;
    codec_.unpack(slot.code, code);
    std::memset(code + codec_.code_dims(), 0, stride_ - codec_.code_dims());
  }
  if (!copy_list(id, slot, slot.count, limit_)) *whole = false;
  return nullptr;
}

bool MergeGraph::copy_list(std::uint32_t id, const phnsw_slot &slot, std::uint32_t count,
                           std::uint32_t limit) noexcept {
  const std::uint32_t *links =
      phnsw_slot_links_const(&slot, phnsw_code_bytes(codec_.params().code_dims, codec_.params().bits));
  std::uint32_t *list = lists.list(id);
  std::memcpy(list, links, count * sizeof *links);
  lists.counts[id] = static_cast<std::uint8_t>(count);
  // All below the limit, but for nodes inserted just now: a form that the compiler has vector instructions for.
  std::uint32_t below = 1u << 31;
  for (std::uint32_t i = 0; i < count; i++) below &= (links[i] - limit) & ~links[i];
  if (count == 0 || below != 0) return true;
  for (std::uint32_t i = 0; i < count; i++) list[i] = links[i] < limit ? links[i] : PHNSW_NONE;
  return false;
}

void MergeGraph::look_again(std::uint32_t id, const phnsw_slot &slot) noexcept {
  if (slot.state == nodes_.states[id] && slot.version == nodes_.versions[id]) return;
  nodes_.live -= nodes_.states[id] == PHNSW_SLOT_LIVE;
  nodes_.states[id] = PHNSW_SLOT_FREE;
}

void MergeGraph::relist(std::uint32_t id, const phnsw_slot &slot, std::uint32_t limit) noexcept {
  // The page may have gone to disk and come back since its slots were loaded.
  copy_list(id, slot, std::min<std::uint32_t>(slot.count, lists.capacity), limit);
}

bool MergeGraph::add(const float *vector) noexcept {
  std::int8_t *code = row_codes_.data() + rows_ * stride_;
  if (!codec_.encode(vector, scratch_.data(), &row_heads_[rows_], code)) return false;
  std::memset(code + codec_.code_dims(), 0, stride_ - codec_.code_dims());
  rows_++;
  return true;
}

void MergeGraph::join_duplicates() {
  first_.reset(rows_);
  joined_.reset(rows_);
  place_.reset(rows_);
  std::fill(joined_.begin(), joined_.end(), PHNSW_NONE);
  std::fill(place_.begin(), place_.end(), PHNSW_NONE);
  std::vector<std::uint32_t> table;  // open addressing: first rows
  std::size_t size = 64;
  while (size < std::size_t{2} * rows_) size *= 2;
  table.assign(size, PHNSW_NONE);
  for (std::uint32_t row = 0; row < rows_; row++) {
    const std::int8_t *code = row_codes_.data() + row * stride_;
    std::size_t at = hash_code(code, stride_) & (size - 1);
    for (;; at = (at + 1) & (size - 1)) {
      const std::uint32_t other = table[at];
      if (other == PHNSW_NONE) {
        table[at] = row;
        first_[row] = row;
        unique_.push_back(row);
        break;
      }
      if (row_heads_[other].scale == row_heads_[row].scale &&
          std::memcmp(row_codes_.data() + other * stride_, code, stride_) == 0) {
        first_[row] = other;
        row_heads_[other].residual = std::max(row_heads_[other].residual, row_heads_[row].residual);
        break;
      }
    }
  }
}

void MergeGraph::make_points(const std::vector<std::uint32_t> &rows) {
  places_ = static_cast<std::uint32_t>(rows.size());
  row_of_.reset(places_);
  for (std::uint32_t place = 0; place < places_; place++) {
    const std::uint32_t row = rows[place];
    row_of_[place] = row;
    place_[row] = place;
    std::memcpy(nodes_.codes.data() + (std::size_t{limit_} + place) * stride_, row_codes_.data() + row * stride_,
                stride_);
    nodes_.heads[limit_ + place] = row_heads_[row];
  }
}

RowFate MergeGraph::fate(std::uint32_t row) const noexcept {
  const std::uint32_t first = first_[row];
  return {place_[first], joined_[first]};
}

}  // namespace phnsw
