// Harness of the bulk build's tests: synthetic rows, a backend's side of the C interface (with a spill
// file), the index as page images, and a validation of every page.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "capi/phnsw_core.h"

namespace build_test {

struct Dataset {
  std::uint32_t dims = 0;
  std::vector<float> values;
  [[nodiscard]] std::size_t rows() const { return values.size() / dims; }
  [[nodiscard]] const float *row(std::size_t i) const { return values.data() + i * dims; }
};

// Gaussian clusters of low intrinsic dimension.
inline Dataset clustered(std::size_t rows, std::uint32_t dims, unsigned seed, std::uint32_t clusters = 40) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  constexpr std::uint32_t kInner = 8;
  std::vector<float> centres(std::size_t{clusters} * dims), axes(std::size_t{clusters} * kInner * dims);
  for (float &x : centres) x = normal(random);
  for (float &x : axes) x = normal(random);
  Dataset data{dims, std::vector<float>(rows * dims)};
  for (std::size_t i = 0; i < rows; i++) {
    const std::uint32_t c = static_cast<std::uint32_t>(random() % clusters);
    float inner[kInner];
    for (float &x : inner) x = 0.3f * normal(random);
    for (std::uint32_t j = 0; j < dims; j++) {
      float x = centres[std::size_t{c} * dims + j] + 0.1f * normal(random);
      for (std::uint32_t k = 0; k < kInner; k++) x += inner[k] * axes[(std::size_t{c} * kInner + k) * dims + j];
      data.values[i * dims + j] = x;
    }
  }
  return data;
}

inline phnsw_tid tid_of_row(std::size_t row) {
  return {static_cast<std::uint16_t>(row >> 24), static_cast<std::uint16_t>(row >> 8),
          static_cast<std::uint16_t>((row & 255) + 1)};
}
inline std::size_t row_of_tid(phnsw_tid tid) {
  return (std::size_t{tid.block_hi} << 24) + (std::size_t{tid.block_lo} << 8) + tid.offset - 1u;
}

inline phnsw_build_params default_params(const Dataset &data) {
  phnsw_build_params params{};
  params.metric = PHNSW_L2;
  params.dims = data.dims;
  params.m = 16;
  params.ef_construction = 64;
  params.seed = 20260101;
  params.build_id = 7;
  params.threads = 2;
  params.rows_expected = static_cast<std::uint32_t>(data.rows());
  params.memory_bytes = std::size_t{1} << 30;
  params.calibrate = false;
  return params;
}

struct Index {
  phnsw_build_result result{};
  std::vector<std::uint8_t> pages;
  std::uint64_t spill_bytes = 0;

  [[nodiscard]] const phnsw_meta &meta() const { return result.meta; }
  [[nodiscard]] const std::uint8_t *content(std::uint32_t block) const {
    return pages.data() + std::size_t{block} * PHNSW_PAGE_BYTES + PHNSW_PAGE_HEADER;
  }
  [[nodiscard]] phnsw_opaque opaque(std::uint32_t block) const {
    phnsw_opaque opaque;
    std::memcpy(&opaque, pages.data() + (std::size_t{block} + 1) * PHNSW_PAGE_BYTES - sizeof opaque, sizeof opaque);
    return opaque;
  }
  [[nodiscard]] const phnsw_slot *slot(std::uint32_t id) const {
    std::uint32_t index;
    const std::uint32_t block = phnsw_locate(&meta().nodes, meta().slots_per_page, id, &index);
    return reinterpret_cast<const phnsw_slot *>(content(block) + std::size_t{index} * meta().slot_bytes);
  }
  [[nodiscard]] const phnsw_aux *aux(std::uint32_t id) const {
    std::uint32_t index;
    const std::uint32_t block = phnsw_locate(&meta().aux, meta().aux_per_page, id, &index);
    return reinterpret_cast<const phnsw_aux *>(content(block) + std::size_t{index} * meta().aux_bytes);
  }
  [[nodiscard]] const std::uint32_t *links(std::uint32_t id) const {
    return phnsw_slot_links_const(slot(id), phnsw_code_bytes(meta().codec.code_dims, meta().codec.bits));
  }
  [[nodiscard]] std::vector<float> centre() const {
    std::vector<float> centre(meta().codec.space_dims);
    for (std::size_t i = 0; i < centre.size() && meta().centre_pages != 0; i++) {
      const std::uint32_t block = meta().centre_block + static_cast<std::uint32_t>(i / PHNSW_CENTRE_FLOATS);
      std::memcpy(&centre[i], content(block) + i % PHNSW_CENTRE_FLOATS * sizeof(float), sizeof(float));
    }
    return centre;
  }
};

