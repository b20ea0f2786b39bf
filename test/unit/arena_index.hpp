// ArenaIndex: the insert, search and vacuum of src/pg (README.md of each) over slots in memory instead of on pages.
//
// It makes the very calls of the C interface that the access method makes, in the same order, so that the algorithm is
// tested without a server.  What pages would add is left out: upper links and further TIDs are plain vectors, there is
// no locking and no WAL.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "base/rng.hpp"
#include "capi/phnsw_core.h"
#include "graph/select.hpp"

namespace phnsw_test {

using Vector = std::vector<float>;

class ArenaIndex {
 public:
  ArenaIndex(phnsw_metric metric, std::uint32_t dims, std::uint32_t m, std::uint32_t ef_construction)
      : m_(m), ef_construction_(ef_construction) {
    phnsw_codec_params params;
    EXPECT_EQ(phnsw_codec_choose(metric, dims, m, 99, &params, nullptr), PHNSW_OK);
    EXPECT_EQ(phnsw_codec_create(&params, nullptr, &codec_, nullptr), PHNSW_OK);
    EXPECT_EQ(phnsw_query_create(codec_, &query_, nullptr), PHNSW_OK);
    EXPECT_EQ(phnsw_search_create(&search_, nullptr), PHNSW_OK);
    code_bytes_ = phnsw_code_bytes(params.code_dims, params.bits);
    slot_words_ = phnsw_slot_bytes(params.code_dims, params.bits, m) / 4;
    std::memset(&meta_, 0, sizeof meta_);
    meta_.codec = params;
  }
  ~ArenaIndex() {
    phnsw_search_destroy(search_);
    phnsw_query_destroy(query_);
    phnsw_codec_destroy(codec_);
  }
  ArenaIndex(const ArenaIndex &) = delete;
  ArenaIndex &operator=(const ArenaIndex &) = delete;

  std::uint32_t size() const { return static_cast<std::uint32_t>(words_.size() / slot_words_); }
  const phnsw_slot *slot(std::uint32_t id) const {
    return reinterpret_cast<const phnsw_slot *>(words_.data() + std::size_t{id} * slot_words_);
  }
  bool live(std::uint32_t id) const { return slot(id)->state == PHNSW_SLOT_LIVE; }
  std::uint32_t entry() const { return entry_; }
  std::size_t duplicates(std::uint32_t id) const { return further_rows_[id].size(); }

  // Links of one node on one level.
  std::vector<std::uint32_t> links(std::uint32_t id, std::uint32_t level) const {
    if (level > 0) return level <= upper_[id].size() ? upper_[id][level - 1] : std::vector<std::uint32_t>();
    const std::uint32_t *first = phnsw_slot_links_const(slot(id), code_bytes_);
    return std::vector<std::uint32_t>(first, first + slot(id)->count);
  }

  // Inserts one row; returns its node, which is an old one when that has the same code.
  std::uint32_t insert(const Vector &vector, std::uint32_t row) {
    std::vector<std::uint32_t> fresh_words(slot_words_, 0);
    auto *fresh = reinterpret_cast<phnsw_slot *>(fresh_words.data());
    EXPECT_EQ(phnsw_codec_encode(codec_, vector.data(), fresh, nullptr), PHNSW_OK);
    phnsw_query_set(query_, vector.data(), PHNSW_FOR_INSERT);

    const bool reuse = !free_.empty();
    const std::uint32_t id = reuse ? free_.back() : size();
    const std::uint32_t level = draw_level(id);
    std::vector<std::vector<std::uint32_t>> chosen(level + 1);
    if (entry_ != PHNSW_NONE) {
      std::vector<std::uint32_t> entries{entry_};
      for (std::uint32_t l = entry_level_; l > level; l--) entries = nodes_of(search_level(l, entries, 1, false));
      for (std::uint32_t l = std::min(level, entry_level_) + 1; l-- > 0;) {
        const std::vector<phnsw_candidate> found = search_level(l, entries, ef_construction_, false);
        entries = nodes_of(found);
        if (l == 0 && join_duplicate(found, fresh, row)) return entries_joined_;
        chosen[l] = select_from(found, m_);
      }
    }

    fresh->state = PHNSW_SLOT_LIVE;
    fresh->tid.offset = 1;
    fresh->level = static_cast<std::uint8_t>(level);
    fresh->upper = PHNSW_NONE;
    fresh->tids = PHNSW_NONE;
    if (reuse) {
      free_.pop_back();
      fresh->version = slot(id)->version;
    } else {
      words_.resize(words_.size() + slot_words_);
      upper_.emplace_back();
      further_rows_.emplace_back();
    }
    std::memcpy(words_.data() + std::size_t{id} * slot_words_, fresh_words.data(), slot_words_ * 4);
    upper_[id].assign(level, {});
    further_rows_[id].clear();
    for (std::uint32_t l = 0; l <= level; l++) {
      set_links(id, l, chosen[l]);
      for (const std::uint32_t neighbour : chosen[l]) add_backlink(neighbour, l, id);
    }
    if (entry_ == PHNSW_NONE || level > entry_level_) {
      entry_ = id;
      entry_level_ = level;
    }
    return id;
  }

