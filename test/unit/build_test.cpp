// The bulk build through its C interface: every page of every index is validated.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "page_search.hpp"
#include "threads.hpp"

namespace {

using namespace build_test;

// The same rows and seed give the same bytes for any number of threads, any cut into chunks, any hint,
// any memory, and whether the calibration comes early or late.
void expect_deterministic(std::uint32_t dims, std::size_t rows) {
  const Dataset data = clustered(rows, dims, 1);
  phnsw_build_params params = default_params(data);
  params.calibrate = true;
  params.threads = 1;
  const Index first = build_index(data, params);
  validate(first, data.rows());
  for (const std::uint32_t threads : {2u, 4u, 8u}) {
    params.threads = threads;
    params.rows_expected = threads == 4 ? 0 : 1000000;
    params.calibrate_late = threads != 8;
    params.memory_bytes = threads == 8 ? 0 : std::size_t{1} << 30;
    const Index again = build_index(data, params, threads == 2 ? 17 : ~0u);
    ASSERT_EQ(again.spill_bytes != 0, threads == 8);
    ASSERT_EQ(again.pages, first.pages) << threads;
  }
  params.seed++;
  EXPECT_NE(build_index(data, params).pages, first.pages);
}

TEST(Build, IsDeterministic) { expect_deterministic(24, 6000); }
TEST(Build, IsDeterministicInManyDimensions) { expect_deterministic(400, 3000); }

// Block 0 waits for a late calibration, whenever it is asked for; the other blocks do not.
TEST(Build, CalibratesLate) {
  const Dataset data = clustered(3000, 24, 1);
  phnsw_build_params params = default_params(data);
  params.calibrate = true;
  const Index early = build_index(data, params);
  params.calibrate_late = true;
  for (const bool meta_first : {true, false}) {
    Driver driver(params);
    driver.feed(data);
    driver.wait();
    phnsw_build_result result{};
    ASSERT_EQ(phnsw_build_result_get(driver.build, &result, &driver.error), PHNSW_OK);
    std::vector<std::uint8_t> pages(early.pages.size());
    const std::uint32_t blocks = result.total_blocks;
    for (const bool meta : {meta_first, !meta_first}) {
      const std::uint32_t first = meta ? 0 : 1, n = meta ? 1 : blocks - 1;
      ASSERT_EQ(phnsw_build_format_begin(driver.build, first, n, pages.data() + std::size_t{first} * PHNSW_PAGE_BYTES,
                                         &driver.error),
                PHNSW_OK);
      while (phnsw_build_format_wait(driver.build, 10, &driver.error) == PHNSW_RUNNING) continue;
    }
    EXPECT_EQ(pages, early.pages);
    ASSERT_EQ(phnsw_build_result_get(driver.build, &result, &driver.error), PHNSW_OK);
    EXPECT_EQ(result.meta.calibrations, early.meta().calibrations);
    EXPECT_GT(result.seconds[PHNSW_PHASE_CALIBRATE], 0.0);
  }
}

// Sizes around every special case: nothing, one point, one list, one leaf, one page, several parts.
TEST(Build, SmallSizes) {
  for (const std::size_t rows : {0u, 1u, 2u, 3u, 10u, 11u, 33u, 100u, 1023u, 1025u, 2500u}) {
    const Dataset data = clustered(rows, 12, 3);
    phnsw_build_params params = default_params(data);
    params.calibrate = true;
    const Index index = build_index(data, params);
    SCOPED_TRACE(rows);
    EXPECT_EQ(index.result.nodes, rows);
    EXPECT_EQ(index.meta().calibrations != 0, rows > 10);
    ASSERT_NO_FATAL_FAILURE(validate(index, rows));
  }
}

TEST(Build, DimensionsAndMetrics) {
  for (const std::uint32_t dims : {1u, 2u, 3u, 5u, 13u, 64u, 1000u, 7900u, 16000u}) {
    const std::size_t rows = dims < 100 ? 1500 : dims < 2000 ? 300 : 40;
    const Dataset data = clustered(rows, dims, dims, 5);
    for (const phnsw_metric metric : {PHNSW_L2, PHNSW_IP, PHNSW_COSINE}) {
      phnsw_build_params params = default_params(data);
      params.metric = metric;
      const Index index = build_index(data, params);
      SCOPED_TRACE(testing::Message() << dims << " dimensions, metric " << metric);
      ASSERT_NO_FATAL_FAILURE(validate(index, rows));
    }
  }
}

TEST(Build, ListLengths) {
  const Dataset data = clustered(3000, 10, 5);
  for (const std::uint32_t m : {2u, 5u, 100u}) {
    for (const std::uint32_t ef : {4u, 200u, 1000u}) {
      phnsw_build_params params = default_params(data);
      params.m = m;
      params.ef_construction = ef;
      SCOPED_TRACE(testing::Message() << "m " << m << ", ef_construction " << ef);
      ASSERT_NO_FATAL_FAILURE(validate(build_index(data, params), data.rows()));
    }
  }
}

// Equal vectors share a node; its first TID is the first row's and the chain is in row order.
TEST(Build, DuplicatesShareANode) {
  Dataset data = clustered(500, 16, 6);
  const Dataset ten = clustered(10, 16, 7);
  for (int i = 0; i < 20000; i++) data.values.insert(data.values.end(), ten.row(i % 10), ten.row(i % 10) + 16);
  const Index index = build_index(data, default_params(data));
  EXPECT_EQ(index.result.nodes, 510u);
  ASSERT_NO_FATAL_FAILURE(validate(index, data.rows()));
  std::uint32_t chains = 0;
  for (std::uint32_t id = 0; id < index.result.nodes; id++) {
    std::size_t last = row_of_tid(index.slot(id)->tid), length = 1;
    for (std::uint32_t r = index.slot(id)->tids; r != PHNSW_NONE; r = index.aux(r)->next) {
      for (std::uint32_t i = 0; i < index.aux(r)->count; i++) {
        phnsw_tid tid;
        std::memcpy(&tid, index.aux(r)->payload + i * sizeof tid, sizeof tid);
        ASSERT_GT(row_of_tid(tid), last);
        last = row_of_tid(tid);
        length++;
      }
    }
    chains += length == 2000;
    EXPECT_TRUE(length == 1 || length == 2000) << length;
  }
  EXPECT_EQ(chains, 10u);
}

// Data that leave the partition or the heuristic nothing to hold on to.
TEST(Build, DegenerateData) {
  struct Case {
    const char *name;
    Dataset data;
  };
  std::vector<Case> cases;
  cases.push_back({"all equal", {4, std::vector<float>(4 * 5000, 1.5f)}});
  cases.push_back({"all zero", {4, std::vector<float>(4 * 500)}});
  Dataset line{1, {}}, huge{3, {}}, tiny{3, {}}, mixed{3, {}}, corners{2000, {}};
  for (int i = 0; i < 5000; i++) line.values.push_back(static_cast<float>(i));
  for (int i = 0; i < 3 * 2000; i++) {
    const float x = static_cast<float>((i * 7919) % 2003) / 2003.0f;
    huge.values.push_back(x * 3e38f);
    tiny.values.push_back(x * 1e-38f);
    mixed.values.push_back(i % 300 < 3 ? x * 1e30f : x);
  }
  // Unit vectors: all distances are the same.
  corners.values.assign(2000 * 2000, 0.0f);
  for (int i = 0; i < 2000; i++) corners.values[i * 2001] = 1.0f;
  cases.push_back({"a sorted line", std::move(line)});
  cases.push_back({"huge", std::move(huge)});
  cases.push_back({"tiny", std::move(tiny)});
  cases.push_back({"outliers", std::move(mixed)});
  cases.push_back({"equidistant", std::move(corners)});
  for (const Case &each : cases) {
    SCOPED_TRACE(each.name);
    for (const phnsw_metric metric : {PHNSW_L2, PHNSW_IP}) {
      phnsw_build_params params = default_params(each.data);
      params.metric = metric;
      params.calibrate = true;
      ASSERT_NO_FATAL_FAILURE(validate(build_index(each.data, params), each.data.rows()));
    }
  }
}

TEST(Build, ZeroVectorsUnderCosineAreSkipped) {
  Dataset data = clustered(300, 8, 8);
  for (int i = 0; i < 300; i += 3) std::fill_n(data.values.begin() + i * 8, 8, 0.0f);
  phnsw_build_params params = default_params(data);
  params.metric = PHNSW_COSINE;
  const Index index = build_index(data, params);
  EXPECT_EQ(index.result.skipped, 100u);
  EXPECT_EQ(index.result.tids, 200u);
  ASSERT_NO_FATAL_FAILURE(validate(index, 300));
}

// A stop is seen at once, whenever it comes, and no thread is left.
TEST(Build, StopsAtAnyMoment) {
  const Dataset data = clustered(20000, 64, 9);
  const phnsw_build_params params = default_params(data);
  const auto begin = std::chrono::steady_clock::now();
  { (void)build_index(data, params); }
  const auto whole = std::chrono::steady_clock::now() - begin;
  const int before = phnsw::test::threads_at_rest();
  for (int i = 0; i < 12; i++) {
    Driver driver(params);
    std::thread stopper([&] {
      std::this_thread::sleep_for(whole * i / 10);
      phnsw_build_stop(driver.build);
    });
    driver.feed(data);
    driver.wait();
    stopper.join();
    EXPECT_TRUE(driver.status == PHNSW_OK || driver.status == PHNSW_CANCELLED) << driver.error.message;
    const auto stopped = std::chrono::steady_clock::now();
    phnsw_build_join(driver.build);
    const auto joined = std::chrono::steady_clock::now();
    // It ends, soon; on a busy machine nobody can say how soon.
    EXPECT_LT(joined - stopped, std::chrono::seconds(10));
    EXPECT_EQ(phnsw::test::threads_once_settled(before), before);
    phnsw_build_join(driver.build);
  }
}

// A backend that dies before it extends the spill file: stop wakes the conductor.
TEST(Build, StopsWhileItWaitsForTheSpillFile) {
  const Dataset data = clustered(3000, 64, 10);
  phnsw_build_params params = default_params(data);
  params.memory_bytes = 0;
  Driver driver(params);
  float *vectors;
  phnsw_tid *tids;
  std::uint32_t rows;
  ASSERT_EQ(phnsw_build_chunk(driver.build, &vectors, &tids, &rows, &driver.error), PHNSW_OK);
  std::fill_n(vectors, 64, 1.0f);
  tids[0] = tid_of_row(0);
  ASSERT_EQ(phnsw_build_submit(driver.build, 1, &driver.error), PHNSW_OK);
  ASSERT_EQ(phnsw_build_finish_rows(driver.build, &driver.error), PHNSW_OK);
  do {
    ASSERT_EQ(phnsw_build_wait(driver.build, 1000, &driver.progress, &driver.error), PHNSW_RUNNING);
  } while (driver.progress.spill_bytes == 0);
  phnsw_build_stop(driver.build);
  phnsw_build_join(driver.build);
  EXPECT_EQ(phnsw_build_wait(driver.build, 1000, &driver.progress, &driver.error), PHNSW_CANCELLED);
}

TEST(Build, RefusesWrongUse) {
  const Dataset data = clustered(10, 4, 11);
  phnsw_build_params params = default_params(data);
  phnsw_build *build = nullptr;
  phnsw_error error;
  params.threads = 0;
  EXPECT_EQ(phnsw_build_create(&params, &build, &error), PHNSW_BAD_ARGUMENT);
  params = default_params(data);
  params.m = PHNSW_M_MAX + 1;
  EXPECT_EQ(phnsw_build_create(&params, &build, &error), PHNSW_BAD_ARGUMENT);
  params = default_params(data);
  params.dims = 0;
  EXPECT_EQ(phnsw_build_create(&params, &build, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(build, nullptr);
  phnsw_build_destroy(nullptr);

  params = default_params(data);
  ASSERT_EQ(phnsw_build_create(&params, &build, &error), PHNSW_OK);
  float *vectors;
  phnsw_tid *tids;
  std::uint32_t rows;
  phnsw_build_result result;
  EXPECT_EQ(phnsw_build_chunk(build, &vectors, &tids, &rows, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_build_submit(build, 1, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_build_result_get(build, &result, &error), PHNSW_BAD_ARGUMENT);
  phnsw_build_destroy(build);

  Driver driver(params);
  driver.feed(data);
  driver.wait();
  ASSERT_EQ(driver.status, PHNSW_OK);
  ASSERT_EQ(phnsw_build_result_get(driver.build, &result, &error), PHNSW_OK);
  std::vector<std::uint8_t> page(PHNSW_PAGE_BYTES);
  EXPECT_EQ(phnsw_build_format_begin(driver.build, result.total_blocks, 1, page.data(), &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_build_start(driver.build, &error), PHNSW_BAD_ARGUMENT);
}

std::size_t anonymous_bytes_of_process() {
  std::FILE *file = std::fopen("/proc/self/status", "r");
  char line[256];
  std::size_t kilobytes = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) std::sscanf(line, "RssAnon: %zu", &kilobytes);
  std::fclose(file);
  return kilobytes * 1024;
}

// What does not fit the budget lives in the file: private memory stays within it and 64 MB for buffers.
TEST(Build, StaysWithinItsMemory) {
  const Dataset data = clustered(60000, 128, 13);
  phnsw_build_params params = default_params(data);
  params.memory_bytes = std::size_t{8} << 20;
  const std::size_t before = anonymous_bytes_of_process();
  std::atomic<bool> over{false};
  std::atomic<std::size_t> peak{0};
  Driver driver(params);
  std::thread observer([&] {
    while (!over) {
      peak = std::max(peak.load(), anonymous_bytes_of_process());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  driver.feed(data);
  driver.wait();
  over = true;
  observer.join();
  EXPECT_EQ(driver.status, PHNSW_OK) << driver.error.message;
  EXPECT_GT(driver.spill_bytes, std::uint64_t{40} << 20);
  EXPECT_LT(peak - before, params.memory_bytes + (std::size_t{64} << 20));
}

// Recall of the finished pages, searched with the codec's own query.
void expect_nearest(std::uint32_t dims, std::size_t rows) {
  const Dataset all = clustered(rows + 200, dims, 12);
  const Dataset data{dims, {all.values.begin(), all.values.begin() + static_cast<std::ptrdiff_t>(rows * dims)}};
  phnsw_build_params params = default_params(data);
  params.calibrate = true;
  const Index index = build_index(data, params);
  ASSERT_NO_FATAL_FAILURE(validate(index, rows));
  const phnsw_meta &meta = index.meta();
  ASSERT_GT(meta.calibrations, 0u);
  EXPECT_GT(meta.calibration[meta.calibrations - 1].recall, 0.99f);

  PageSearch search(index);
  std::uint32_t hits = 0;
  for (std::size_t q = rows; q < all.rows(); q++) {
    std::vector<std::pair<double, std::size_t>> exact;
    for (std::size_t i = 0; i < rows; i++) exact.emplace_back(phnsw_l2_squared(all.row(q), data.row(i), dims), i);
    std::partial_sort(exact.begin(), exact.begin() + 10, exact.end());
    for (const std::size_t row : search.find(all.row(q), 40)) {
      for (int k = 0; k < 10; k++) hits += exact[k].second == row;
    }
  }
  EXPECT_GT(hits, 1940u);  // of 2000
}

TEST(Build, FindsNearestNeighbours) { expect_nearest(48, 8000); }
// Few memberships, each of which finds more.
TEST(Build, FindsNearestNeighboursOfManyDimensions) { expect_nearest(400, 6000); }

}  // namespace
