// C entries of the selection of neighbours: forwarding only, see phnsw_core.h.
#include "capi/phnsw_core.h"
#include "graph/select.hpp"

extern "C" {

std::uint32_t phnsw_select(const phnsw_codec *codec, const phnsw_slot *const *candidates, const float *distances,
                           const std::uint32_t *ids, std::uint32_t n, std::uint32_t m, std::uint16_t *chosen) noexcept {
  const auto between = [&](std::uint32_t i, std::uint32_t j) {
    return phnsw_codec_distance(codec, candidates[i], candidates[j]);
  };
  return phnsw::select_neighbours(distances, ids, n < PHNSW_SELECT_MAX ? n : PHNSW_SELECT_MAX, m, between, chosen);
}

}  // extern "C"