  // The window of a search, live nodes only, nearest first by score.
  std::vector<std::uint32_t> search(const Vector &vector, std::uint32_t ef) {
    begin_stream(vector, ef);
    std::vector<std::uint32_t> nodes;
    for (const phnsw_candidate &candidate : run_level(0)) {
      if (live(candidate.id)) nodes.push_back(candidate.id);
    }
    return nodes;
  }

  // Streaming: begin, then one node a call until PHNSW_NONE.
  void begin_stream(const Vector &vector, std::uint32_t ef) {
    phnsw_query_set(query_, vector.data(), PHNSW_FOR_SEARCH);
    std::vector<std::uint32_t> entries;
    if (entry_ != PHNSW_NONE) entries.push_back(entry_);
    for (std::uint32_t l = entry_level_; l > 0; l--) entries = nodes_of(search_level(l, entries, 1, false));
    begin_level(entries, ef, true);
  }
  std::uint32_t next() {
    for (;;) {
      const std::vector<phnsw_candidate> window = run_level(0);
      if (window.empty()) return PHNSW_NONE;
      EXPECT_EQ(phnsw_search_take(search_, 1, nullptr), PHNSW_OK);
      const phnsw_candidate &first = window[0];
      if (live(first.id) && slot(first.id)->version == first.version) return first.id;
    }
  }

  void remove(std::uint32_t id) { mutable_slot(id)->state = PHNSW_SLOT_DEAD; }

  // Repairs every list that names a dead node from the dead node's own links, then frees the dead.
  void vacuum() {
    for (std::uint32_t id = 0; id < size(); id++) {
      if (!live(id)) continue;
      for (std::uint32_t level = 0; level <= slot(id)->level; level++) repair(id, level);
    }
    for (std::uint32_t id = 0; id < size(); id++) {
      phnsw_slot *dead = mutable_slot(id);
      if (dead->state != PHNSW_SLOT_DEAD) continue;
      dead->state = PHNSW_SLOT_FREE;
      dead->version++;
      dead->count = 0;
      dead->tid.offset = 0;
      upper_[id].clear();
      free_.push_back(id);
    }
    if (entry_ == PHNSW_NONE || live(entry_)) return;
    entry_ = PHNSW_NONE;
    entry_level_ = 0;
    for (std::uint32_t id = 0; id < size(); id++) {
      if (!live(id) || (entry_ != PHNSW_NONE && slot(id)->level <= entry_level_)) continue;
      entry_ = id;
      entry_level_ = slot(id)->level;
    }
  }

