// MergeGraph: level 0 of an index in memory, and the rows that are to become nodes of it.
//
// Nodes have their ids, 0 ... limit - 1; behind them stand the new points, limit + place.  A place is a new point's
// number, near points following each other; ids on pages come later.  Lists hold both kinds of numbers, and PHNSW_NONE
// for a link beyond the limit: a node that was inserted since the limit was read.
//
// load() and add() belong to the backend's thread, before the conductor starts; everything
// else to the conductor and, as each function says, its team.
#pragma once

#include <vector>

#include "merge/nodes.hpp"

namespace phnsw {

// The nearest live nodes of a row, and what it becomes.
struct RowFate {
  std::uint32_t place = PHNSW_NONE;   // the new point whose row this is, the first or a further one
  std::uint32_t joined = PHNSW_NONE;  // or the node that has its code
};

// A list's change: `removed` gives way to `added`; PHNSW_NONE: `added` is new in it.
struct ListChange {
  std::uint32_t owner;
  std::uint32_t removed;
  std::uint32_t added;
};

class MergeGraph {
 public:
  static constexpr std::uint32_t kWindowMax = 192;  // candidates of a row among the nodes
  static constexpr std::uint32_t kFreshMax = 64;    // and among the new points

  MergeGraph(MergeNodes &nodes, const Codec &codec, std::uint32_t limit, std::uint32_t ef) noexcept
      : lists(nodes.lists), nodes_(nodes), codec_(codec), limit_(limit), ef_(ef), stride_(nodes.stride) {}

  // Upper bound of the bytes of a merge, but for threads and 2 MB pieces (kFixedBytes).
  static constexpr std::size_t kFixedBytes = std::size_t{12} << 20;
  static std::size_t node_bytes(const phnsw_codec_params &params) noexcept;
  static std::size_t row_bytes(const phnsw_codec_params &params, std::uint32_t ef) noexcept;

  Status allocate(std::uint32_t rows_max);
  // One slot of a node page.  Returns what is wrong with it, or null.  *whole becomes false when its list names nodes
  // beyond the limit, so that this copy will not do for a merge with a higher one.
  const char *load(std::uint32_t id, const phnsw_slot &slot, bool *whole) noexcept;
  // The same slot later: a node that is not what it was is not linked to.
  void look_again(std::uint32_t id, const phnsw_slot &slot) noexcept;
  // A node's list, for the merge after this one, whose limit is that: its links may be beyond that of this one.
  void relist(std::uint32_t id, const phnsw_slot &slot, std::uint32_t limit) noexcept;
  // false: a zero vector under cosine, which has no place in the index.  REQUIRES: fewer than rows_max rows so far.
  bool add(const float *vector) noexcept;

  // Rows with equal codes become one; unique() lists the first row of each.
  void join_duplicates();
  // The points that rows[0 ... n) become, in that order.  Rows of unique() that are not among them have joined a node.
  void make_points(const std::vector<std::uint32_t> &rows);

  [[nodiscard]] std::uint32_t limit() const noexcept { return limit_; }
  [[nodiscard]] std::uint32_t ef() const noexcept { return ef_; }
  [[nodiscard]] std::uint32_t m() const noexcept { return codec_.params().m; }
  [[nodiscard]] std::uint32_t live() const noexcept { return nodes_.live; }
  [[nodiscard]] std::uint32_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::uint32_t places() const noexcept { return places_; }
  [[nodiscard]] const Codec &codec() const noexcept { return codec_; }
  [[nodiscard]] const std::vector<std::uint32_t> &unique() const noexcept { return unique_; }
  [[nodiscard]] std::uint32_t row_of(std::uint32_t place) const noexcept { return row_of_[place]; }
  [[nodiscard]] RowFate fate(std::uint32_t row) const noexcept;
  void join(std::uint32_t row, std::uint32_t node) noexcept { joined_[row] = node; }

  [[nodiscard]] bool is_live(std::uint32_t point) const noexcept {
    return point >= limit_ || nodes_.states[point] == PHNSW_SLOT_LIVE;
  }
  [[nodiscard]] bool is_free(std::uint32_t point) const noexcept {
    return point < limit_ && nodes_.states[point] == PHNSW_SLOT_FREE;
  }
  [[nodiscard]] std::uint32_t version(std::uint32_t id) const noexcept { return nodes_.versions[id]; }

  [[nodiscard]] CodeRows row_codes() const noexcept { return {row_codes_.data(), row_heads_.data(), stride_}; }
  // Nodes and, once they exist, new points.
  [[nodiscard]] Points points() const noexcept {
    return {{nodes_.codes.data(), nodes_.heads.data(), stride_}, limit_ + places_, codec_.code_dims()};
  }
  [[nodiscard]] Points new_points() const noexcept {
    return {
        {nodes_.codes.data() + limit_ * stride_, nodes_.heads.data() + limit_, stride_}, places_, codec_.code_dims()};
  }
  LevelLinks &lists;

  // Candidates of a row: (distance, live node), ascending, window_width() of them at most.
  [[nodiscard]] std::uint32_t window_width() const noexcept { return width_; }
  [[nodiscard]] std::uint64_t *window(std::uint32_t row) noexcept { return window_.data() + std::size_t{row} * width_; }
  void set_window_size(std::uint32_t row, std::uint32_t n) noexcept { window_n_[row] = static_cast<std::uint8_t>(n); }
  [[nodiscard]] std::uint32_t window_size(std::uint32_t row) const noexcept { return window_n_[row]; }

 private:
  // Copies a list of at most 2M links; false: it names nodes beyond the limit, which it then has not.
  bool copy_list(std::uint32_t id, const phnsw_slot &slot, std::uint32_t count, std::uint32_t limit) noexcept;

  MergeNodes &nodes_;  // and behind them the new points
  const Codec &codec_;
  const std::uint32_t limit_;
  const std::uint32_t ef_;
  const std::size_t stride_;

  Array<std::int8_t> row_codes_;
  Array<phnsw_code_head> row_heads_;
  Array<float> scratch_;
  std::uint32_t rows_ = 0;
  std::vector<std::uint32_t> unique_;
  Array<std::uint32_t> first_;   // of each row: the first one with its code
  Array<std::uint32_t> joined_;  // of each row of unique(): the node with its code
  Array<std::uint32_t> place_;   // of each row of unique()

  std::uint32_t width_ = 0;
  Array<std::uint64_t> window_;
  Array<std::uint8_t> window_n_;

  std::uint32_t places_ = 0;
  Array<std::uint32_t> row_of_;
};

}  // namespace phnsw
