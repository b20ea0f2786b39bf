#include "build/images.hpp"

#include <algorithm>

namespace phnsw {
namespace {

std::uint32_t pages_for(std::uint32_t items, std::uint32_t per_page) noexcept {
  return items / per_page + (items % per_page != 0);
}

}  // namespace

std::uint32_t Images::duplicates_of(std::uint32_t point) const noexcept {
  return rows_.duplicates() == 0 ? 0 : first_duplicate_[point + 1] - first_duplicate_[point];
}

Status Images::lay_out_aux(BuildContext &context, std::uint32_t *records) {
  Arena &arena = context.arena;
  const std::uint32_t n = graph_.points.n, per_record = phnsw_aux_tids_max(rows_.codec().params().m);
  if (rows_.duplicates() != 0) {
    if (const Status status = first_duplicate_.allocate(arena, std::size_t{n} + 1); !status.ok()) return status;
    std::uint32_t at = 0;
    for (std::uint32_t point = 0; point <= n; point++) {
      if ((point & kPollMask) == 0 && context.team.stopped()) return kStopped;
      while (at < rows_.duplicates() && rows_.duplicate()[at] >> 32 < point) at++;
      first_duplicate_[point] = at;
    }
  }
  if (const Status status = first_aux_.allocate(arena, std::size_t{n} + 1); !status.ok()) return status;
  std::uint64_t at = 0;
  for (std::uint32_t id = 0; id < n; id++) {
    if ((id & kPollMask) == 0 && context.team.stopped()) return kStopped;
    const std::uint32_t point = graph_.point_at[id];
    first_aux_[id] = static_cast<std::uint32_t>(at);
    at += graph_.level[point] + (duplicates_of(point) + per_record - 1) / per_record;
  }
  if (at >= PHNSW_NONE) return {PHNSW_LIMIT, "the index needs more than 4294967294 auxiliary records"};
  first_aux_[n] = static_cast<std::uint32_t>(at);
  *records = static_cast<std::uint32_t>(at);
  return {};
}

Status Images::prepare(BuildContext &context, const Calibration &calibration, phnsw_meta *meta) {
  const phnsw_codec_params &codec = rows_.codec().params();
  const std::uint32_t n = graph_.points.n;
  meta_ = meta;
  if (const Status status = lay_out_aux(context, &aux_records_); !status.ok()) return status;

  meta->magic = PHNSW_MAGIC;
  meta->format_version = PHNSW_FORMAT_VERSION;
  meta->codec = codec;
  meta->slot_bytes = phnsw_slot_bytes(codec.code_dims, codec.bits, codec.m);
  meta->slots_per_page = PHNSW_PAGE_CONTENT / meta->slot_bytes;
  meta->aux_bytes = phnsw_aux_bytes(codec.m);
  meta->aux_per_page = PHNSW_PAGE_CONTENT / meta->aux_bytes;
  std::uint64_t next = 1;
  if (rows_.codec().centre() != nullptr) {
    meta->centre_block = 1;
    meta->centre_pages = pages_for(codec.space_dims, PHNSW_CENTRE_FLOATS);
    next += meta->centre_pages;
  }
  const auto extend = [&next](phnsw_space *space, std::uint32_t pages, std::uint32_t per_page) {
    if (pages == 0) return true;
    space->extents = 1;
    space->extent[0] = {0, static_cast<std::uint32_t>(next), pages};
    space->limit = pages * per_page;
    next += pages;
    return std::uint64_t{pages} * per_page < PHNSW_NONE;
  };
  const bool fits = extend(&meta->nodes, pages_for(n, meta->slots_per_page), meta->slots_per_page) &&
                    extend(&meta->aux, pages_for(aux_records_, meta->aux_per_page), meta->aux_per_page);
  if (!fits || next >= PHNSW_NONE) return {PHNSW_LIMIT, "the index needs more than 4294967294 blocks or ids"};
  blocks_ = static_cast<std::uint32_t>(next);
  meta->aux_free = aux_records_ < meta->aux.limit ? aux_records_ : PHNSW_NONE;
  meta->entry = n != 0 ? graph_.id_of[graph_.entry] : PHNSW_NONE;
  meta->entry_level = n != 0 ? graph_.level[graph_.entry] : 0;
  meta->built_nodes = n;
  set_calibration(calibration, meta);
  return {};
}

void set_calibration(const Calibration &calibration, phnsw_meta *meta) noexcept {
  meta->calibrations = calibration.n;
  std::copy(calibration.entry, calibration.entry + calibration.n, meta->calibration);
  std::copy(calibration.stop, calibration.stop + calibration.n, meta->stop);
  meta->calibrated_by = meta->codec.metric == PHNSW_IP ? PHNSW_BY_QUERIES : PHNSW_BY_POINTS;
}

void Images::format(std::uint32_t block, std::uint8_t *page) const noexcept {
  std::memset(page, 0, PHNSW_PAGE_BYTES);
  std::uint8_t *content = page + PHNSW_PAGE_HEADER;
  phnsw_opaque opaque{PHNSW_PAGE_META, 0, 0, PHNSW_PAGE_ID};
  const phnsw_extent &nodes = meta_->nodes.extent[0], &aux = meta_->aux.extent[0];
  if (block == 0) {
    std::memcpy(content, meta_, sizeof *meta_);
  } else if (block <= meta_->centre_pages) {
    format_centre(block - 1, content, &opaque);
  } else if (block < nodes.first_block + nodes.pages) {
    opaque.kind = PHNSW_PAGE_NODE;
    opaque.count = static_cast<std::uint16_t>(meta_->slots_per_page);
    const std::uint32_t first = (block - nodes.first_block) * meta_->slots_per_page;
    for (std::uint32_t i = 0; i < meta_->slots_per_page; i++) {
      format_slot(first + i, reinterpret_cast<phnsw_slot *>(content + std::size_t{i} * meta_->slot_bytes));
    }
  } else {
    opaque.kind = PHNSW_PAGE_AUX;
    opaque.count = static_cast<std::uint16_t>(meta_->aux_per_page);
    const std::uint32_t first = (block - aux.first_block) * meta_->aux_per_page;
    for (std::uint32_t i = 0; i < meta_->aux_per_page; i++) {
      format_aux(first + i, reinterpret_cast<phnsw_aux *>(content + std::size_t{i} * meta_->aux_bytes));
    }
  }
  std::memcpy(page + PHNSW_PAGE_BYTES - PHNSW_PAGE_SPECIAL, &opaque, sizeof opaque);
}

void Images::format_centre(std::uint32_t index, std::uint8_t *content, phnsw_opaque *opaque) const noexcept {
  constexpr std::uint32_t kFloats = PHNSW_CENTRE_FLOATS;
  const std::uint32_t n = std::min(kFloats, meta_->codec.space_dims - index * kFloats);
  opaque->kind = PHNSW_PAGE_CENTRE;
  opaque->count = static_cast<std::uint16_t>(n);
  std::memcpy(content, rows_.codec().centre() + std::size_t{index} * kFloats, n * sizeof(float));
}

void Images::format_slot(std::uint32_t id, phnsw_slot *slot) const noexcept {
  slot->upper = PHNSW_NONE;
  slot->tids = PHNSW_NONE;
  if (id >= graph_.points.n) return;
  const std::uint32_t point = graph_.point_at[id];
  const phnsw_codec_params &codec = meta_->codec;
  slot->tid = rows_.tid_of_point(point);
  slot->state = PHNSW_SLOT_LIVE;
  slot->level = graph_.level[point];
  if (slot->level != 0) slot->upper = first_aux_[id];
  if (duplicates_of(point) != 0) slot->tids = first_aux_[id] + slot->level;
  slot->count = graph_.base.counts[point];
  slot->head = graph_.points.rows.heads[point];
  rows_.codec().pack(graph_.points.rows.row(point), slot->code);
  std::uint32_t *links = phnsw_slot_links(slot, phnsw_code_bytes(codec.code_dims, codec.bits));
  const std::uint32_t *list = graph_.base.list(point);
  for (std::uint32_t i = 0; i < slot->count; i++) links[i] = graph_.id_of[list[i]];
}

void Images::format_aux(std::uint32_t record, phnsw_aux *aux) const noexcept {
  aux->node = PHNSW_NONE;
  aux->next = PHNSW_NONE;
  if (record >= aux_records_) {
    if (record + 1 < meta_->aux.limit) aux->next = record + 1;
    return;
  }
  const std::uint32_t *begin = first_aux_.data(), *end = begin + graph_.points.n + 1;
  const std::uint32_t id = static_cast<std::uint32_t>(std::upper_bound(begin, end, record) - begin) - 1;
  const std::uint32_t point = graph_.point_at[id], level = graph_.level[point], index = record - first_aux_[id];
  aux->node = id;
  if (index < level) {
    const UpperLevel &upper = *graph_.upper[index];
    const std::uint32_t at = upper.find(point);
    aux->kind = PHNSW_AUX_UPPER;
    aux->level = static_cast<std::uint8_t>(index + 1);
    aux->count = upper.links.counts[at];
    if (index + 1 < level) aux->next = record + 1;
    for (std::uint32_t i = 0; i < aux->count; i++) {
      const std::uint32_t link = graph_.id_of[upper.points[upper.links.list(at)[i]]];
      std::memcpy(aux->payload + i * sizeof link, &link, sizeof link);
    }
    return;
  }
  const std::uint32_t per_record = phnsw_aux_tids_max(meta_->codec.m), first = (index - level) * per_record;
  const std::uint32_t left = duplicates_of(point) - first;
  aux->kind = PHNSW_AUX_TIDS;
  aux->count = static_cast<std::uint16_t>(std::min(left, per_record));
  if (left > per_record) aux->next = record + 1;
  for (std::uint32_t i = 0; i < aux->count; i++) {
    const phnsw_tid tid = rows_.tid_of_duplicate(first_duplicate_[point] + first + i);
    std::memcpy(aux->payload + i * sizeof tid, &tid, sizeof tid);
  }
}

}  // namespace phnsw
