// See validate.hpp.
#include "format/validate.hpp"

#include <cmath>
#include <cstring>

#include "capi/phnsw_search.h"
#include "capi/phnsw_validate.h"

namespace phnsw {

namespace {

constexpr std::uint64_t kIdEnd = PHNSW_NONE;      // ids are below it
constexpr std::uint64_t kBlockEnd = 0xFFFFFFFFu;  // PostgreSQL's InvalidBlockNumber

bool valid_reference(std::uint32_t id, std::uint32_t limit) noexcept { return id == PHNSW_NONE || id < limit; }

const char *codec_fault(const phnsw_codec_params &codec) noexcept {
  if (codec.dims < 1 || codec.dims > PHNSW_DIMS_MAX) return "dimensions";
  if (codec.metric != PHNSW_L2 && codec.metric != PHNSW_IP && codec.metric != PHNSW_COSINE) return "metric";
  if (codec.space_dims != codec.dims + (codec.metric == PHNSW_IP ? 1 : 0)) return "dimensions of the space";
  if (codec.code_dims < 1 || codec.code_dims > codec.space_dims) return "dimensions of the code";
  if (codec.bits != 8 && codec.bits != 4) return "bits of a coordinate";
  if (!std::isfinite(codec.max_norm) || codec.max_norm < 0) return "maximal norm";
  if (codec.metric != PHNSW_IP && codec.max_norm != 0) return "maximal norm";
  if (codec.m < PHNSW_M_MIN || codec.m > PHNSW_M_MAX) return "m";
  return nullptr;
}

const char *arithmetic_fault(const phnsw_meta &meta) noexcept {
  const phnsw_codec_params &codec = meta.codec;
  if (meta.slot_bytes != phnsw_slot_bytes(codec.code_dims, codec.bits, codec.m)) return "bytes of a slot";
  if (meta.slot_bytes > PHNSW_PAGE_CONTENT) return "bytes of a slot";
  if (meta.slots_per_page != PHNSW_PAGE_CONTENT / meta.slot_bytes) return "slots of a page";
  if (meta.aux_bytes != phnsw_aux_bytes(codec.m)) return "bytes of an aux record";
  if (meta.aux_per_page != PHNSW_PAGE_CONTENT / meta.aux_bytes) return "aux records of a page";
  return nullptr;
}

const char *centre_fault(const phnsw_meta &meta, std::uint64_t blocks_in_file) noexcept {
  if (meta.centre_block == 0) return meta.centre_pages == 0 ? nullptr : "pages of the centre";
  const std::uint64_t per_page = PHNSW_CENTRE_FLOATS;
  if (meta.centre_pages != (meta.codec.space_dims + per_page - 1) / per_page) return "pages of the centre";
  if (std::uint64_t{meta.centre_block} + meta.centre_pages > blocks_in_file) return "block of the centre";
  return nullptr;
}

// Contiguous ids from 0, ascending blocks, limit within the extents, pages below the limit within the file.
bool valid_space(const phnsw_space &space, std::uint32_t per_page, std::uint64_t blocks_in_file) noexcept {
  if (space.extents > PHNSW_EXTENTS_MAX) return false;
  std::uint64_t next_id = 0;
  std::uint64_t next_block = 1;
  for (std::uint32_t i = 0; i < space.extents; i++) {
    const phnsw_extent &extent = space.extent[i];
    if (extent.first_id != next_id || extent.first_block < next_block || extent.pages == 0) return false;
    if (space.limit > extent.first_id) {
      const std::uint64_t pages = (std::uint64_t{space.limit} - extent.first_id + per_page - 1) / per_page;
      const std::uint64_t used = pages < extent.pages ? pages : extent.pages;
      if (extent.first_block + used > blocks_in_file) return false;
    }
    next_id += std::uint64_t{extent.pages} * per_page;
    next_block = std::uint64_t{extent.first_block} + extent.pages;
    if (next_id > kIdEnd || next_block > kBlockEnd) return false;
  }
  return space.limit <= next_id;
}

bool overlap(std::uint64_t first_a, std::uint64_t pages_a, std::uint64_t first_b, std::uint64_t pages_b) noexcept {
  return first_a < first_b + pages_b && first_b < first_a + pages_a;
}

bool overlaps_centre(const phnsw_meta &meta, const phnsw_space &space) noexcept {
  for (std::uint32_t i = 0; i < space.extents; i++) {
    if (overlap(space.extent[i].first_block, space.extent[i].pages, meta.centre_block, meta.centre_pages)) return true;
  }
  return false;
}

// Both lists ascend, so one walk finds any overlap.  REQUIRES: both are valid.
bool spaces_overlap(const phnsw_space &a, const phnsw_space &b) noexcept {
  for (std::uint32_t i = 0, j = 0; i < a.extents && j < b.extents;) {
    const phnsw_extent &x = a.extent[i];
    const phnsw_extent &y = b.extent[j];
    if (overlap(x.first_block, x.pages, y.first_block, y.pages)) return true;
    if (x.first_block < y.first_block) {
      i++;
    } else {
      j++;
    }
  }
  return false;
}

bool valid_stop(const phnsw_stop &stop) noexcept {
  if (stop.wider == 0 && stop.slack == 0) return true;
  return stop.wider >= 1 && stop.wider <= PHNSW_STOP_WIDER_MAX && stop.slack > 0 && stop.slack <= PHNSW_STOP_SLACK_MAX;
}

const char *calibration_fault(const phnsw_meta &meta) noexcept {
  if (meta.calibrations > PHNSW_CALIBRATION_MAX) return "number of calibrations";
  if (meta.calibrated_by > PHNSW_BY_QUERIES) return "kind of calibration";
  std::uint32_t previous_ef = 0;
  for (std::uint32_t i = 0; i < meta.calibrations; i++) {
    const phnsw_calibration &c = meta.calibration[i];
    if (c.ef <= previous_ef || c.ef > PHNSW_EF_MAX) return "ef of a calibration";
    if (!(c.recall >= 0 && c.recall <= 1)) return "recall of a calibration";
    if (!std::isfinite(c.touches) || c.touches < 0) return "touches of a calibration";
    if (!std::isfinite(c.hops) || c.hops < 0) return "hops of a calibration";
    if (!valid_stop(meta.stop[i])) return "stop of a calibration";
    previous_ef = c.ef;
  }
  return nullptr;
}

// Ids below the limit, none twice, not the node itself.  Quadratic, over at most 200 ids that lie in one cache line
// after the other: 0.1 us for 32.
const char *links_fault(const std::uint32_t *links, std::uint32_t count, std::uint32_t self,
                        std::uint32_t limit) noexcept {
  for (std::uint32_t i = 0; i < count; i++) {
    const std::uint32_t link = links[i];
    if (link >= limit) return "link beyond the nodes";
    if (link == self) return "link to itself";
    bool repeated = false;
    for (std::uint32_t j = 0; j < i; j++) repeated |= links[j] == link;
    if (repeated) return "repeated link";
  }
  return nullptr;
}

}  // namespace

const char *meta_fault(const phnsw_meta &meta, std::uint64_t blocks_in_file) noexcept {
  if (meta.magic != PHNSW_MAGIC) return "magic number";
  if (meta.format_version != PHNSW_FORMAT_VERSION) return kFaultFormatVersion;
  if (const char *fault = codec_fault(meta.codec)) return fault;
  if (meta.ef_construction < PHNSW_EFC_MIN || meta.ef_construction > PHNSW_EFC_MAX) return "ef_construction";
  if (const char *fault = arithmetic_fault(meta)) return fault;
  if (const char *fault = centre_fault(meta, blocks_in_file)) return fault;
  if (!valid_space(meta.nodes, meta.slots_per_page, blocks_in_file)) return "extents of the nodes";
  if (!valid_space(meta.aux, meta.aux_per_page, blocks_in_file)) return "extents of the aux records";
  if (overlaps_centre(meta, meta.nodes) || overlaps_centre(meta, meta.aux)) return "block of the centre";
  if (spaces_overlap(meta.nodes, meta.aux)) return "overlapping extents";
  if (!valid_reference(meta.entry, meta.nodes.limit)) return "entry node";
  if (meta.entry_level > PHNSW_LEVEL_MAX) return "entry level";
  if (!valid_reference(meta.aux_free, meta.aux.limit)) return "free aux record";
  if (meta.built_nodes > meta.nodes.limit) return "built nodes";
  if (meta.calibrated_nodes > meta.nodes.limit) return "calibrated nodes";
  return calibration_fault(meta);
}

const char *slot_fault(const phnsw_meta &meta, std::uint32_t id, const phnsw_slot &slot) noexcept {
  if (slot.state == PHNSW_SLOT_FREE) {
    if (slot.count != 0) return "links of a free slot";
    return slot.tid.offset == 0 ? nullptr : "heap TID of a free slot";
  }
  if (slot.state != PHNSW_SLOT_LIVE && slot.state != PHNSW_SLOT_DEAD) return "state of a slot";
  if (slot.state == PHNSW_SLOT_LIVE && slot.tid.offset == 0 && slot.tids == PHNSW_NONE && !phnsw_tid_is_gone(&slot.tid))
    return "heap TID of a live slot";
  if (slot.level > PHNSW_LEVEL_MAX) return "level of a slot";
  if (slot.level == 0 && slot.upper != PHNSW_NONE) return "upper links on level 0";
  if (!valid_reference(slot.upper, meta.aux.limit)) return "reference to upper links";
  if (!valid_reference(slot.tids, meta.aux.limit)) return "reference to heap TIDs";
  if (slot.count > 2 * meta.codec.m) return "number of links";
  const std::uint32_t code_bytes = phnsw_code_bytes(meta.codec.code_dims, meta.codec.bits);
  return links_fault(phnsw_slot_links_const(&slot, code_bytes), slot.count, id, meta.nodes.limit);
}

const char *aux_fault(const phnsw_meta &meta, const phnsw_aux &aux) noexcept {
  if (!valid_reference(aux.next, meta.aux.limit)) return "next aux record";
  const bool reserved =
      aux.kind != PHNSW_AUX_FREE && aux.node == PHNSW_NONE;  // taken by an insert that has not yet used it
  if (reserved && aux.count == 0 && (aux.kind == PHNSW_AUX_UPPER || aux.kind == PHNSW_AUX_TIDS)) return nullptr;
  switch (aux.kind) {
    case PHNSW_AUX_FREE:
      return aux.count == 0 ? nullptr : "count of a free aux record";
    case PHNSW_AUX_UPPER: {
      if (aux.node >= meta.nodes.limit) return "node of an aux record";
      if (aux.level < 1 || aux.level > PHNSW_LEVEL_MAX) return "level of an aux record";
      if (aux.count > meta.codec.m) return "number of upper links";
      std::uint32_t links[PHNSW_M_MAX];
      std::memcpy(links, aux.payload, aux.count * sizeof links[0]);
      return links_fault(links, aux.count, aux.node, meta.nodes.limit);
    }
    case PHNSW_AUX_TIDS: {
      if (aux.node >= meta.nodes.limit) return "node of an aux record";
      if (aux.count > phnsw_aux_tids_max(meta.codec.m)) return "number of heap TIDs";
      for (std::uint32_t i = 0; i < aux.count; i++) {
        phnsw_tid tid;
        std::memcpy(&tid, aux.payload + i * sizeof tid, sizeof tid);
        if (tid.offset == 0) return "heap TID of an aux record";
      }
      return nullptr;
    }
    default:
      return "kind of an aux record";
  }
}

}  // namespace phnsw