// The backend's side of one build.
class Driver {
 public:
  explicit Driver(const phnsw_build_params &params) {
    status = phnsw_build_create(&params, &build, &error);
    if (status == PHNSW_OK) status = phnsw_build_start(build, &error);
  }
  Driver(const Driver &) = delete;
  Driver &operator=(const Driver &) = delete;
  ~Driver() {
    phnsw_build_destroy(build);
    if (file != nullptr) std::fclose(file);
  }

  // Extends the spill file when the arena wants more.
  void serve_spill() {
    if (progress.spill_bytes <= spill_bytes) return;
    if (file == nullptr) file = std::tmpfile();
    ASSERT_NE(file, nullptr);
    const std::vector<char> zeros(1 << 20);
    for (std::uint64_t at = spill_bytes; at < progress.spill_bytes; at += zeros.size()) {
      ASSERT_EQ(pwrite(fileno(file), zeros.data(), zeros.size(), static_cast<off_t>(at)),
                static_cast<ssize_t>(zeros.size()));
    }
    spill_bytes = progress.spill_bytes;
    ASSERT_EQ(phnsw_build_map_spill(build, fileno(file), spill_bytes, &error), PHNSW_OK);
  }

  // Hands all rows over, at most chunk_rows at a time.
  void feed(const Dataset &data, std::uint32_t chunk_rows = ~0u) {
    std::size_t at = 0;
    while (status == PHNSW_OK && at < data.rows()) {
      float *vectors;
      phnsw_tid *tids;
      std::uint32_t rows;
      status = phnsw_build_chunk(build, &vectors, &tids, &rows, &error);
      if (status == PHNSW_RUNNING) {
        status = phnsw_build_wait(build, 50, &progress, &error);
        if (status != PHNSW_RUNNING) return;
        status = PHNSW_OK;
        serve_spill();
        continue;
      }
      if (status != PHNSW_OK) return;
      rows = static_cast<std::uint32_t>(std::min<std::size_t>(std::min(rows, chunk_rows), data.rows() - at));
      std::memcpy(vectors, data.row(at), std::size_t{rows} * data.dims * sizeof(float));
      for (std::uint32_t i = 0; i < rows; i++) tids[i] = tid_of_row(at + i);
      status = phnsw_build_submit(build, rows, &error);
      at += rows;
    }
    if (status == PHNSW_OK) status = phnsw_build_finish_rows(build, &error);
  }

  // Until the graph is complete or the build failed.
  void wait() {
    while (status == PHNSW_OK) {
      status = phnsw_build_wait(build, 20, &progress, &error);
      if (status != PHNSW_RUNNING) return;
      status = PHNSW_OK;
      serve_spill();
    }
  }

  // All pages, in requests of `batch` blocks.
  void format(Index *index, std::uint32_t batch = 64) {
    if (status == PHNSW_OK) status = phnsw_build_result_get(build, &index->result, &error);
    if (status != PHNSW_OK) return;
    index->pages.resize(std::size_t{index->result.total_blocks} * PHNSW_PAGE_BYTES);
    for (std::uint32_t at = 0; at < index->result.total_blocks && status == PHNSW_OK; at += batch) {
      const std::uint32_t n = std::min(batch, index->result.total_blocks - at);
      status = phnsw_build_format_begin(build, at, n, index->pages.data() + std::size_t{at} * PHNSW_PAGE_BYTES, &error);
      while (status == PHNSW_OK && (status = phnsw_build_format_wait(build, 20, &error)) == PHNSW_RUNNING)
        status = PHNSW_OK;
    }
    index->spill_bytes = spill_bytes;
  }

  phnsw_build *build = nullptr;
  phnsw_status status = PHNSW_OK;
  phnsw_error error{};
  phnsw_progress progress{};
  std::uint64_t spill_bytes = 0;
  std::FILE *file = nullptr;
};

inline Index build_index(const Dataset &data, const phnsw_build_params &params, std::uint32_t chunk_rows = ~0u) {
  Driver driver(params);
  driver.feed(data, chunk_rows);
  driver.wait();
  Index index;
  driver.format(&index);
  EXPECT_EQ(driver.status, PHNSW_OK) << driver.error.message;
  return index;
}