  // Every slot passes validation; returns how many live nodes the walk over level 0 does not find.
  std::uint64_t check() {
    meta_.nodes.limit = size();
    std::vector<std::uint32_t> all_links(std::size_t{size()} * 2 * m_);
    std::vector<std::uint16_t> counts(size());
    std::vector<std::uint8_t> alive(size());
    std::uint64_t live_nodes = 0;
    for (std::uint32_t id = 0; id < size(); id++) {
      const char *what = "";
      EXPECT_TRUE(phnsw_slot_validate(&meta_, id, slot(id), &what)) << what << " of " << id;
      EXPECT_TRUE(!live(id) || phnsw_codec_validate(codec_, slot(id), &what)) << what << " of " << id;
      const std::vector<std::uint32_t> own = links(id, 0);
      std::copy(own.begin(), own.end(), all_links.begin() + std::size_t{id} * 2 * m_);
      counts[id] = static_cast<std::uint16_t>(own.size());
      alive[id] = live(id);
      live_nodes += live(id);
    }
    std::uint64_t reached = 0;
    std::uint32_t first = 0;
    EXPECT_EQ(phnsw_reach_count(all_links.data(), counts.data(), alive.data(), size(), 2 * m_, entry_, &reached, &first,
                                nullptr),
              PHNSW_OK);
    return live_nodes - reached;
  }

 private:
  phnsw_slot *mutable_slot(std::uint32_t id) {
    return reinterpret_cast<phnsw_slot *>(words_.data() + std::size_t{id} * slot_words_);
  }
  std::uint32_t capacity(std::uint32_t level) const { return level == 0 ? 2 * m_ : m_; }

  std::uint32_t draw_level(std::uint32_t id) const {
    phnsw::Rng rng(phnsw::mix64(id + 12345));
    return std::min<std::uint32_t>(static_cast<std::uint32_t>(-std::log(rng.unit()) / std::log(m_)), PHNSW_LEVEL_MAX);
  }

  static std::vector<std::uint32_t> nodes_of(const std::vector<phnsw_candidate> &candidates) {
    std::vector<std::uint32_t> ids;
    for (const phnsw_candidate &candidate : candidates) ids.push_back(candidate.id);
    return ids;
  }

  void score_and_offer(const std::vector<std::uint32_t> &ids) {
    std::vector<const phnsw_slot *> slots;
    std::vector<std::uint32_t> versions;
    std::vector<float> scores(ids.size());
    for (const std::uint32_t id : ids) {
      slots.push_back(slot(id));
      versions.push_back(slot(id)->version);
    }
    const auto n = static_cast<std::uint32_t>(ids.size());
    phnsw_query_score(query_, slots.data(), n, scores.data());
    EXPECT_EQ(phnsw_search_offer(search_, ids.data(), scores.data(), versions.data(), n, nullptr), PHNSW_OK);
  }

  void begin_level(const std::vector<std::uint32_t> &entries, std::uint32_t ef, bool keep_reserve) {
    EXPECT_EQ(phnsw_search_begin(search_, ef, size(), keep_reserve, nullptr), PHNSW_OK);
    score_and_offer(entries);
  }

  std::vector<phnsw_candidate> run_level(std::uint32_t level) {
    std::uint32_t node = 0;
    while (phnsw_search_pop(search_, &node)) {
      const std::vector<std::uint32_t> list = links(node, level);
      std::vector<std::uint32_t> fresh(list.size());
      std::uint32_t n = 0;
      EXPECT_EQ(
          phnsw_search_fresh(search_, list.data(), static_cast<std::uint32_t>(list.size()), fresh.data(), &n, nullptr),
          PHNSW_OK);
      fresh.resize(n);
      score_and_offer(fresh);
    }
    std::uint32_t n = 0;
    const phnsw_candidate *window = phnsw_search_window(search_, &n);
    return std::vector<phnsw_candidate>(window, window + n);
  }

  std::vector<phnsw_candidate> search_level(std::uint32_t level, const std::vector<std::uint32_t> &entries,
                                            std::uint32_t ef, bool keep_reserve) {
    begin_level(entries, ef, keep_reserve);
    return run_level(level);
  }

  bool join_duplicate(const std::vector<phnsw_candidate> &found, const phnsw_slot *fresh, std::uint32_t row) {
    for (const phnsw_candidate &candidate : found) {
      if (candidate.score > found[0].score) break;
      if (!live(candidate.id) || !phnsw_codec_equal(codec_, slot(candidate.id), fresh)) continue;
      further_rows_[candidate.id].push_back(row);
      entries_joined_ = candidate.id;
      return true;
    }
    return false;
  }

