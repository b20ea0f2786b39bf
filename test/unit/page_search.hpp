// Searches of a built index's pages with the codec's own query, as a scan does.
#pragma once

#include "build_harness.hpp"
#include "coded.hpp"

namespace build_test {

class PageSearch {
 public:
  explicit PageSearch(const Index &index)
      : index_(index),
        codec_(phnsw::test::make_codec(index.meta().codec, index.centre().data())),
        query_(phnsw::test::make_query(codec_.get())) {
    phnsw_error error;
    EXPECT_EQ(phnsw_search_create(&search_, &error), PHNSW_OK);
  }
  PageSearch(const PageSearch &) = delete;
  PageSearch &operator=(const PageSearch &) = delete;
  ~PageSearch() { phnsw_search_destroy(search_); }

  // The rows (first owners) of what is found with ef candidates, nearest first.
  std::vector<std::size_t> find(const float *vector, std::uint32_t ef) {
    const phnsw_meta &meta = index_.meta();
    phnsw_query_set(query_.get(), vector, PHNSW_FOR_SEARCH);
    std::uint32_t entry = meta.entry, node, version = 0;
    float best = score(entry);
    for (std::uint32_t level = meta.entry_level; level > 0; level--) {
      for (bool moved = true; moved;) {
        moved = false;
        std::uint32_t record = index_.slot(entry)->upper;
        for (std::uint32_t k = 1; k < level; k++) record = index_.aux(record)->next;
        const std::uint32_t *links = reinterpret_cast<const std::uint32_t *>(index_.aux(record)->payload);
        for (std::uint32_t i = 0; i < index_.aux(record)->count; i++) {
          if (!(score(links[i]) < best)) continue;
          best = score(links[i]);
          entry = links[i];
          moved = true;
        }
      }
    }
    phnsw_error error;
    EXPECT_EQ(phnsw_search_begin(search_, ef, meta.nodes.limit, false, &error), PHNSW_OK);
    EXPECT_EQ(phnsw_search_offer(search_, &entry, &best, &version, 1, &error), PHNSW_OK);
    while (phnsw_search_pop(search_, &node)) {
      std::uint32_t fresh[PHNSW_LINKS_MAX], n;
      EXPECT_EQ(phnsw_search_fresh(search_, index_.links(node), index_.slot(node)->count, fresh, &n, &error), PHNSW_OK);
      for (std::uint32_t i = 0; i < n; i++) {
        best = score(fresh[i]);
        EXPECT_EQ(phnsw_search_offer(search_, &fresh[i], &best, &version, 1, &error), PHNSW_OK);
      }
    }
    std::uint32_t n;
    const phnsw_candidate *window = phnsw_search_window(search_, &n);
    std::vector<std::size_t> rows;
    for (std::uint32_t i = 0; i < n; i++) rows.push_back(row_of_tid(index_.slot(window[i].id)->tid));
    return rows;
  }

 private:
  [[nodiscard]] float score(std::uint32_t id) const {
    const phnsw_slot *slot = index_.slot(id);
    float value;
    phnsw_query_score(query_.get(), &slot, 1, &value);
    return value;
  }

  const Index &index_;
  phnsw::test::CodecHandle codec_;
  phnsw::test::QueryHandle query_;
  phnsw_search *search_ = nullptr;
};

}  // namespace build_test
