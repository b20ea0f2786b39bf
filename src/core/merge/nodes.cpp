#include "merge/nodes.hpp"

#include <sys/mman.h>

#include <algorithm>

namespace phnsw {

std::size_t MergeNodes::stride_for(const phnsw_codec_params &params) noexcept {
  return (params.code_dims + kCacheLine - 1) / kCacheLine * kCacheLine;
}

std::size_t MergeNodes::node_bytes(const phnsw_codec_params &params) noexcept {
  // Code, head, list, its count; version, state.
  return stride_for(params) + sizeof(phnsw_code_head) + 2 * params.m * 4 + 1 + 5;
}

MergeNodes::MergeNodes(const phnsw_codec_params &params, std::uint32_t points_max)
    : arena_(~std::size_t{0}, *this), stride(stride_for(params)), points_max_(points_max), links_(2 * params.m) {}

Status MergeNodes::grow(std::uint32_t nodes, std::uint32_t points) {
  Status status;
  if (lists.counts.data() == nullptr) {
    status = codes.reserve(arena_, points_max_ * stride);
    if (status.ok()) status = heads.reserve(arena_, points_max_);
    if (status.ok()) status = lists.links.reserve(arena_, std::size_t{points_max_} * links_);
    if (status.ok()) status = lists.counts.reserve(arena_, points_max_);
    lists.capacity = links_;
  }
  if (status.ok()) status = codes.grow(points * stride);
  if (status.ok()) status = heads.grow(points);
  if (status.ok()) status = lists.links.grow(std::size_t{points} * links_);
  if (status.ok()) status = lists.counts.grow(points);
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
  madvise(codes.data(), codes.size(), MADV_DONTNEED);
  madvise(heads.data(), heads.size() * sizeof(phnsw_code_head), MADV_DONTNEED);
  madvise(lists.links.data(), lists.links.size() * sizeof(std::uint32_t), MADV_DONTNEED);
}

}  // namespace phnsw