  std::vector<std::uint32_t> select_ids(const std::vector<std::uint32_t> &ids, const std::vector<float> &distances,
                                        std::uint32_t limit) const {
    std::vector<const phnsw_slot *> slots;
    for (const std::uint32_t id : ids) slots.push_back(slot(id));
    std::vector<std::uint16_t> chosen(limit);
    const std::uint32_t n = std::min<std::uint32_t>(static_cast<std::uint32_t>(ids.size()), PHNSW_SELECT_MAX);
    chosen.resize(phnsw_select(codec_, slots.data(), distances.data(), ids.data(), n, limit, chosen.data()));
    std::vector<std::uint32_t> result;
    for (const std::uint16_t index : chosen) result.push_back(ids[index]);
    return result;
  }

  std::vector<std::uint32_t> select_from(const std::vector<phnsw_candidate> &found, std::uint32_t limit) const {
    std::vector<std::uint32_t> ids;
    std::vector<float> distances;
    for (const phnsw_candidate &candidate : found) {
      if (!live(candidate.id)) continue;
      ids.push_back(candidate.id);
      distances.push_back(candidate.score);
    }
    return select_ids(ids, distances, limit);
  }

  void set_links(std::uint32_t id, std::uint32_t level, const std::vector<std::uint32_t> &list) {
    if (level > 0) {
      upper_[id][level - 1] = list;
      return;
    }
    std::copy(list.begin(), list.end(), phnsw_slot_links(mutable_slot(id), code_bytes_));
    mutable_slot(id)->count = static_cast<std::uint16_t>(list.size());
  }

  void add_backlink(std::uint32_t owner, std::uint32_t level, std::uint32_t fresh) {
    std::vector<std::uint32_t> list = links(owner, level);
    if (list.size() < capacity(level)) {
      list.push_back(fresh);
    } else {
      std::vector<float> from_owner;
      std::vector<float> from_fresh;
      for (const std::uint32_t id : list) {
        from_owner.push_back(phnsw_codec_distance(codec_, slot(owner), slot(id)));
        from_fresh.push_back(phnsw_codec_distance(codec_, slot(fresh), slot(id)));
      }
      const float distance = phnsw_codec_distance(codec_, slot(owner), slot(fresh));
      const std::uint32_t victim = phnsw::backlink_victim(distance, from_owner.data(), from_fresh.data(),
                                                          static_cast<std::uint32_t>(list.size()));
      if (victim == list.size()) return;
      list[victim] = fresh;
    }
    set_links(owner, level, list);
  }

  void repair(std::uint32_t id, std::uint32_t level) {
    std::vector<std::uint32_t> candidates;
    bool names_dead = false;
    const auto add = [&](std::uint32_t other) {
      if (other == id || !live(other) || slot(other)->level < level) return;
      if (std::find(candidates.begin(), candidates.end(), other) == candidates.end()) candidates.push_back(other);
    };
    for (const std::uint32_t other : links(id, level)) {
      if (live(other)) {
        add(other);
        continue;
      }
      names_dead = true;
      for (const std::uint32_t behind : links(other, level)) add(behind);
    }
    if (!names_dead) return;
    std::vector<float> distances;
    for (const std::uint32_t other : candidates) {
      distances.push_back(phnsw_codec_distance(codec_, slot(id), slot(other)));
    }
    set_links(id, level, select_ids(candidates, distances, capacity(level)));
  }

  std::uint32_t m_;
  std::uint32_t ef_construction_;
  std::uint32_t code_bytes_ = 0;
  std::uint32_t slot_words_ = 0;
  phnsw_codec *codec_ = nullptr;
  phnsw_query *query_ = nullptr;
  phnsw_search *search_ = nullptr;
  phnsw_meta meta_;
  std::vector<std::uint32_t> words_;                            // slots
  std::vector<std::vector<std::vector<std::uint32_t>>> upper_;  // node, level - 1, links
  std::vector<std::vector<std::uint32_t>> further_rows_;        // node, rows beyond the first
  std::vector<std::uint32_t> free_;
  std::uint32_t entry_ = PHNSW_NONE;
  std::uint32_t entry_level_ = 0;
  std::uint32_t entries_joined_ = PHNSW_NONE;
};

}  // namespace phnsw_test
