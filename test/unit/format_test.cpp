// Validation: structs that a build would write pass, every single broken field is named, and no bytes whatever trap
// (run under the sanitizers, the slot and record are heap blocks of exactly their size).
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "capi/phnsw_core.h"

namespace {

using phnsw::Rng;

constexpr std::uint64_t kBlocks = 1000;

phnsw_meta valid_meta(phnsw_metric metric = PHNSW_IP, std::uint32_t dims = 100, std::uint32_t m = 16) {
  phnsw_meta meta;
  std::memset(&meta, 0, sizeof meta);
  meta.magic = PHNSW_MAGIC;
  meta.format_version = PHNSW_FORMAT_VERSION;
  meta.codec.dims = dims;
  meta.codec.space_dims = dims + (metric == PHNSW_IP ? 1 : 0);
  meta.codec.code_dims = meta.codec.space_dims;
  meta.codec.metric = static_cast<std::uint16_t>(metric);
  meta.codec.bits = 8;
  meta.codec.max_norm = metric == PHNSW_IP ? 3.5f : 0.0f;
  meta.codec.m = m;
  meta.ef_construction = 64;
  meta.slot_bytes = phnsw_slot_bytes(meta.codec.code_dims, 8, m);
  meta.slots_per_page = PHNSW_PAGE_CONTENT / meta.slot_bytes;
  meta.aux_bytes = phnsw_aux_bytes(m);
  meta.aux_per_page = PHNSW_PAGE_CONTENT / meta.aux_bytes;
  meta.centre_block = 1;
  meta.centre_pages = 1;
  meta.nodes.extents = 2;
  meta.nodes.extent[0] = {0, 2, 100};
  meta.nodes.extent[1] = {100 * meta.slots_per_page, 110, 64};
  meta.nodes.limit = 105 * meta.slots_per_page;
  meta.aux.extents = 2;
  meta.aux.extent[0] = {0, 102, 8};
  meta.aux.extent[1] = {8 * meta.aux_per_page, 174, 16};
  meta.aux.limit = 9 * meta.aux_per_page;
  meta.entry = 42;
  meta.entry_level = 3;
  meta.aux_free = PHNSW_NONE;
  meta.built_nodes = 100 * meta.slots_per_page;
  meta.calibrations = 2;
  meta.calibration[0] = {20, 0.9f, 500.0f, 30.0f};
  meta.calibration[1] = {40, 0.97f, 900.0f, 50.0f};
  meta.stop[1] = {1.25f, 0.08f};  // the first line has none, as in indexes that are older than stops
  return meta;
}

std::string meta_fault(const phnsw_meta &meta, std::uint64_t blocks = kBlocks) {
  const char *what = "";
  const bool valid = phnsw_meta_validate(&meta, blocks, &what);
  EXPECT_EQ(valid, *what == '\0');
  return what;
}

TEST(Meta, WhatABuildWritesIsValid) {
  EXPECT_EQ(meta_fault(valid_meta()), "");
  EXPECT_EQ(meta_fault(valid_meta(PHNSW_L2)), "");
  EXPECT_EQ(meta_fault(valid_meta(PHNSW_COSINE, 768)), "");
  EXPECT_EQ(meta_fault(valid_meta(PHNSW_L2, 1, PHNSW_M_MAX)), "");
  phnsw_meta empty = valid_meta();
  empty.nodes.extents = empty.nodes.limit = empty.aux.extents = empty.aux.limit = 0;
  empty.entry = PHNSW_NONE;
  empty.entry_level = empty.built_nodes = empty.calibrations = empty.centre_block = empty.centre_pages = 0;
  EXPECT_EQ(meta_fault(empty, 1), "");
}

struct Break {
  const char *fault;
  std::function<void(phnsw_meta &)> apply;
};

TEST(Meta, EveryBrokenFieldIsNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Break breaks[] = {
      {"magic number", [](phnsw_meta &m) { m.magic++; }},
      {"format version", [](phnsw_meta &m) { m.format_version++; }},
      {"format version",
       [](phnsw_meta &m) {
         m.format_version = 0;
         m.codec.dims = 0;
       }},
      {"dimensions", [](phnsw_meta &m) { m.codec.dims = 0; }},
      {"dimensions", [](phnsw_meta &m) { m.codec.dims = PHNSW_DIMS_MAX + 1; }},
      {"metric", [](phnsw_meta &m) { m.codec.metric = 0; }},
      {"metric", [](phnsw_meta &m) { m.codec.metric = 4; }},
      {"dimensions of the space", [](phnsw_meta &m) { m.codec.metric = PHNSW_L2; }},
      {"dimensions of the code", [](phnsw_meta &m) { m.codec.code_dims = 0; }},
      {"dimensions of the code", [](phnsw_meta &m) { m.codec.code_dims++; }},
      {"bits of a coordinate", [](phnsw_meta &m) { m.codec.bits = 2; }},
      {"maximal norm", [nan](phnsw_meta &m) { m.codec.max_norm = nan; }},
      {"maximal norm", [](phnsw_meta &m) { m.codec.max_norm = -1; }},
      {"m", [](phnsw_meta &m) { m.codec.m = 1; }},
      {"m", [](phnsw_meta &m) { m.codec.m = 101; }},
      {"ef_construction", [](phnsw_meta &m) { m.ef_construction = 3; }},
      {"ef_construction", [](phnsw_meta &m) { m.ef_construction = 1001; }},
      {"bytes of a slot", [](phnsw_meta &m) { m.slot_bytes += 4; }},
      {"bytes of a slot", [](phnsw_meta &m) { m.slot_bytes = 0; }},
      {"slots of a page", [](phnsw_meta &m) { m.slots_per_page--; }},
      {"slots of a page", [](phnsw_meta &m) { m.slots_per_page = 0; }},
      {"bytes of an aux record", [](phnsw_meta &m) { m.aux_bytes--; }},
      {"aux records of a page", [](phnsw_meta &m) { m.aux_per_page++; }},
      {"pages of the centre", [](phnsw_meta &m) { m.centre_pages = 2; }},
      {"pages of the centre", [](phnsw_meta &m) { m.centre_block = 0; }},
      {"block of the centre", [](phnsw_meta &m) { m.centre_block = kBlocks; }},
      {"block of the centre", [](phnsw_meta &m) { m.centre_block = 0xFFFFFFFF; }},
      {"block of the centre", [](phnsw_meta &m) { m.centre_block = 101; }},
      {"block of the centre", [](phnsw_meta &m) { m.centre_block = 109; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extents = PHNSW_EXTENTS_MAX + 1; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extents = 1; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extent[0].first_id = 1; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extent[1].first_id++; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extent[1].first_id--; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extent[0].first_block = 0; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extent[0].first_block = 20; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extent[1].pages = 0; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extent[1].pages = 0xFFFFFFFF; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.extent[1].first_block = kBlocks - 4; }},
      {"extents of the nodes", [](phnsw_meta &m) { m.nodes.limit = 164 * m.slots_per_page + 1; }},
      {"extents of the aux records", [](phnsw_meta &m) { m.aux.limit = PHNSW_NONE; }},
      {"extents of the aux records", [](phnsw_meta &m) { m.aux.extent[1].first_block = 105; }},
      {"overlapping extents", [](phnsw_meta &m) { m.aux.extent[1].first_block = 173; }},
      {"overlapping extents",
       [](phnsw_meta &m) {
         m.aux.extent[0].pages = 9;
         m.aux.extent[1].first_id += m.aux_per_page;
       }},
      {"entry node", [](phnsw_meta &m) { m.entry = m.nodes.limit; }},
      {"entry level", [](phnsw_meta &m) { m.entry_level = PHNSW_LEVEL_MAX + 1; }},
      {"free aux record", [](phnsw_meta &m) { m.aux_free = m.aux.limit; }},
      {"built nodes", [](phnsw_meta &m) { m.built_nodes = m.nodes.limit + 1; }},
      {"calibrated nodes", [](phnsw_meta &m) { m.calibrated_nodes = m.nodes.limit + 1; }},
      {"number of calibrations", [](phnsw_meta &m) { m.calibrations = PHNSW_CALIBRATION_MAX + 1; }},
      {"ef of a calibration", [](phnsw_meta &m) { m.calibration[1].ef = 20; }},
      {"ef of a calibration", [](phnsw_meta &m) { m.calibration[1].ef = PHNSW_EF_MAX + 1; }},
      {"recall of a calibration", [nan](phnsw_meta &m) { m.calibration[0].recall = nan; }},
      {"recall of a calibration", [](phnsw_meta &m) { m.calibration[0].recall = 1.5f; }},
      {"touches of a calibration", [nan](phnsw_meta &m) { m.calibration[0].touches = nan; }},
      {"hops of a calibration", [](phnsw_meta &m) { m.calibration[1].hops = -1.0f; }},
      {"kind of calibration", [](phnsw_meta &m) { m.calibrated_by = 2; }},
      {"stop of a calibration", [](phnsw_meta &m) { m.stop[1].wider = 0.5f; }},
      {"stop of a calibration", [](phnsw_meta &m) { m.stop[1].wider = PHNSW_STOP_WIDER_MAX + 1; }},
      {"stop of a calibration", [nan](phnsw_meta &m) { m.stop[1].wider = nan; }},
      {"stop of a calibration", [](phnsw_meta &m) { m.stop[1].wider = 0; }},
      {"stop of a calibration", [](phnsw_meta &m) { m.stop[1].slack = 0; }},
      {"stop of a calibration", [](phnsw_meta &m) { m.stop[1].slack = -0.1f; }},
      {"stop of a calibration", [](phnsw_meta &m) { m.stop[1].slack = PHNSW_STOP_SLACK_MAX * 1.5f; }},
      {"stop of a calibration", [nan](phnsw_meta &m) { m.stop[0].slack = nan; }},
  };
  for (const Break &broken : breaks) {
    phnsw_meta meta = valid_meta();
    broken.apply(meta);
    EXPECT_EQ(meta_fault(meta), broken.fault) << (&broken - breaks);
  }
}

// What an extent reserves beyond the limit may lie beyond the end of the file; what holds ids may not.
TEST(Meta, OnlyPagesBelowTheLimitMustExist) {
  const phnsw_meta meta = valid_meta();
  EXPECT_EQ(meta_fault(meta, 175), "");
  EXPECT_EQ(meta_fault(meta, 174), "extents of the aux records");
  EXPECT_EQ(meta_fault(meta, 114), "extents of the nodes");
}

TEST(Meta, NoBytesTrapAndLocateStaysInsideWhatWasAccepted) {
  Rng rng(41);
  for (std::uint32_t round = 0; round < 20000; round++) {
    phnsw_meta meta = valid_meta();
    unsigned char *bytes = reinterpret_cast<unsigned char *>(&meta);
    if (round % 4 == 0) {
      for (std::size_t i = 8; i < sizeof meta; i++) bytes[i] = static_cast<unsigned char>(rng.next());
    } else {
      const std::uint64_t bit = rng.below(8 * (offsetof(phnsw_meta, nodes) + 64));
      bytes[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
      if (round % 4 == 2) meta.aux.extent[rng.below(2)].first_block = static_cast<std::uint32_t>(rng.below(300));
    }
    const char *what = nullptr;
    if (!phnsw_meta_validate(&meta, kBlocks, &what)) {
      ASSERT_NE(what, nullptr);
      continue;
    }
    for (std::uint32_t i = 0; i < 20 && meta.nodes.limit != 0; i++) {
      std::uint32_t index = 0;
      const std::uint32_t block = phnsw_locate(&meta.nodes, meta.slots_per_page, rng.below(meta.nodes.limit), &index);
      ASSERT_GT(block, 0u);
      ASSERT_LT(block, kBlocks);
      ASSERT_LT(index, meta.slots_per_page);
    }
  }
}

// A slot in a heap block of its own, so that a sanitizer sees every byte read beyond it.
struct Slot {
  explicit Slot(const phnsw_meta &meta) : words(meta.slot_bytes / 4, 0), meta_(meta) {
    phnsw_slot *slot = get();
    slot->tid.offset = 1;
    slot->state = PHNSW_SLOT_LIVE;
    slot->level = 1;
    slot->upper = 3;
    slot->tids = PHNSW_NONE;
    slot->count = 5;
    for (std::uint32_t i = 0; i < 2 * meta.codec.m; i++) links()[i] = 10 + i;
  }
  phnsw_slot *get() { return reinterpret_cast<phnsw_slot *>(words.data()); }
  std::uint32_t *links() { return phnsw_slot_links(get(), phnsw_code_bytes(meta_.codec.code_dims, meta_.codec.bits)); }
  std::string fault(std::uint32_t id = 7) {
    const char *what = "";
    const bool valid = phnsw_slot_validate(&meta_, id, get(), &what);
    EXPECT_EQ(valid, *what == '\0');
    return what;
  }
  std::vector<std::uint32_t> words;
  const phnsw_meta &meta_;
};

TEST(SlotBytes, EveryBrokenFieldIsNamed) {
  const phnsw_meta meta = valid_meta();
  EXPECT_EQ(Slot(meta).fault(), "");
  const auto broken = [&](auto &&apply) {
    Slot slot(meta);
    apply(slot, *slot.get());
    return slot.fault();
  };
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.count = 32; }), "");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) {
              s.state = PHNSW_SLOT_DEAD;
              s.tid.offset = 0;
            }),
            "");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) {
              s.level = 0;
              s.upper = PHNSW_NONE;
            }),
            "");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.state = 3; }), "state of a slot");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.tid.offset = 0; }), "heap TID of a live slot");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.tid = phnsw_tid{}; }), "heap TID of a live slot");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.tid = phnsw_tid_gone(); }), "");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) {
              s.tid.offset = 0;
              s.tids = 5;
            }),
            "");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.tid.offset = 0, s.tids = 3; }), "");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.level = 32; }), "level of a slot");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.level = 0; }), "upper links on level 0");
  EXPECT_EQ(broken([&](Slot &, phnsw_slot &s) { s.upper = meta.aux.limit; }), "reference to upper links");
  EXPECT_EQ(broken([&](Slot &, phnsw_slot &s) { s.tids = meta.aux.limit; }), "reference to heap TIDs");
  EXPECT_EQ(broken([](Slot &, phnsw_slot &s) { s.count = 33; }), "number of links");
  EXPECT_EQ(broken([&](Slot &s, phnsw_slot &) { s.links()[4] = meta.nodes.limit; }), "link beyond the nodes");
  EXPECT_EQ(broken([](Slot &s, phnsw_slot &) { s.links()[4] = 7; }), "link to itself");
  EXPECT_EQ(broken([](Slot &s, phnsw_slot &) { s.links()[4] = s.links()[0]; }), "repeated link");
  EXPECT_EQ(broken([](Slot &s, phnsw_slot &) { s.links()[5] = s.links()[0]; }), "");
}

