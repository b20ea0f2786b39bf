// MergeNodes: level 0 of an index in memory, as the pages held it when each
// was loaded, with room for new points behind it.
//
// Merges may use it one after the other: its owner, the backend, loads again before each what has changed since, in
// pages or, by the merge before, in lists.  While a merge that it was given to computes it belongs to that one.
#pragma once

#include <atomic>

#include "base/array.hpp"
#include "build/context.hpp"
#include "capi/phnsw_merge.h"
#include "codec/codec.hpp"

namespace phnsw {

class MergeNodes final : private SpillSource {
  // Before what stands in it, so that it ends after that.
  Arena arena_;

 public:
  // What the memory does not hold is mapped from the file.
  explicit MergeNodes(const phnsw_codec_params &params, const phnsw_merge_spill &spill = {});
  // The file as it is now, which has not become shorter.
  void set_file(std::uint64_t bytes, int fd) noexcept {
    spill_.file_bytes = bytes;
    spill_.fd = fd;
  }
  // Addresses, not memory, for so many points at any time at most.  Once, before anything else.
  Status reserve(std::uint32_t points_max);
  // The same for merges of so many points now and more later.
  Status reserve_to_grow(std::uint32_t points);
  [[nodiscard]] std::uint32_t points_max() const noexcept { return points_max_; }

  static std::size_t stride_for(const phnsw_codec_params &params) noexcept;
  // Bytes of a node.
  static std::size_t node_bytes(const phnsw_codec_params &params) noexcept;
  // Of these, the bytes that may stand in a file.
  static std::size_t mapped_bytes(const phnsw_codec_params &params) noexcept;
  // The file that so many points want where memory_bytes are theirs; 0: none.
  static std::uint64_t file_bytes(const phnsw_codec_params &params, std::uint64_t points,
                                  std::uint64_t memory_bytes) noexcept;

  // Room for so many nodes, and points, which are these and the new ones; what is there stays.  New nodes are FREE.
  // REQUIRES: points <= points_max().
  Status grow(std::uint32_t nodes, std::uint32_t points);
  // Gives the memory of the large arrays back and leaves the rest: every node must be loaded
  // again.  Of what stands in a file, the file's blocks: there must be no further merge, for
  // which the disk might have no blocks.  For a signal handler.
  void discard() noexcept;

  const std::size_t stride;  // of codes
  ArenaArray<std::int8_t> codes;
  ArenaArray<phnsw_code_head> heads;
  LevelLinks lists;
  Array<std::uint32_t> versions;
  Array<std::uint8_t> states;
  std::uint32_t live = 0;

 private:
  Status extend(std::uint64_t bytes, int *fd) override;

  phnsw_merge_spill spill_;
  std::atomic<bool> discarded_{false};
  std::uint32_t points_max_ = 0;
  const std::uint32_t links_;  // of a list
};

}  // namespace phnsw
