#include "merge/nodes.hpp"

#include <algorithm>

namespace phnsw {

// Addresses, not memory: an index may grow that much before another copy is made.
constexpr std::uint32_t kGrowth = 7;
constexpr std::uint64_t kArrays = 4;  // that are mapped, each in whole pieces

std::size_t MergeNodes::stride_for(const phnsw_codec_params &params) noexcept {
  return (params.code_dims + kCacheLine - 1) / kCacheLine * kCacheLine;
}

std::size_t MergeNodes::mapped_bytes(const phnsw_codec_params &params) noexcept {
  return stride_for(params) + sizeof(phnsw_code_head) + 2 * params.m * 4 + 1;  // code, head, list, its count
}

std::size_t MergeNodes::node_bytes(const phnsw_codec_params &params) noexcept {
  return mapped_bytes(params) + 5;  // version, state
}

std::uint64_t MergeNodes::file_bytes(const phnsw_codec_params &params, std::uint64_t points,
                                     std::uint64_t memory_bytes) noexcept {
  const std::uint64_t all = points * mapped_bytes(params) + kArrays * Arena::kPiece;
  const std::uint64_t memory = memory_bytes / Arena::kPiece * Arena::kPiece;
  return all > memory ? all - memory : 0;
}

MergeNodes::MergeNodes(const phnsw_codec_params &params, const phnsw_merge_spill &spill)
    : arena_(spill.file_bytes == 0 ? ~std::size_t{0} : spill.memory_bytes, *this),
      stride(stride_for(params)),
      spill_(spill),
      links_(2 * params.m) {}

Status MergeNodes::extend(std::uint64_t bytes, int *fd) {
  if (bytes > spill_.file_bytes) return {PHNSW_OUT_OF_MEMORY, "out of memory"};
  *fd = spill_.fd;
  return {};
}

Status MergeNodes::reserve(std::uint32_t points_max) {
  Status status = codes.reserve(arena_, points_max * stride);
  if (status.ok()) status = heads.reserve(arena_, points_max);
  if (status.ok()) status = lists.links.reserve(arena_, std::size_t{points_max} * links_);
  if (status.ok()) status = lists.counts.reserve(arena_, points_max);
  lists.capacity = links_;
  points_max_ = points_max;
  return status;
}

Status MergeNodes::reserve_to_grow(std::uint32_t points) {
  // What is taken from a limit, others of the process may lack.
  const std::uint64_t more = Arena::addresses_are_limited() ? points / 8 : kGrowth * std::uint64_t{points};
  return reserve(static_cast<std::uint32_t>(std::min<std::uint64_t>(points + more, PHNSW_NONE - 1)));
}

Status MergeNodes::grow(std::uint32_t nodes, std::uint32_t points) {
  // What is left to the file are codes, as far as possible: they are written once.
  Status status = heads.grow(points);
  if (status.ok()) status = lists.counts.grow(points);
  if (status.ok()) status = lists.links.grow(std::size_t{points} * links_);
  if (status.ok()) status = codes.grow(points * stride);
  if (discarded_.exchange(false)) {
    std::fill(states.begin(), states.end(), std::uint8_t{PHNSW_SLOT_FREE});
    live = 0;
  }
  if (!status.ok() || nodes <= states.size()) return status;
  const std::size_t before = states.size(), size = std::min<std::size_t>(points_max_, nodes + nodes / 16);
  versions.resize(size);
  states.resize(size);
  std::fill(states.begin() + before, states.end(), std::uint8_t{PHNSW_SLOT_FREE});
  return {};
}

void MergeNodes::discard() noexcept {
  discarded_.store(true);
  codes.discard();
  heads.discard();
  lists.links.discard();
  lists.counts.discard();
}

}  // namespace phnsw
