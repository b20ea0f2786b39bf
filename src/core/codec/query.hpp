// Query: one vector, prepared for scoring codes and for bounding the exact distance of what they stand for.
//
// Search: the query is rotated and coded with 8 bits of its own, so that a score is one integer dot product; the
// float32 query is kept for the bounds.  Insert: the query is the code that the new node will have. set() needs no
// memory and may be called again and again; score() and bound() are pure.  Used by one thread at a time.
#pragma once

#include <cstdint>

#include "base/array.hpp"
#include "capi/phnsw_codec.h"
#include "codec/codec.hpp"

namespace phnsw {

class Query {
 public:
  // codec outlives the query.  Throws std::bad_alloc.
  explicit Query(const Codec &codec);

  [[nodiscard]] const Codec &codec() const noexcept { return codec_; }
  void set(const float *vector, phnsw_query_purpose purpose) noexcept;
  void score(const phnsw_slot *const *slots, std::uint32_t n, float *scores) const noexcept;
  // So many bytes, the first of each code, tell which slots score less than a
  // limit; 0: score_within() is not to be used.
  [[nodiscard]] std::uint32_t part() const noexcept { return part_; }
  // Scores the slots that may score less than `limit`, n at most; the others, whose scores stay as they are, are
  // farther, but for one or two in a hundred of those that are within.  within[]: the positions of those that were
  // scored, ascending, room for n; returns how many.  REQUIRES: part() != 0.
  std::uint32_t score_within(const phnsw_slot *const *slots, std::uint32_t n, float limit, float *scores,
                             std::uint32_t *within) const noexcept;
  // score + offset is proportional to the squared distance in the graph's metric, about.
  [[nodiscard]] float offset() const noexcept { return offset_; }
  // Its code, code_dims of them, and their scale.  REQUIRES: purpose PHNSW_FOR_SEARCH.
  void copy_code(std::int8_t *codes) const noexcept;
  [[nodiscard]] float scale() const noexcept { return head_.scale; }
  // REQUIRES: purpose PHNSW_FOR_SEARCH.  NaN for a zero query under cosine, whose operator value is NaN for every row.
  [[nodiscard]] double bound(const phnsw_slot &slot) const noexcept;

 private:
  // Slots whose products are taken together.
  static constexpr std::uint32_t kBatch = 32;

  void set_search(const float *vector) noexcept;
  // Quantises y_ into code_, and fixes the offset.
  void quantise() noexcept;
  void choose_part() noexcept;

  void products(const phnsw_slot *const *slots, std::uint32_t n, std::int32_t *dots) const noexcept;
  void score_search(const phnsw_slot *const *slots, std::uint32_t n, const std::int32_t *dots,
                    float *scores) const noexcept;

  // A lower bound of |y - x| over every x the slot may stand for; 0 at least.
  [[nodiscard]] double distance_bound(const phnsw_slot &slot, double norm) const noexcept;
  [[nodiscard]] double product_bound(const phnsw_slot &slot, double norm) const noexcept;

  const Codec &codec_;
  Array<float> y_;            // rotated query, space_dims
  Array<std::uint8_t> code_;  // its coordinates + 128, code_dims

  phnsw_query_purpose purpose_ = PHNSW_FOR_SEARCH;
  phnsw_code_head head_{};  // of the coded query; for a search only scale counts
  bool zero_ = false;       // a zero vector under cosine
  bool usable_ = false;     // y_ fits float32
  float offset_ = 0;
  std::uint32_t part_ = 0;     // coordinates; 0: codes are scored as a whole
  float part_norm2_ = 0;       // squared norm of the query's code in them
  float part_factor_ = 0;      // from a squared distance in them to what the whole one exceeds
  double norm_ = 0;            // upper bound of |y_|
  double tail2_ = 0;           // squared norm of the coordinates beyond code_dims
  double error_ = 0;           // upper bound of the distance between y_ and the exactly rotated query
  double centre_product_ = 0;  // <prepared query, centre> (inner product)
  double centre_norm_ = 0;
};

}  // namespace phnsw
