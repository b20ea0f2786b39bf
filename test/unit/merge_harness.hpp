// Harness of the merge's tests: an index as slots in memory, and the backend's side of a merge into it.
#pragma once

#include <set>

#include "build_harness.hpp"

namespace merge_test {

using build_test::Dataset;

class Slots {
 public:
  // The first `rows` rows of data, built.
  Slots(const Dataset &data, std::size_t rows, phnsw_build_params params) {
    Dataset first = data;
    first.values.resize(rows * data.dims);
    params.rows_expected = static_cast<std::uint32_t>(rows);
    const build_test::Index index = build_test::build_index(first, params);
    meta = index.meta();
    const std::vector<float> centre = index.centre();
    phnsw_error error;
    EXPECT_EQ(phnsw_codec_create(&meta.codec, meta.centre_pages != 0 ? centre.data() : nullptr, &codec, &error),
              PHNSW_OK);
    code_bytes = phnsw_code_bytes(meta.codec.code_dims, meta.codec.bits);
    n = meta.nodes.limit;
    bytes.resize(std::size_t{n} * meta.slot_bytes);
    for (std::uint32_t id = 0; id < n; id++)
      std::memcpy(&bytes[std::size_t{id} * meta.slot_bytes], index.slot(id), meta.slot_bytes);
  }
  Slots(const Slots &) = delete;
  Slots &operator=(const Slots &) = delete;
  ~Slots() { phnsw_codec_destroy(codec); }

  phnsw_slot *slot(std::uint32_t id) {
    return reinterpret_cast<phnsw_slot *>(&bytes[std::size_t{id} * meta.slot_bytes]);
  }
  std::uint32_t *links(std::uint32_t id) { return phnsw_slot_links(slot(id), code_bytes); }

  // Live nodes that a walk from the entry point does not find.
  std::uint64_t unreached() {
    std::vector<std::uint32_t> lists(std::size_t{n} * 2 * meta.codec.m);
    std::vector<std::uint16_t> counts(n);
    std::vector<std::uint8_t> live(n);
    std::uint64_t alive = 0, reached = 0;
    std::uint32_t first = 0;
    for (std::uint32_t id = 0; id < n; id++) {
      live[id] = slot(id)->state == PHNSW_SLOT_LIVE;
      alive += live[id];
      counts[id] = slot(id)->count;
      std::copy(links(id), links(id) + counts[id], &lists[std::size_t{id} * 2 * meta.codec.m]);
    }
    phnsw_error error;
    EXPECT_EQ(phnsw_reach_count(lists.data(), counts.data(), live.data(), n, 2 * meta.codec.m, meta.entry, &reached,
                                &first, &error),
              PHNSW_OK);
    return alive - reached;
  }

  // recall@10 of searches of level 0 from the entry point, as if the query, a node, were not there; by codes.
  double recall(const std::vector<std::uint32_t> &queries, std::uint32_t ef) {
    phnsw_search *search = nullptr;
    phnsw_error error;
    EXPECT_EQ(phnsw_search_create(&search, &error), PHNSW_OK);
    std::size_t hits = 0;
    for (const std::uint32_t query : queries) {
      std::vector<std::pair<float, std::uint32_t>> all;
      for (std::uint32_t id = 0; id < n; id++) {
        if (id != query && slot(id)->state == PHNSW_SLOT_LIVE)
          all.emplace_back(phnsw_codec_distance(codec, slot(query), slot(id)), id);
      }
      std::partial_sort(all.begin(), all.begin() + 10, all.end());
      EXPECT_EQ(phnsw_search_begin(search, ef, n, false, &error), PHNSW_OK);
      const float start = phnsw_codec_distance(codec, slot(query), slot(meta.entry));
      const std::uint32_t zero[PHNSW_LINKS_MAX] = {};
      EXPECT_EQ(phnsw_search_offer(search, &meta.entry, &start, zero, 1, &error), PHNSW_OK);
      for (std::uint32_t node; phnsw_search_pop(search, &node);) {
        std::uint32_t fresh[PHNSW_LINKS_MAX], count = 0;
        float scores[PHNSW_LINKS_MAX];
        EXPECT_EQ(phnsw_search_fresh(search, links(node), slot(node)->count, fresh, &count, &error), PHNSW_OK);
        std::uint32_t kept = 0;
        for (std::uint32_t i = 0; i < count; i++) {
          if (fresh[i] == query || slot(fresh[i])->state == PHNSW_SLOT_FREE) continue;
          scores[kept] = phnsw_codec_distance(codec, slot(query), slot(fresh[i]));
          fresh[kept++] = fresh[i];
        }
        EXPECT_EQ(phnsw_search_offer(search, fresh, scores, zero, kept, &error), PHNSW_OK);
      }
      std::uint32_t size = 0, seen = 0;
      const phnsw_candidate *window = phnsw_search_window(search, &size);
      for (std::uint32_t i = 0; i < size && seen < 10; i++) {
        seen++;
        hits += window[i].score <= all[9].first;
      }
    }
    phnsw_search_destroy(search);
    return static_cast<double>(hits) / (10.0 * static_cast<double>(queries.size()));
  }

