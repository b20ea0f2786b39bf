// The merge through its C interface: rows into an index that was built of others.
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "merge_harness.hpp"
#include "threads.hpp"

namespace {

using namespace merge_test;
using build_test::clustered;
using build_test::default_params;

std::vector<std::uint32_t> some(std::uint32_t begin, std::uint32_t end, std::uint32_t n) {
  std::vector<std::uint32_t> ids;
  for (std::uint32_t i = 0; i < n; i++)
    ids.push_back(begin + static_cast<std::uint32_t>(std::uint64_t{end - begin} * i / n));
  return ids;
}

// New and old rows are found as if all had been built together, whatever the share of the new ones.
TEST(Merge, Recall) {
  const Dataset data = clustered(12000, 24, 1);
  Slots built(data, 12000, default_params(data));
  const double reference = built.recall(some(0, 12000, 150), 40);
  for (const std::size_t old : {300u, 2000u, 6000u, 11500u}) {
    SCOPED_TRACE(old);
    Slots slots(data, old, default_params(data));
    const std::uint32_t first = slots.n;
    const Outcome outcome = merge_rows(slots, data, old, 12000);
    ASSERT_EQ(outcome.places, 12000 - old);
    ASSERT_NO_FATAL_FAILURE(validate(slots, first));
    EXPECT_EQ(slots.unreached(), 0u);
    EXPECT_GT(slots.recall(some(first, slots.n, 150), 40), reference - 0.015);
    EXPECT_GT(slots.recall(some(0, static_cast<std::uint32_t>(old), 150), 40), reference - 0.015);
  }
}

// A few rows at a time, each merge on what the one before left.
TEST(Merge, ManySmallOnes) {
  const Dataset data = clustered(6000, 16, 2);
  Slots built(data, 6000, default_params(data));
  Slots slots(data, 2000, default_params(data));
  const std::uint32_t first = slots.n;
  for (std::size_t at = 2000; at < 6000; at += 100) merge_rows(slots, data, at, at + 100);
  ASSERT_NO_FATAL_FAILURE(validate(slots, first));
  EXPECT_EQ(slots.unreached(), 0u);
  EXPECT_GT(slots.recall(some(0, 2000, 100), 40), built.recall(some(0, 2000, 100), 40) - 0.02);
  EXPECT_GT(slots.recall(some(first, slots.n, 100), 40), built.recall(some(2000, 6000, 100), 40) - 0.02);
}

// Rows so few that there is no walk: nothing is out of reach, though whole
// clusters of new ones come, and half of the nodes go.
TEST(Merge, FewRowsWithoutAWalk) {
  Dataset data = clustered(9000, 16, 12);
  const Dataset other = clustered(600, 16, 98, 4);
  data.values.insert(data.values.end(), other.values.begin(), other.values.end());
  for (std::size_t i = 9000 * 16; i < data.values.size(); i++) data.values[i] = 2.0f * data.values[i] + 8.0f;
  Slots slots(data, 8000, default_params(data));
  const std::uint32_t first = slots.n;
  for (std::size_t at = 8000; at < 9600; at += 40) merge_rows(slots, data, at, at + 40);
  ASSERT_NO_FATAL_FAILURE(validate(slots, first));
  EXPECT_EQ(slots.unreached(), 0u);
  EXPECT_GT(slots.recall(some(first, slots.n, 100), 40), 0.9);
}

// A copy of the nodes that goes from merge to merge, and is loaded where pages or lists have changed, gives what a
// new one gives; also when its memory has been given back between two.
TEST(Merge, KeptNodes) {
  const Dataset data = clustered(5000, 24, 13);
  Slots fresh(data, 3000, default_params(data)), mended(data, 3000, default_params(data));
  Kept kept(mended, 5000);
  for (std::size_t at = 3000, round = 0; at < 5000; at += 50, round++) {
    // Others' changes: a node dies, one is freed, one is another, a list names
    // a node that came after the limit was read.
    for (Slots *slots : {&fresh, &mended}) {
      const std::uint32_t id = static_cast<std::uint32_t>(31 * round + 7);
      slots->slot(id)->state = PHNSW_SLOT_DEAD;
      slots->slot(id + 1)->state = PHNSW_SLOT_FREE;
      slots->slot(id + 1)->count = 0;
      slots->slot(id + 1)->version++;
      if (round >= 3) {
        std::memcpy(slots->slot(id - 92), slots->slot(id + 5), slots->meta.slot_bytes);
        slots->slot(id - 92)->version = static_cast<std::uint32_t>(round);
      }
      if (round % 4 == 0) slots->links(id + 3)[0] = slots->n + 20;
    }
    if (round % 7 == 6) {
      phnsw_merge_nodes_discard(kept.nodes);
      kept.pages.clear();
    }
    merge_rows(fresh, data, at, at + 50);
    merge_rows(mended, data, at, at + 50, 2, &kept);
    ASSERT_EQ(fresh.bytes, mended.bytes) << round;
  }
  EXPECT_GT(kept.spared, 40u);
}

// A temporary file of zeros, gone with its last user.
class ZeroFile {
 public:
  explicit ZeroFile(std::uint64_t bytes) : file_(std::tmpfile()) {
    EXPECT_EQ(ftruncate(fileno(file_), static_cast<off_t>(bytes)), 0);
  }
  ZeroFile(const ZeroFile &) = delete;
  ZeroFile &operator=(const ZeroFile &) = delete;
  ~ZeroFile() { std::fclose(file_); }
  [[nodiscard]] int fd() const { return fileno(file_); }
  [[nodiscard]] bool is_used() const {
    char byte = 0;
    bool used = false;
    for (off_t at = 0; !used && pread(fileno(file_), &byte, 1, at) == 1; at += 7) used = byte != 0;
    return used;
  }

