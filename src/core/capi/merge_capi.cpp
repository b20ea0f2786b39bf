// The merge's part of the C interface: guard() and forwarding.
#include "capi/guard.hpp"
#include "capi/handles.hpp"
#include "capi/phnsw_merge.h"
#include "merge/merge.hpp"

struct phnsw_merge {
  std::unique_ptr<phnsw::Merge> merge;
};

struct phnsw_merge_nodes {
  phnsw::MergeNodes nodes;
};

using phnsw::guard;
using phnsw::MergeGraph;

namespace {

// Slots stand one behind the other, as on a page.
const phnsw_slot *nth_slot(const phnsw_merge *merge, const phnsw_slot *slots, uint32_t n) noexcept {
  const phnsw_codec_params &codec = merge->merge->graph().codec().params();
  const std::size_t bytes = phnsw_slot_bytes(codec.code_dims, codec.bits, codec.m);
  return reinterpret_cast<const phnsw_slot *>(reinterpret_cast<const std::uint8_t *>(slots) + n * bytes);
}

}  // namespace

uint64_t phnsw_merge_memory(const phnsw_codec_params *codec, uint32_t ef_construction, uint32_t limit,
                            uint32_t rows) noexcept {
  return MergeGraph::kFixedBytes + limit * std::uint64_t{MergeGraph::node_bytes(*codec)} +
         rows * std::uint64_t{MergeGraph::row_bytes(*codec, ef_construction)};
}

uint64_t phnsw_merge_mapped_memory(const phnsw_codec_params *codec, uint32_t limit) noexcept {
  return limit * std::uint64_t{phnsw::MergeNodes::mapped_bytes(*codec)};
}

uint64_t phnsw_merge_file_bytes(const phnsw_codec_params *codec, uint32_t limit, uint32_t rows,
                                uint64_t memory_bytes) noexcept {
  return phnsw::MergeNodes::file_bytes(*codec, std::uint64_t{limit} + rows, memory_bytes);
}

phnsw_status phnsw_merge_nodes_create(const phnsw_codec *codec, uint32_t points, const phnsw_merge_spill *spill,
                                      phnsw_merge_nodes **nodes, phnsw_error *error) noexcept {
  return guard(error, [&] {
    *nodes = nullptr;
    std::unique_ptr<phnsw_merge_nodes> handle(new phnsw_merge_nodes{phnsw::MergeNodes(codec->codec->params(), *spill)});
    const phnsw::Status status = handle->nodes.reserve_to_grow(points);
    if (status.ok()) *nodes = handle.release();
    return status;
  });
}

void phnsw_merge_nodes_file(phnsw_merge_nodes *nodes, uint64_t bytes, int fd) noexcept {
  nodes->nodes.set_file(bytes, fd);
}

uint32_t phnsw_merge_nodes_room(const phnsw_merge_nodes *nodes) noexcept { return nodes->nodes.points_max(); }

void phnsw_merge_nodes_discard(phnsw_merge_nodes *nodes) noexcept { nodes->nodes.discard(); }

void phnsw_merge_nodes_destroy(phnsw_merge_nodes *nodes) noexcept { delete nodes; }

phnsw_status phnsw_merge_create(const phnsw_codec *codec, const phnsw_merge_params *params, phnsw_merge **merge,
                                phnsw_error *error) noexcept {
  return guard(error, [&] {
    *merge = nullptr;
    auto handle = std::make_unique<phnsw_merge>();
    const phnsw::Status status = phnsw::Merge::create(
        *codec->codec, *params, params->nodes != nullptr ? &params->nodes->nodes : nullptr, &handle->merge);
    if (status.ok()) *merge = handle.release();
    return status;
  });
}

bool phnsw_merge_load(phnsw_merge *merge, uint32_t first, const phnsw_slot *slots, uint32_t n, bool *whole,
                      uint32_t *fault, const char **what) noexcept {
  MergeGraph &graph = merge->merge->graph();
  *whole = true;
  for (uint32_t i = 0; i < n && first + i < graph.limit(); i++) {
    if (const char *found = graph.load(first + i, *nth_slot(merge, slots, i), whole); found != nullptr) {
      *fault = i;
      *what = found;
      return false;
    }
  }
  return true;
}

uint32_t phnsw_merge_live(const phnsw_merge *merge) noexcept { return merge->merge->graph().live(); }

phnsw_status phnsw_merge_add(phnsw_merge *merge, const float *vector, phnsw_error *error) noexcept {
  if (merge->merge->graph().add(vector)) return PHNSW_OK;
  return phnsw::report(error, PHNSW_NOT_INDEXED, "a zero vector has no direction");
}

phnsw_status phnsw_merge_start(phnsw_merge *merge, phnsw_error *error) noexcept {
  return guard(error, [&] { return merge->merge->start(); });
}

phnsw_status phnsw_merge_wait(phnsw_merge *merge, uint32_t milliseconds, phnsw_error *error) noexcept {
  return guard(error, [&] { return merge->merge->wait(milliseconds); });
}

uint32_t phnsw_merge_places(const phnsw_merge *merge) noexcept { return merge->merge->graph().places(); }

phnsw_merge_row phnsw_merge_row_get(const phnsw_merge *merge, uint32_t row) noexcept { return merge->merge->row(row); }

uint32_t phnsw_merge_place_row(const phnsw_merge *merge, uint32_t place) noexcept {
  return merge->merge->graph().row_of(place);
}

void phnsw_merge_look_again(phnsw_merge *merge, uint32_t first, const phnsw_slot *slots, uint32_t n) noexcept {
  MergeGraph &graph = merge->merge->graph();
  for (uint32_t i = 0; i < n && first + i < graph.limit(); i++) graph.look_again(first + i, *nth_slot(merge, slots, i));
}

void phnsw_merge_assign(phnsw_merge *merge, uint32_t place, uint32_t id) noexcept { merge->merge->assign(place, id); }

void phnsw_merge_fill(const phnsw_merge *merge, uint32_t place, phnsw_slot *slot) noexcept {
  merge->merge->fill(place, slot);
}

phnsw_status phnsw_merge_changes(phnsw_merge *merge, const phnsw_merge_change **changes, size_t *n,
                                 phnsw_error *error) noexcept {
  return guard(error, [&] {
    const std::vector<phnsw_merge_change> &all = merge->merge->changes();
    *changes = all.data();
    *n = all.size();
    return phnsw::Status();
  });
}

void phnsw_merge_relist(phnsw_merge *merge, uint32_t id, const phnsw_slot *slot, uint32_t limit) noexcept {
  merge->merge->graph().relist(id, *slot, limit);
}

phnsw_status phnsw_merge_spread(const phnsw_merge *merge, uint8_t *reached, phnsw_error *error) noexcept {
  return guard(error, [&] {
    merge->merge->spread(reached);
    return phnsw::Status();
  });
}

void phnsw_merge_destroy(phnsw_merge *merge) noexcept { delete merge; }
