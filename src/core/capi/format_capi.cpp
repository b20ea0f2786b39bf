// C entries of validation and of the checker's walk: forwarding only, see phnsw_validate.h.
#include "capi/guard.hpp"
#include "capi/phnsw_validate.h"
#include "format/validate.hpp"
#include "graph/reach.hpp"

namespace {

bool passed(const char *fault, const char **what) noexcept {
  if (fault != nullptr) *what = fault;
  return fault == nullptr;
}

}  // namespace

extern "C" {

bool phnsw_meta_validate(const phnsw_meta *meta, std::uint64_t blocks_in_file, const char **what) noexcept {
  return passed(phnsw::meta_fault(*meta, blocks_in_file), what);
}

bool phnsw_slot_validate(const phnsw_meta *meta, std::uint32_t id, const phnsw_slot *slot, const char **what) noexcept {
  return passed(phnsw::slot_fault(*meta, id, *slot), what);
}

bool phnsw_aux_validate(const phnsw_meta *meta, const phnsw_aux *aux, const char **what) noexcept {
  return passed(phnsw::aux_fault(*meta, *aux), what);
}

phnsw_status phnsw_reach_count(const std::uint32_t *links, const std::uint16_t *counts, const std::uint8_t *live,
                               std::uint32_t n, std::uint32_t stride, std::uint32_t entry, std::uint64_t *reached_live,
                               std::uint32_t *first_unreached, phnsw_error *error) noexcept {
  return phnsw::guard(error, [&]() -> phnsw::Status {
    for (std::uint32_t i = 0; i < n; i++) {
      if (counts[i] > stride) return {PHNSW_BAD_ARGUMENT, "more links than fit a row"};
    }
    const phnsw::Reach reach = phnsw::reach(links, counts, live, n, stride, entry);
    *reached_live = reach.reached_live;
    *first_unreached = reach.first_unreached;
    return {};
  });
}

}  // extern "C"