  phnsw_meta meta{};
  phnsw_codec *codec = nullptr;
  std::uint32_t code_bytes = 0;
  std::uint32_t n = 0;
  std::vector<std::uint8_t> bytes;
};

struct Outcome {
  phnsw_status status = PHNSW_OK;
  std::uint32_t places = 0;
  std::vector<phnsw_merge_row> rows;
  std::size_t changes = 0;
};

// What outlives a merge, and the pages as they were loaded into it; empty: not loaded.
struct Kept {
  explicit Kept(const Slots &slots, std::uint32_t points_max, const phnsw_merge_spill &spill = {}) {
    phnsw_error error;
    EXPECT_EQ(phnsw_merge_nodes_create(slots.codec, points_max, &spill, &nodes, &error), PHNSW_OK);
  }
  Kept(const Kept &) = delete;
  Kept &operator=(const Kept &) = delete;
  ~Kept() { phnsw_merge_nodes_destroy(nodes); }

  // The slot of a page that is as it was loaded has a new list.
  void relist(Slots &slots, phnsw_merge *merge, std::uint32_t id) {
    std::vector<std::uint8_t> &page = pages[id / slots.meta.slots_per_page];
    if (page.empty()) return;
    phnsw_merge_relist(merge, id, slots.slot(id), slots.n);
    const std::size_t bytes = slots.meta.slot_bytes;
    std::memcpy(&page[id % slots.meta.slots_per_page * bytes], slots.slot(id), bytes);
  }