 private:
  std::FILE *file_;
};

// Nodes in a file, or partly, give what they give in memory; a file that is too small is out of memory.
TEST(Merge, NodesInAFile) {
  const Dataset data = clustered(30000, 90, 14);
  Slots slots(data, 24000, default_params(data));
  const Slots built(data, 24000, default_params(data));
  merge_rows(slots, data, 24000, 30000);
  const std::vector<std::uint8_t> expected = slots.bytes;
  const phnsw_codec_params &codec = built.meta.codec;
  EXPECT_EQ(phnsw_merge_file_bytes(&codec, built.n, 6000, 1u << 30), 0u);
  for (const std::uint64_t memory_bytes : {0u, 5u << 20, 9u << 20}) {
    SCOPED_TRACE(memory_bytes);
    const std::uint64_t bytes = phnsw_merge_file_bytes(&codec, built.n, 6000, memory_bytes);
    EXPECT_GT(bytes + memory_bytes, phnsw_merge_mapped_memory(&codec, built.n));
    const ZeroFile file(bytes);
    slots.n = built.n;
    slots.bytes = built.bytes;
    phnsw_merge *merge = nullptr;
    phnsw_error error{};
    Outcome outcome;
    ASSERT_EQ(compute(slots, data, 24000, 30000, 2, &merge, &error, nullptr, {bytes, memory_bytes, file.fd()}),
              PHNSW_OK)
        << error.message;
    write(slots, merge, 24000, &outcome);
    phnsw_merge_destroy(merge);
    EXPECT_EQ(slots.bytes, expected);
    EXPECT_TRUE(file.is_used());

    merge = nullptr;
    ASSERT_EQ(compute(slots, data, 24000, 30000, 2, &merge, &error, nullptr, {2u << 20, 0, file.fd()}),
              PHNSW_OUT_OF_MEMORY);
    phnsw_merge_destroy(merge);
  }
}

// The same copy in a file that grows with the index, given back at the end.
TEST(Merge, KeptNodesInAFile) {
  const Dataset data = clustered(8600, 512, 17);
  Slots fresh(data, 5000, default_params(data)), mended(data, 5000, default_params(data));
  const phnsw_codec_params &codec = fresh.meta.codec;
  const std::uint64_t most = phnsw_merge_file_bytes(&codec, 8600, 600, 0);
  const ZeroFile file(most);
  std::size_t spared = 0;
  for (const std::uint64_t memory_bytes : {0u, 4u << 20}) {
    SCOPED_TRACE(memory_bytes);
    const std::size_t rows = memory_bytes == 0 ? 600 : 250;
    std::uint64_t bytes = phnsw_merge_file_bytes(&codec, fresh.n, static_cast<std::uint32_t>(rows), memory_bytes);
    Kept kept(mended, 5600, {bytes, memory_bytes, file.fd()});
    ASSERT_LT(bytes, most);
    for (int round = 0; round < 3; round++) {
      const std::size_t at = fresh.n;
      bytes = phnsw_merge_file_bytes(&codec, fresh.n, static_cast<std::uint32_t>(rows), memory_bytes);
      phnsw_merge_nodes_file(kept.nodes, bytes, file.fd());
      merge_rows(fresh, data, at, at + rows);
      merge_rows(mended, data, at, at + rows, 2, &kept);
      ASSERT_EQ(fresh.bytes, mended.bytes) << round;
    }
    spared += kept.spared;
    EXPECT_TRUE(file.is_used());
    phnsw_merge_nodes_discard(kept.nodes);
    EXPECT_FALSE(file.is_used());
  }
  EXPECT_GT(spared, 0u);
}

// New rows in clusters of their own, far from everything: they can be reached, and the old ones still.
TEST(Merge, NewClusters) {
  Dataset data = clustered(3000, 16, 3, 10);
  const Dataset other = clustered(1500, 16, 99, 25);
  data.values.insert(data.values.end(), other.values.begin(), other.values.end());
  for (std::size_t i = 3000 * 16; i < data.values.size(); i++) data.values[i] = 3.0f * data.values[i] + 20.0f;
  Slots slots(data, 3000, default_params(data));
  const std::uint32_t first = slots.n;
  merge_rows(slots, data, 3000, 4500);
  ASSERT_NO_FATAL_FAILURE(validate(slots, first));
  EXPECT_EQ(slots.unreached(), 0u);
  EXPECT_GT(slots.recall(some(first, slots.n, 100), 40), 0.95);
  EXPECT_GT(slots.recall(some(0, 3000, 100), 40), 0.95);
}

TEST(Merge, SmallSizes) {
  const Dataset data = clustered(3000, 8, 4);
  for (const std::size_t old : {1u, 2u, 40u, 1000u}) {
    for (const std::size_t fresh : {1u, 2u, 33u, 600u, 2000u}) {
      SCOPED_TRACE(std::to_string(old) + " + " + std::to_string(fresh));
      Slots slots(data, old, default_params(data));
      const std::uint32_t first = slots.n;
      const Outcome outcome = merge_rows(slots, data, old, old + fresh);
      ASSERT_EQ(outcome.places, fresh);
      ASSERT_NO_FATAL_FAILURE(validate(slots, first));
      EXPECT_EQ(slots.unreached(), 0u);
    }
  }
}

TEST(Merge, DimensionsMetricsAndM) {
  for (const std::uint32_t dims : {1u, 2u, 13u, 300u, 7900u, 16000u}) {
    for (const phnsw_metric metric : {PHNSW_L2, PHNSW_IP, PHNSW_COSINE}) {
      const std::size_t rows = dims < 100 ? 800 : dims < 1000 ? 300 : 40;
      SCOPED_TRACE(dims);
      const Dataset data = clustered(rows, dims, dims, 5);
      phnsw_build_params params = default_params(data);
      params.metric = metric;
      params.m = dims == 13 ? 100 : dims == 300 ? 2 : 16;
      params.ef_construction = dims == 13 ? 1000 : dims == 2 ? 4 : 64;
      Slots slots(data, rows / 2, params);
      const std::uint32_t first = slots.n;
      merge_rows(slots, data, rows / 2, rows);
      ASSERT_NO_FATAL_FAILURE(validate(slots, first));
      EXPECT_EQ(slots.unreached(), 0u);
    }
  }
}

TEST(Merge, IsDeterministic) {
  const Dataset data = clustered(6000, 24, 5);
  // So few that all meet each other, fewer than searches run side by side, and more.
  for (const std::size_t end : {4003u, 4700u, 6000u}) {
    std::vector<std::uint8_t> bytes;
    for (const std::uint32_t threads : {1u, 2u, 5u}) {
      Slots slots(data, 4000, default_params(data));
      merge_rows(slots, data, 4000, end, threads);
      if (bytes.empty()) bytes = slots.bytes;
      ASSERT_EQ(slots.bytes, bytes) << end << ", threads " << threads;
    }
  }
}

// Equal vectors share a node: with a node of the index, with each other; zero vectors under cosine are left out.
TEST(Merge, EqualRows) {
  Dataset data = clustered(2000, 12, 6);
  for (std::size_t i = 1000; i < 1100; i++) std::copy(data.row(i - 900), data.row(i - 900) + 12, &data.values[i * 12]);
  for (std::size_t i = 1200; i < 1300; i++) std::copy(data.row(1150), data.row(1150) + 12, &data.values[i * 12]);
  Slots slots(data, 1000, default_params(data));
  const std::uint32_t first = slots.n;
  const Outcome outcome = merge_rows(slots, data, 1000, 2000);
  EXPECT_EQ(outcome.places, 1000u - 100 - 100);
  for (std::size_t i = 0; i < 100; i++) {
    ASSERT_EQ(outcome.rows[i].place, PHNSW_NONE);
    ASSERT_EQ(build_test::row_of_tid(slots.slot(outcome.rows[i].id)->tid), i + 100);
    ASSERT_FALSE(outcome.rows[i].first);
  }
  EXPECT_TRUE(outcome.rows[150].first);
  for (std::size_t i = 200; i < 300; i++) {
    ASSERT_EQ(outcome.rows[i].place, outcome.rows[150].place);
    ASSERT_FALSE(outcome.rows[i].first);
  }
  ASSERT_NO_FATAL_FAILURE(validate(slots, first));
  EXPECT_EQ(slots.unreached(), 0u);

  Dataset zeros{12, std::vector<float>(12 * 600, 1.0f)};
  std::fill(zeros.values.begin() + 12 * 500, zeros.values.end(), 0.0f);
  phnsw_build_params params = default_params(zeros);
  params.metric = PHNSW_COSINE;
  Slots ones(zeros, 10, params);
  phnsw_merge *merge = nullptr;
  phnsw_error error{};
  ASSERT_EQ(compute(ones, zeros, 10, 600, 1, &merge, &error), PHNSW_OK);
  EXPECT_EQ(phnsw_merge_places(merge), 0u);  // all others equal the one node
  EXPECT_NE(phnsw_merge_row_get(merge, 489).id, PHNSW_NONE);
  phnsw_merge_destroy(merge);
}

// Nodes that are free or dying are not linked to, and those that die while the merge computes are not either.
TEST(Merge, NodesThatGo) {
  const Dataset data = clustered(5000, 16, 7);
  Slots slots(data, 4000, default_params(data));
  const std::uint32_t first = slots.n;
  for (std::uint32_t id = 0; id < first; id++) {
    if (id % 5 == 0) slots.slot(id)->state = PHNSW_SLOT_DEAD;
    if (id % 5 == 1) {
      slots.slot(id)->state = PHNSW_SLOT_FREE;
      slots.slot(id)->count = 0;
      slots.slot(id)->version++;
    }
  }
  slots.links(3)[0] = first + 12345;  // a node that others have inserted since
  phnsw_merge *merge = nullptr;
  phnsw_error error{};
  ASSERT_EQ(compute(slots, data, 4000, 5000, 2, &merge, &error), PHNSW_OK) << error.message;
  for (std::uint32_t id = 0; id < first; id++) {
    if (id % 5 == 2) slots.slot(id)->state = PHNSW_SLOT_DEAD;
    if (id % 50 == 3) slots.slot(id)->version++;
  }
  slots.slot(3)->version--;
  Outcome outcome;
  ASSERT_NO_FATAL_FAILURE(write(slots, merge, 4000, &outcome));
  phnsw_merge_destroy(merge);
  EXPECT_EQ(slots.links(3)[0], first + 12345);
  for (std::uint32_t id = first; id < slots.n; id++) {
    for (std::uint32_t i = 0; i < slots.slot(id)->count; i++) {
      const std::uint32_t link = slots.links(id)[i];
      ASSERT_EQ(slots.slot(link)->state, PHNSW_SLOT_LIVE);
      if (link < first && link != 3) {
        ASSERT_NE(link % 50, 3u);
      }
    }
  }

  for (std::uint32_t id = 0; id < slots.n; id++) slots.slot(id)->state = PHNSW_SLOT_DEAD;
  EXPECT_EQ(compute(slots, data, 0, 10, 1, &merge, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_merge_live(merge), 0u);
  phnsw_merge_destroy(merge);
}

// A place without a slot: nothing links to it.
TEST(Merge, LostClaims) {
  const Dataset data = clustered(1500, 12, 8);
  Slots slots(data, 1000, default_params(data));
  phnsw_merge *merge = nullptr;
  phnsw_error error{};
  ASSERT_EQ(compute(slots, data, 1000, 1500, 1, &merge, &error), PHNSW_OK);
  const std::uint32_t limit = slots.n;
  for (std::uint32_t place = 0; place < 500; place++)
    phnsw_merge_assign(merge, place, place % 7 == 0 ? PHNSW_NONE : limit + place);
  std::vector<std::uint8_t> bytes(slots.meta.slot_bytes);
  phnsw_slot *slot = reinterpret_cast<phnsw_slot *>(bytes.data());
  for (std::uint32_t place = 1; place < 500; place += 7) {
    phnsw_merge_fill(merge, place, slot);
    for (std::uint32_t i = 0; i < slot->count; i++) {
      const std::uint32_t link = phnsw_slot_links(slot, slots.code_bytes)[i];
      ASSERT_TRUE(link < limit || (link - limit) % 7 != 0);
    }
  }
  const phnsw_merge_change *changes = nullptr;
  std::size_t n = 0;
  ASSERT_EQ(phnsw_merge_changes(merge, &changes, &n, &error), PHNSW_OK);
  for (std::size_t i = 0; i < n; i++) ASSERT_TRUE(changes[i].added < limit || (changes[i].added - limit) % 7 != 0);
  phnsw_merge_destroy(merge);
}

// Bytes that cannot be a node are refused, whatever else they are does no harm.
TEST(Merge, FaultySlots) {
  const Dataset data = clustered(600, 12, 9);
  for (int kind = 0; kind < 4; kind++) {
    Slots slots(data, 500, default_params(data));
    phnsw_slot *slot = slots.slot(77);
    if (kind == 0) slot->state = 9;
    if (kind == 1) slot->count = 1000;
    if (kind == 2) slot->head.scale = -1.0f;
    if (kind == 3) slot->head.norm2 = std::numeric_limits<float>::quiet_NaN();
    phnsw_merge *merge = nullptr;
    phnsw_error error{};
    EXPECT_EQ(compute(slots, data, 500, 600, 1, &merge, &error), PHNSW_CORRUPT) << kind;
    phnsw_merge_destroy(merge);
  }
  std::mt19937 random(10);
  for (int round = 0; round < 20; round++) {
    Slots slots(data, 500, default_params(data));
    for (std::uint32_t id = 0; id < slots.n; id++) {
      std::uint8_t *code = slots.slot(id)->code;
      for (std::uint32_t i = 0; i < slots.code_bytes; i++) code[i] = static_cast<std::uint8_t>(random());
      for (std::uint32_t i = 0; i < slots.slot(id)->count; i++) slots.links(id)[i] = random() % (slots.n + 50);
      slots.slot(id)->head.norm2 = static_cast<float>(random());
      slots.slot(id)->head.scale = static_cast<float>(random());
    }
    phnsw_merge *merge = nullptr;
    phnsw_error error{};
    EXPECT_EQ(compute(slots, data, 500, 600, 2, &merge, &error), PHNSW_OK);
    phnsw_merge_destroy(merge);
  }
}

// A list that comes back from a page after that was damaged: links that cannot be are not kept for the next merge.
TEST(Merge, DamagedListsComeBack) {
  const Dataset data = clustered(700, 12, 9);
  Slots slots(data, 500, default_params(data));
  Kept kept(slots, 700);
  Outcome outcome;
  phnsw_merge *merge = nullptr;
  phnsw_error error{};
  ASSERT_EQ(compute(slots, data, 500, 600, 2, &merge, &error, &kept), PHNSW_OK);
  write(slots, merge, 500, &outcome);
  std::mt19937 random(11);
  for (std::uint32_t id = 0; id < 500; id++) {
    for (std::uint32_t i = 0; i < slots.slot(id)->count; i++) {
      if (random() % 4 == 0) slots.links(id)[i] = random() % 2 == 0 ? slots.n + random() % 200 : random();
    }
    if (id % 50 == 0) slots.slot(id)->count = 60000;
    phnsw_merge_relist(merge, id, slots.slot(id), slots.n);
    slots.slot(id)->count = std::min<std::uint16_t>(slots.slot(id)->count, 2 * slots.meta.codec.m);
    const std::uint32_t at = id % slots.meta.slots_per_page * slots.meta.slot_bytes;
    std::vector<std::uint8_t> &page = kept.pages[id / slots.meta.slots_per_page];
    if (!page.empty()) std::memcpy(&page[at], slots.slot(id), slots.meta.slot_bytes);
  }
  phnsw_merge_destroy(merge);
  kept.spared = 0;
  EXPECT_EQ(compute(slots, data, 600, 700, 2, &merge, &error, &kept), PHNSW_OK);
  EXPECT_GT(kept.spared, 400 / slots.meta.slots_per_page);
  phnsw_merge_destroy(merge);
}

// Destroyed at any moment: no thread is left, and nothing is read that a step that ended early has not written.
TEST(Merge, IsStopped) {
  const Dataset data = clustered(6000, 32, 11);
  Slots slots(data, 3000, default_params(data));
  const int before = phnsw::test::threads_at_rest();
  const auto stop_after = [&](std::chrono::nanoseconds wait) {
    phnsw_merge_params params{nullptr, {}, slots.n, slots.meta.entry, 3000, 64, 3, 5};
    phnsw_merge *merge = nullptr;
    phnsw_error error{};
    ASSERT_EQ(phnsw_merge_create(slots.codec, &params, &merge, &error), PHNSW_OK);
    std::uint32_t fault;
    bool whole;
    const char *what;
    ASSERT_TRUE(phnsw_merge_load(merge, 0, slots.slot(0), slots.n, &whole, &fault, &what));
    for (std::size_t row = 3000; row < 6000; row++) ASSERT_EQ(phnsw_merge_add(merge, data.row(row), &error), PHNSW_OK);
    ASSERT_EQ(phnsw_merge_start(merge, &error), PHNSW_OK);
    const auto end = std::chrono::steady_clock::now() + wait;
    while (std::chrono::steady_clock::now() < end && phnsw_merge_wait(merge, 0, &error) == PHNSW_RUNNING) {
    }
    phnsw_merge_destroy(merge);
    EXPECT_EQ(phnsw::test::threads_once_settled(before), before);
  };
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_NO_FATAL_FAILURE(stop_after(std::chrono::seconds(60)));
  const auto whole = std::chrono::steady_clock::now() - begin;
  for (int i = 0; i < 60; i++) ASSERT_NO_FATAL_FAILURE(stop_after(whole * i / 60));
}

}  // namespace
