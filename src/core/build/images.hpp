// Images: the finished graph as index pages.
//
// prepare() lays the index out (meta page, centre, nodes, aux records) once; format() then
// makes any block, in any order, on any thread: it only reads.
#pragma once

#include "build/calibrate.hpp"
#include "build/graph.hpp"
#include "build/rows.hpp"

namespace phnsw {

void set_calibration(const Calibration &calibration, phnsw_meta *meta) noexcept;

class Images {
 public:
  // rows and graph must outlive the images.
  Images(const Rows &rows, const Graph &graph) noexcept : rows_(rows), graph_(graph) {}

  // meta: build_id, level_seed and ef_construction are set by the caller, the rest
  // here; block 0 is what it holds when that is formatted.
  Status prepare(BuildContext &context, const Calibration &calibration, phnsw_meta *meta);
  [[nodiscard]] std::uint32_t blocks() const noexcept { return blocks_; }
  // page: PHNSW_PAGE_BYTES.  REQUIRES: block < blocks(), prepare() succeeded.
  void format(std::uint32_t block, std::uint8_t *page) const noexcept;

 private:
  Status lay_out_aux(BuildContext &context, std::uint32_t *records);
  void format_centre(std::uint32_t index, std::uint8_t *content, phnsw_opaque *opaque) const noexcept;
  void format_slot(std::uint32_t id, phnsw_slot *slot) const noexcept;
  void format_aux(std::uint32_t record, phnsw_aux *aux) const noexcept;
  [[nodiscard]] std::uint32_t duplicates_of(std::uint32_t point) const noexcept;

  const Rows &rows_;
  const Graph &graph_;
  const phnsw_meta *meta_ = nullptr;
  std::uint32_t aux_records_ = 0;
  std::uint32_t blocks_ = 0;
  ArenaArray<std::uint32_t> first_aux_;        // by node id: upper levels, then TIDs; and the end
  ArenaArray<std::uint32_t> first_duplicate_;  // by point, and the end; empty without duplicates
};

}  // namespace phnsw