  phnsw_merge_nodes *nodes = nullptr;
  std::vector<std::vector<std::uint8_t>> pages;
  std::size_t spared = 0;  // pages that need not be loaded
};

// Everything up to phnsw_merge_wait()'s end; *merge is the caller's.
inline phnsw_status compute(Slots &slots, const Dataset &data, std::size_t begin, std::size_t end,
                            std::uint32_t threads, phnsw_merge **merge, phnsw_error *error, Kept *kept = nullptr,
                            phnsw_merge_spill spill = {}) {
  phnsw_merge_params params{};
  params.spill = spill;
  params.limit = slots.n;
  params.entry = slots.meta.entry;
  params.rows_max = static_cast<std::uint32_t>(end - begin);
  params.ef_construction = slots.meta.ef_construction;
  params.threads = threads;
  params.seed = 5;
  params.nodes = kept != nullptr ? kept->nodes : nullptr;
  phnsw_status status = phnsw_merge_create(slots.codec, &params, merge, error);
  if (status != PHNSW_OK) return status;
  std::uint32_t fault = 0;
  bool whole = false;
  const char *what = "";
  for (std::uint32_t first = 0; first < slots.n; first += slots.meta.slots_per_page) {
    const std::uint32_t n = std::min(slots.meta.slots_per_page, slots.n - first);
    const std::uint8_t *bytes = &slots.bytes[std::size_t{first} * slots.meta.slot_bytes];
    std::vector<std::uint8_t> *page = nullptr;
    if (kept != nullptr) {
      kept->pages.resize(std::max<std::size_t>(kept->pages.size(), first / slots.meta.slots_per_page + 1));
      page = &kept->pages[first / slots.meta.slots_per_page];
      if (page->size() == std::size_t{n} * slots.meta.slot_bytes && std::equal(page->begin(), page->end(), bytes)) {
        kept->spared++;
        continue;
      }
    }
    if (!phnsw_merge_load(*merge, first, slots.slot(first), n, &whole, &fault, &what)) return PHNSW_CORRUPT;
    if (page != nullptr) page->assign(bytes, bytes + (whole ? std::size_t{n} * slots.meta.slot_bytes : 0));
  }
  for (std::size_t row = begin; row < end; row++) {
    status = phnsw_merge_add(*merge, data.row(row), error);
    if (status != PHNSW_OK && status != PHNSW_NOT_INDEXED) return status;
  }
  status = phnsw_merge_start(*merge, error);
  if (status != PHNSW_OK) return status;
  while ((status = phnsw_merge_wait(*merge, 100, error)) == PHNSW_RUNNING) {
  }
  return status;
}

// The pages' half: new nodes get the ids behind the last, changes are applied.
inline void write(Slots &slots, phnsw_merge *merge, std::size_t first_row, Outcome *outcome) {
  const std::uint32_t limit = slots.n;
  outcome->places = phnsw_merge_places(merge);
  for (std::uint32_t id = 0; id < limit; id++) phnsw_merge_look_again(merge, id, slots.slot(id), 1);
  for (std::uint32_t place = 0; place < outcome->places; place++) phnsw_merge_assign(merge, place, limit + place);
  slots.n += outcome->places;
  slots.bytes.resize(std::size_t{slots.n} * slots.meta.slot_bytes);
  for (std::uint32_t place = 0; place < outcome->places; place++) {
    phnsw_slot *slot = slots.slot(limit + place);
    slot->state = PHNSW_SLOT_LIVE;
    slot->upper = slot->tids = PHNSW_NONE;
    slot->tid = build_test::tid_of_row(first_row + phnsw_merge_place_row(merge, place));
    phnsw_merge_fill(merge, place, slot);
  }
  const phnsw_merge_change *changes = nullptr;
  phnsw_error error;
  ASSERT_EQ(phnsw_merge_changes(merge, &changes, &outcome->changes, &error), PHNSW_OK);
  for (std::size_t i = 0; i < outcome->changes; i++) {
    const phnsw_merge_change &change = changes[i];
    if (i > 0) {
      ASSERT_LE(changes[i - 1].owner, change.owner);
    }
    ASSERT_LT(change.owner, limit);
    ASSERT_LT(change.added, slots.n);
    ASSERT_EQ(slots.slot(change.owner)->version, change.version);
    std::uint32_t *links = slots.links(change.owner), at = 0;
    std::uint16_t &count = slots.slot(change.owner)->count;
    while (at < count && links[at] != change.removed) at++;
    // Nobody else has changed the lists, so what gives way is there, and what is added has room.
    ASSERT_EQ(at < count, change.removed != PHNSW_NONE);
    ASSERT_LT(at, 2 * slots.meta.codec.m);
    links[at] = change.added;
    if (at == count) count++;
  }
}

inline Outcome merge_rows(Slots &slots, const Dataset &data, std::size_t begin, std::size_t end,
                          std::uint32_t threads = 2, Kept *kept = nullptr) {
  phnsw_merge *merge = nullptr;
  phnsw_error error{};
  Outcome outcome;
  outcome.status = compute(slots, data, begin, end, threads, &merge, &error, kept);
  EXPECT_EQ(outcome.status, PHNSW_OK) << error.message;
  if (outcome.status == PHNSW_OK) {
    write(slots, merge, begin, &outcome);
    const phnsw_merge_change *changes = nullptr;
    std::size_t n = 0;
    if (kept != nullptr && phnsw_merge_changes(merge, &changes, &n, &error) == PHNSW_OK) {
      for (std::size_t i = 0; i < n; i++) kept->relist(slots, merge, changes[i].owner);
    }
    for (std::size_t row = begin; row < end; row++) {
      outcome.rows.push_back(phnsw_merge_row_get(merge, static_cast<std::uint32_t>(row - begin)));
    }
  }
  phnsw_merge_destroy(merge);
  return outcome;
}

// Every slot: valid, no link twice or to itself; links of nodes from `first` on lead to live nodes.
inline void validate(Slots &slots, std::uint32_t first) {
  const char *what = "";
  for (std::uint32_t id = 0; id < slots.n; id++) {
    if (slots.slot(id)->state == PHNSW_SLOT_FREE) continue;
    ASSERT_TRUE(phnsw_codec_validate(slots.codec, slots.slot(id), &what)) << id << " " << what;
    ASSERT_LE(slots.slot(id)->count, 2 * slots.meta.codec.m);
    std::set<std::uint32_t> seen;
    for (std::uint32_t i = 0; i < slots.slot(id)->count; i++) {
      const std::uint32_t link = slots.links(id)[i];
      ASSERT_LT(link, slots.n);
      ASSERT_NE(link, id);
      ASSERT_TRUE(seen.insert(link).second) << id;
      if (id >= first) {
        ASSERT_EQ(slots.slot(link)->state, PHNSW_SLOT_LIVE);
      }
    }
  }
}

}  // namespace merge_test
