// C entries of the selection of neighbours: forwarding only, see phnsw_codec.h.
#include "capi/phnsw_codec.h"
#include "graph/select.hpp"

extern "C" {

std::uint32_t phnsw_select(const phnsw_codec *codec, const phnsw_slot *const *candidates, const float *distances,
                           const std::uint32_t *ids, std::uint32_t n, std::uint32_t m, std::uint16_t *chosen) noexcept {
  const phnsw_slot *kept_slots[PHNSW_SELECT_MAX];
  std::uint32_t filled = 0;
  const auto covered = [&](std::uint32_t i, const std::uint16_t *kept, std::uint32_t count, float than) {
    for (; filled < count; filled++) kept_slots[filled] = candidates[kept[filled]];
    return phnsw_codec_any_nearer(codec, candidates[i], kept_slots, count, than);
  };
  return phnsw::select_neighbours(distances, ids, n < PHNSW_SELECT_MAX ? n : PHNSW_SELECT_MAX, m, covered, chosen);
}

}  // extern "C"
