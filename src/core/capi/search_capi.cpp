// C entries of the search machine: forwarding only, see phnsw_search.h.
#include "capi/guard.hpp"
#include "capi/phnsw_search.h"
#include "graph/search.hpp"
#include "graph/stops.hpp"

struct phnsw_search {
  phnsw::Search search;
};

extern "C" {

phnsw_status phnsw_search_create(phnsw_search **search, phnsw_error *error) noexcept {
  *search = nullptr;
  return phnsw::guard(error, [&] {
    *search = new phnsw_search();
    return phnsw::Status();
  });
}

void phnsw_search_destroy(phnsw_search *search) noexcept { delete search; }

phnsw_status phnsw_search_begin(phnsw_search *search, std::uint32_t ef, std::uint32_t id_limit, bool keep_reserve,
                                phnsw_error *error) noexcept {
  return phnsw::guard(error, [&]() -> phnsw::Status {
    if (ef < 1 || ef > PHNSW_EF_MAX) return {PHNSW_BAD_ARGUMENT, "ef is out of range"};
    search->search.begin(ef, id_limit, keep_reserve);
    return {};
  });
}

void phnsw_search_stop_beyond(phnsw_search *search, std::uint32_t rank, float slack, float offset) noexcept {
  search->search.stop_beyond(rank, slack, offset);
}

void phnsw_search_forget_beyond(phnsw_search *search) noexcept { search->search.forget_beyond(); }

bool phnsw_search_pop(phnsw_search *search, std::uint32_t *node) noexcept { return search->search.pop(node); }

std::uint32_t phnsw_search_upcoming(const phnsw_search *search, std::uint32_t *nodes, std::uint32_t n) noexcept {
  return search->search.upcoming(nodes, n);
}

phnsw_status phnsw_search_fresh(phnsw_search *search, const std::uint32_t *links, std::uint32_t n, std::uint32_t *fresh,
                                std::uint32_t *n_fresh, phnsw_error *error) noexcept {
  *n_fresh = 0;
  return phnsw::guard(error, [&] {
    *n_fresh = search->search.fresh(links, n, fresh);
    return phnsw::Status();
  });
}

phnsw_status phnsw_search_offer(phnsw_search *search, const std::uint32_t *ids, const float *scores,
                                const std::uint32_t *versions, std::uint32_t n, phnsw_error *error) noexcept {
  return phnsw::guard(error, [&] {
    search->search.offer(ids, scores, versions, n);
    return phnsw::Status();
  });
}

const phnsw_candidate *phnsw_search_window(const phnsw_search *search, std::uint32_t *n) noexcept {
  *n = search->search.window_size();
  return search->search.window();
}

phnsw_status phnsw_search_passed(phnsw_search *search, std::uint32_t *n, const phnsw_candidate **passed,
                                 phnsw_error *error) noexcept {
  *passed = nullptr;
  return phnsw::guard(error, [&] {
    *passed = search->search.passed(n);
    return phnsw::Status();
  });
}

phnsw_status phnsw_search_take(phnsw_search *search, std::uint32_t n, phnsw_error *) noexcept {
  search->search.take(n);
  return PHNSW_OK;
}

void phnsw_search_drop(phnsw_search *search, std::uint32_t n) noexcept { search->search.drop(n); }

float phnsw_search_limit(const phnsw_search *search) noexcept { return search->search.limit(); }

phnsw_status phnsw_search_pass_over(phnsw_search *search, const std::uint32_t *ids, std::uint32_t n,
                                    std::uint32_t tested, phnsw_error *error) noexcept {
  return phnsw::guard(error, [&] {
    search->search.pass_over(ids, n, tested);
    return phnsw::Status();
  });
}

std::uint32_t phnsw_search_unscored(phnsw_search *search, std::uint32_t *ids, std::uint32_t n) noexcept {
  return search->search.unscored(ids, n);
}

std::uint32_t phnsw_search_settled(const phnsw_search *search) noexcept { return search->search.expanded(); }

float phnsw_stop_slack(std::uint32_t i) noexcept { return phnsw::kStopSlacks[i]; }

void phnsw_find_stops(const phnsw_calibration *lines, const phnsw_tallies *tallies, std::uint32_t n,
                      std::uint64_t wanted, phnsw_stop *stops) noexcept {
  phnsw::find_stops(lines, tallies, n, wanted, stops);
}

void phnsw_search_trim(phnsw_search *search, std::size_t bytes) noexcept { search->search.trim(bytes); }

std::size_t phnsw_search_memory(const phnsw_search *search) noexcept { return search->search.memory(); }

}  // extern "C"
