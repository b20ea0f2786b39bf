// A bulk build runs out of memory at each of its allocations in turn, on whatever thread (some 400; 900 rows are more
// than one leaf): it ends with a status, no thread is left and nothing leaks (run under the address sanitizer).
#include "build_harness.hpp"
#include "failing_new.hpp"

namespace {

using namespace build_test;
using phnsw::test::shared_allocations_failed;
using phnsw::test::shared_allocations_left;

TEST(BuildOutOfMemory, EndsWithAStatus) {
  const Dataset data = clustered(900, 8, 1);
  phnsw_build_params params = default_params(data);
  params.calibrate = true;
  long failures = 0;
  for (long at = 0;; at++) {
    phnsw_build *build = nullptr;
    phnsw_error error{};
    shared_allocations_failed.store(0);
    shared_allocations_left.store(at);
    phnsw_status status = phnsw_build_create(&params, &build, &error);
    if (status == PHNSW_OK) status = phnsw_build_start(build, &error);
    std::size_t row = 0;
    while (status == PHNSW_OK && row < data.rows()) {
      float *vectors;
      phnsw_tid *tids;
      std::uint32_t rows;
      status = phnsw_build_chunk(build, &vectors, &tids, &rows, &error);
      if (status != PHNSW_OK) break;
      rows = static_cast<std::uint32_t>(std::min<std::size_t>(rows, data.rows() - row));
      std::memcpy(vectors, data.row(row), std::size_t{rows} * data.dims * sizeof(float));
      for (std::uint32_t i = 0; i < rows; i++) tids[i] = tid_of_row(row + i);
      status = phnsw_build_submit(build, rows, &error);
      row += rows;
    }
    if (status == PHNSW_OK) status = phnsw_build_finish_rows(build, &error);
    phnsw_progress progress;
    if (status == PHNSW_OK) {
      while ((status = phnsw_build_wait(build, 100, &progress, &error)) == PHNSW_RUNNING) {
      }
    }
    const bool enough = shared_allocations_failed.load() == 0;
    shared_allocations_left.store(-1);
    phnsw_build_destroy(build);
    if (enough) {
      EXPECT_EQ(status, PHNSW_OK) << error.message;
      break;
    }
    ASSERT_EQ(status, PHNSW_OUT_OF_MEMORY) << at << " " << error.message;
    failures++;
  }
  EXPECT_GT(failures, 300);
}

}  // namespace