// Every page, slot, code, record and chain; that level 0 is reachable; that each indexed row stands there exactly once.
inline void validate(const Index &index, std::size_t rows) {
  const phnsw_meta &meta = index.meta();
  const char *what = "";
  ASSERT_TRUE(phnsw_meta_validate(&meta, index.result.total_blocks, &what)) << what;
  ASSERT_EQ(std::memcmp(&meta, index.content(0), sizeof meta), 0);
  const std::vector<float> centre = index.centre();
  phnsw_codec *codec = nullptr;
  phnsw_error error;
  ASSERT_EQ(phnsw_codec_create(&meta.codec, meta.centre_pages != 0 ? centre.data() : nullptr, &codec, &error),
            PHNSW_OK);
  for (std::uint32_t block = 0; block < index.result.total_blocks; block++) {
    ASSERT_EQ(index.opaque(block).page_id, PHNSW_PAGE_ID) << block;
    for (int i = 0; i < PHNSW_PAGE_HEADER; i++) ASSERT_EQ(index.pages[std::size_t{block} * PHNSW_PAGE_BYTES + i], 0);
  }
  std::vector<int> seen(rows);
  const std::uint32_t n = index.result.nodes;
  std::vector<std::uint32_t> links(std::size_t{n} * 2 * meta.codec.m);
  std::vector<std::uint16_t> counts(n);
  std::vector<std::uint8_t> live(n, 1);
  std::uint32_t records = 0;
  for (std::uint32_t id = 0; id < meta.nodes.limit; id++) {
    const phnsw_slot *slot = index.slot(id);
    ASSERT_TRUE(phnsw_slot_validate(&meta, id, slot, &what)) << id << " " << what;
    ASSERT_EQ(slot->state, id < n ? PHNSW_SLOT_LIVE : PHNSW_SLOT_FREE);
    if (id >= n) continue;
    ASSERT_TRUE(phnsw_codec_validate(codec, slot, &what)) << id << " " << what;
    ASSERT_LE(slot->count, 2 * meta.codec.m);
    counts[id] = slot->count;
    for (std::uint32_t i = 0; i < slot->count; i++) {
      const std::uint32_t link = index.links(id)[i];
      ASSERT_LT(link, n);
      ASSERT_NE(link, id);
      for (std::uint32_t k = 0; k < i; k++) ASSERT_NE(link, index.links(id)[k]);
      links[std::size_t{id} * 2 * meta.codec.m + i] = link;
    }
    ASSERT_LT(row_of_tid(slot->tid), rows);
    seen[row_of_tid(slot->tid)]++;
    ASSERT_EQ(slot->upper == PHNSW_NONE, slot->level == 0);
    std::uint32_t record = slot->upper;
    for (std::uint32_t level = 1; level <= slot->level; level++) {
      ASSERT_LT(record, meta.aux.limit);
      const phnsw_aux *aux = index.aux(record);
      ASSERT_TRUE(phnsw_aux_validate(&meta, aux, &what)) << what;
      ASSERT_EQ(aux->kind, PHNSW_AUX_UPPER);
      ASSERT_EQ(aux->level, level);
      ASSERT_EQ(aux->node, id);
      const std::uint32_t *upper = reinterpret_cast<const std::uint32_t *>(aux->payload);
      for (std::uint32_t i = 0; i < aux->count; i++) ASSERT_GE(index.slot(upper[i])->level, level);
      record = aux->next;
      records++;
    }
    ASSERT_EQ(slot->level == 0 ? PHNSW_NONE : record, PHNSW_NONE);
    for (record = slot->tids; record != PHNSW_NONE; record = index.aux(record)->next) {
      const phnsw_aux *aux = index.aux(record);
      ASSERT_TRUE(phnsw_aux_validate(&meta, aux, &what)) << what;
      ASSERT_EQ(aux->kind, PHNSW_AUX_TIDS);
      ASSERT_EQ(aux->node, id);
      for (std::uint32_t i = 0; i < aux->count; i++) {
        phnsw_tid tid;
        std::memcpy(&tid, aux->payload + i * sizeof tid, sizeof tid);
        ASSERT_LT(row_of_tid(tid), rows);
        seen[row_of_tid(tid)]++;
      }
      records++;
    }
  }
  std::uint32_t free_records = 0;
  for (std::uint32_t record = meta.aux_free; record != PHNSW_NONE; record = index.aux(record)->next) {
    ASSERT_TRUE(phnsw_aux_validate(&meta, index.aux(record), &what)) << what;
    ASSERT_EQ(index.aux(record)->kind, PHNSW_AUX_FREE);
    free_records++;
  }
  ASSERT_EQ(records + free_records, meta.aux.limit);
  std::uint64_t found = 0;
  for (std::size_t row = 0; row < rows; row++) ASSERT_LE(seen[row], 1) << row;
  for (const int times : seen) found += static_cast<std::uint64_t>(times);
  ASSERT_EQ(found, index.result.tids);
  ASSERT_EQ(found + index.result.skipped, rows);
  if (n != 0) {
    ASSERT_LT(meta.entry, n);
    ASSERT_EQ(index.slot(meta.entry)->level, meta.entry_level);
    std::uint64_t reached = 0;
    std::uint32_t unreached = 0;
    ASSERT_EQ(phnsw_reach_count(links.data(), counts.data(), live.data(), n, 2 * meta.codec.m, meta.entry, &reached,
                                &unreached, &error),
              PHNSW_OK);
    ASSERT_EQ(reached, n) << "first unreached node " << unreached;
  } else {
    ASSERT_EQ(meta.entry, PHNSW_NONE);
  }
  phnsw_codec_destroy(codec);
}

}  // namespace build_test
