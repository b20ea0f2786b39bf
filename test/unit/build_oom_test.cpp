// A bulk build runs out of memory at the first, second, third ... allocation: it ends with a status, no thread is left and
// nothing leaks (run under the address sanitizer).  Allocations of Array, the aligned ones, are oom_test's to fail; these
// are the others: vectors and handles, on every thread.
#include <atomic>
#include <cstdlib>
#include <new>

#include "build_harness.hpp"

namespace {

std::atomic<long> allocations_left{-1};  // negative: all succeed

void *allocate(std::size_t size) {
  if (allocations_left.load(std::memory_order_relaxed) >= 0 && allocations_left.fetch_sub(1) <= 0) {
    allocations_left.store(0);
    throw std::bad_alloc();
  }
  void *memory = std::malloc(size != 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void *operator new(std::size_t size) { return allocate(size); }
void *operator new[](std::size_t size) { return allocate(size); }
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete[](void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void *memory, std::size_t) noexcept { std::free(memory); }

namespace {

using namespace build_test;

TEST(BuildOutOfMemory, EndsWithAStatus) {
  const Dataset data = clustered(1500, 8, 1);
  phnsw_build_params params = default_params(data);
  params.calibrate = true;
  long failures = 0;
  for (long at = 0;; at += 1 + at / 8) {
    phnsw_build *build = nullptr;
    phnsw_error error{};
    allocations_left.store(at);
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
    const bool enough = allocations_left.load() > 0;
    allocations_left.store(-1);
    phnsw_build_destroy(build);
    if (enough) {
      EXPECT_EQ(status, PHNSW_OK) << error.message;
      break;
    }
    ASSERT_EQ(status, PHNSW_OUT_OF_MEMORY) << at << " " << error.message;
    failures++;
  }
  EXPECT_GT(failures, 10);
}

}  // namespace