TEST(SlotBytes, FreeSlotHasNoLinksAndNoTid) {
  const phnsw_meta meta = valid_meta();
  Slot slot(meta);
  slot.get()->state = PHNSW_SLOT_FREE;
  EXPECT_EQ(slot.fault(), "links of a free slot");
  slot.get()->count = 0;
  EXPECT_EQ(slot.fault(), "heap TID of a free slot");
  slot.get()->tid.offset = 0;
  EXPECT_EQ(slot.fault(), "");
  std::fill(slot.words.begin(), slot.words.end(), 0u);
  EXPECT_EQ(slot.fault(), "");
}

TEST(SlotBytes, NoBytesTrap) {
  Rng rng(42);
  for (const std::uint32_t m : {2u, 16u, 100u}) {
    const phnsw_meta meta = valid_meta(PHNSW_L2, 33, m);
    std::uint32_t accepted = 0;
    for (std::uint32_t round = 0; round < 20000; round++) {
      Slot slot(meta);
      unsigned char *bytes = reinterpret_cast<unsigned char *>(slot.words.data());
      if (m == 2) slot.get()->count = 4;
      if (round % 3 == 0) {
        for (std::uint32_t &word : slot.words) word = static_cast<std::uint32_t>(rng.next());
        if (round % 2 == 0) slot.get()->state = PHNSW_SLOT_LIVE;
      } else {
        const std::uint32_t bit = rng.below(8 * meta.slot_bytes);
        bytes[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
      }
      accepted += slot.fault() == "";
    }
    EXPECT_GT(accepted, 0u);
    EXPECT_LT(accepted, 15000u);
  }
}

struct Aux {
  Aux(const phnsw_meta &meta, phnsw_aux_kind kind) : words(meta.aux_bytes / 4, 0), meta_(meta) {
    phnsw_aux *aux = get();
    aux->node = 7;
    aux->next = PHNSW_NONE;
    aux->kind = static_cast<std::uint8_t>(kind);
    aux->level = kind == PHNSW_AUX_UPPER ? 1 : 0;
    aux->count = kind == PHNSW_AUX_FREE ? 0 : 5;
    if (kind == PHNSW_AUX_UPPER) {
      for (std::uint32_t i = 0; i < meta.codec.m; i++) words[4 + i] = 10 + i;
    } else {
      for (std::uint32_t i = 0; i < phnsw_aux_tids_max(meta.codec.m); i++) tids()[i].offset = 1;
    }
  }
  phnsw_aux *get() { return reinterpret_cast<phnsw_aux *>(words.data()); }
  phnsw_tid *tids() { return reinterpret_cast<phnsw_tid *>(words.data() + 4); }
  std::string fault() {
    const char *what = "";
    const bool valid = phnsw_aux_validate(&meta_, get(), &what);
    EXPECT_EQ(valid, *what == '\0');
    return what;
  }
  std::vector<std::uint32_t> words;
  const phnsw_meta &meta_;
};

TEST(AuxBytes, EveryBrokenFieldIsNamed) {
  const phnsw_meta meta = valid_meta();
  const auto broken = [&](phnsw_aux_kind kind, auto &&apply) {
    Aux aux(meta, kind);
    apply(aux, *aux.get());
    return aux.fault();
  };
  const auto nothing = [](Aux &, phnsw_aux &) {};
  EXPECT_EQ(broken(PHNSW_AUX_FREE, nothing), "");
  EXPECT_EQ(broken(PHNSW_AUX_UPPER, nothing), "");
  EXPECT_EQ(broken(PHNSW_AUX_TIDS, nothing), "");
  EXPECT_EQ(broken(PHNSW_AUX_UPPER, [](Aux &, phnsw_aux &a) { a.kind = 3; }), "kind of an aux record");
  EXPECT_EQ(broken(PHNSW_AUX_FREE, [](Aux &, phnsw_aux &a) { a.count = 1; }), "count of a free aux record");
  for (const phnsw_aux_kind kind : {PHNSW_AUX_UPPER, PHNSW_AUX_TIDS}) {
    EXPECT_EQ(broken(kind, [&](Aux &, phnsw_aux &a) { a.next = meta.aux.limit; }), "next aux record");
    EXPECT_EQ(broken(kind, [&](Aux &, phnsw_aux &a) { a.node = meta.nodes.limit; }), "node of an aux record");
  }
  EXPECT_EQ(broken(PHNSW_AUX_UPPER, [](Aux &, phnsw_aux &a) { a.level = 0; }), "level of an aux record");
  EXPECT_EQ(broken(PHNSW_AUX_UPPER, [](Aux &, phnsw_aux &a) { a.count = 17; }), "number of upper links");
  EXPECT_EQ(broken(PHNSW_AUX_UPPER, [](Aux &x, phnsw_aux &) { x.words[4] = 7; }), "link to itself");
  EXPECT_EQ(broken(PHNSW_AUX_UPPER, [](Aux &x, phnsw_aux &) { x.words[8] = x.words[4]; }), "repeated link");
  EXPECT_EQ(broken(PHNSW_AUX_UPPER, [&](Aux &x, phnsw_aux &) { x.words[8] = meta.nodes.limit; }),
            "link beyond the nodes");
  EXPECT_EQ(broken(PHNSW_AUX_TIDS, [](Aux &, phnsw_aux &a) { a.count = 11; }), "number of heap TIDs");
  EXPECT_EQ(broken(PHNSW_AUX_TIDS, [](Aux &x, phnsw_aux &) { x.tids()[4].offset = 0; }), "heap TID of an aux record");
}

TEST(AuxBytes, RecordTakenButNotUsedHasNoNode) {
  const phnsw_meta meta = valid_meta();
  for (const phnsw_aux_kind kind : {PHNSW_AUX_UPPER, PHNSW_AUX_TIDS}) {
    Aux aux(meta, kind);
    aux.get()->node = PHNSW_NONE;
    aux.get()->level = 0;
    EXPECT_NE(aux.fault(), "");
    aux.get()->count = 0;
    EXPECT_EQ(aux.fault(), "");
  }
}

TEST(AuxBytes, NoBytesTrap) {
  Rng rng(43);
  for (const std::uint32_t m : {2u, 16u, 100u}) {
    const phnsw_meta meta = valid_meta(PHNSW_L2, 33, m);
    for (std::uint32_t round = 0; round < 20000; round++) {
      Aux aux(meta, round % 2 == 0 ? PHNSW_AUX_UPPER : PHNSW_AUX_TIDS);
      unsigned char *bytes = reinterpret_cast<unsigned char *>(aux.words.data());
      if (round % 3 == 0) {
        for (std::uint32_t &word : aux.words) word = static_cast<std::uint32_t>(rng.next());
        aux.get()->next = PHNSW_NONE;
        aux.get()->kind = static_cast<std::uint8_t>(rng.below(3));
      } else {
        const std::uint32_t bit = rng.below(8 * meta.aux_bytes);
        bytes[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
      }
      aux.fault();
    }
  }
}

// Two components, a waypoint that is not live, links beyond the end.
TEST(Reach, CountsLiveNodesAndNamesTheFirstMissing) {
  const std::uint32_t links[] = {1, 9, 2, 0, 0, 0, 4, 0, 3, 0};
  const std::uint16_t counts[] = {2, 1, 1, 1, 1};
  const std::uint8_t live[] = {1, 0, 1, 1, 1};
  std::uint64_t reached = 0;
  std::uint32_t first = 0;
  ASSERT_EQ(phnsw_reach_count(links, counts, live, 5, 2, 0, &reached, &first, nullptr), PHNSW_OK);
  EXPECT_EQ(reached, 2u);
  EXPECT_EQ(first, 3u);
  ASSERT_EQ(phnsw_reach_count(links, counts, live, 3, 2, 0, &reached, &first, nullptr), PHNSW_OK);
  EXPECT_EQ(reached, 2u);
  EXPECT_EQ(first, PHNSW_NONE);
  ASSERT_EQ(phnsw_reach_count(links, counts, live, 5, 2, PHNSW_NONE, &reached, &first, nullptr), PHNSW_OK);
  EXPECT_EQ(reached, 0u);
  EXPECT_EQ(first, 0u);
  ASSERT_EQ(phnsw_reach_count(nullptr, nullptr, nullptr, 0, 2, PHNSW_NONE, &reached, &first, nullptr), PHNSW_OK);
  EXPECT_EQ(first, PHNSW_NONE);
  EXPECT_EQ(phnsw_reach_count(links, counts, live, 5, 1, 0, &reached, &first, nullptr), PHNSW_BAD_ARGUMENT);
}

}  // namespace
