// Memory runs out at the first, second, third ... allocation: every C entry reports it, nothing leaks (run under the
// address sanitizer), and the handle works again when there is memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <vector>

#include "base/rng.hpp"
#include "capi/phnsw_core.h"
#include "failing_new.hpp"

namespace phnsw::test {

thread_local long allocations_left = -1;
std::atomic<long> shared_allocations_left{-1};
std::atomic<long> shared_allocations_failed{0};
thread_local long blocks_alive = 0;

}  // namespace phnsw::test

using phnsw::test::allocations_left;
using phnsw::test::blocks_alive;
using phnsw::test::shared_allocations_failed;
using phnsw::test::shared_allocations_left;

namespace {

void *allocate(std::size_t size, std::size_t alignment) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) allocations_left--;
  if (shared_allocations_left.load(std::memory_order_relaxed) >= 0 && shared_allocations_left.fetch_sub(1) <= 0) {
    shared_allocations_left.store(0);
    shared_allocations_failed.fetch_add(1);
    throw std::bad_alloc();
  }
  void *block = nullptr;
  if (posix_memalign(&block, alignment, size == 0 ? 1 : size) != 0) throw std::bad_alloc();
  blocks_alive++;
  return block;
}

void release(void *block) noexcept {
  if (block != nullptr) blocks_alive--;
  std::free(block);
}

}  // namespace

void *operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void *operator new[](std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void *operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void *operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void *block) noexcept { release(block); }
void operator delete[](void *block) noexcept { release(block); }
void operator delete(void *block, std::size_t) noexcept { release(block); }
void operator delete[](void *block, std::size_t) noexcept { release(block); }
void operator delete(void *block, std::align_val_t) noexcept { release(block); }
void operator delete[](void *block, std::align_val_t) noexcept { release(block); }
void operator delete(void *block, std::size_t, std::align_val_t) noexcept { release(block); }
void operator delete[](void *block, std::size_t, std::align_val_t) noexcept { release(block); }

namespace {

// A ring with chords, scored by distance to node 1234 along the ring; long enough that every structure grows.
phnsw_status search_ring(phnsw_search *search, std::uint32_t nodes, std::vector<std::uint32_t> *result) {
  const auto score = [&](std::uint32_t id) { return static_cast<float>(id < 1234 ? 1234 - id : id - 1234); };
  phnsw_error error{};
  phnsw_status status = phnsw_search_begin(search, 600, nodes, true, &error);
  if (status != PHNSW_OK) return status;
  const std::uint32_t entry = 0;
  const float entry_score = score(entry);
  status = phnsw_search_offer(search, &entry, &entry_score, &entry, 1, &error);
  for (std::uint32_t node = 0; status == PHNSW_OK && phnsw_search_pop(search, &node);) {
    std::uint32_t links[32];
    for (std::uint32_t k = 0; k < 32; k++) links[k] = (node + (k < 4 ? k + 1 : 37 * k)) % 20000;
    std::uint32_t n = 0;
    status = phnsw_search_fresh(search, links, 32, links, &n, &error);
    if (status != PHNSW_OK) break;
    const float limit = phnsw_search_limit(search);
    const auto within = static_cast<std::uint32_t>(
        std::partition(links, links + n, [&](std::uint32_t id) { return score(id) <= limit; }) - links);
    if (limit < std::numeric_limits<float>::infinity()) {
      status = phnsw_search_pass_over(search, links + within, n - within, n, &error);
      if (status != PHNSW_OK) break;
      n = within;
    }
    float scores[32];
    for (std::uint32_t k = 0; k < n; k++) scores[k] = score(links[k]);
    status = phnsw_search_offer(search, links, scores, links, n, &error);
  }
  if (status != PHNSW_OK) {
    EXPECT_STREQ(error.message, "out of memory");
    return status;
  }
  std::uint32_t n = 0;
  const phnsw_candidate *window = phnsw_search_window(search, &n);
  result->clear();
  for (std::uint32_t i = 0; i < n; i++) result->push_back(window[i].id);
  return PHNSW_OK;
}

// nodes chooses the form of the visited set.
void fail_everywhere(std::uint32_t nodes) {
  std::vector<std::uint32_t> expected;
  phnsw_search *search = nullptr;
  ASSERT_EQ(phnsw_search_create(&search, nullptr), PHNSW_OK);
  ASSERT_EQ(search_ring(search, nodes, &expected), PHNSW_OK);
  ASSERT_EQ(expected.size(), 600u);
  phnsw_search_destroy(search);

  int failures = 0;
  for (;; failures++) {
    ASSERT_EQ(phnsw_search_create(&search, nullptr), PHNSW_OK);
    std::vector<std::uint32_t> result;
    result.reserve(expected.size());
    allocations_left = failures;
    const phnsw_status status = search_ring(search, nodes, &result);
    allocations_left = -1;
    if (status != PHNSW_OK) {
      ASSERT_EQ(status, PHNSW_OUT_OF_MEMORY);
      ASSERT_EQ(search_ring(search, nodes, &result), PHNSW_OK);
    }
    ASSERT_EQ(result, expected) << "allocation " << failures;
    phnsw_search_destroy(search);
    if (status == PHNSW_OK) break;
  }
  EXPECT_GE(failures, 5) << "window, reserve, visited set, what is passed over and the growth of two";
}

TEST(OutOfMemory, SearchWithDirectVisitedSet) { fail_everywhere(20000); }
TEST(OutOfMemory, SearchWithHashedVisitedSet) { fail_everywhere(1000000000); }

TEST(OutOfMemory, ReachReportsIt) {
  const std::uint32_t links[] = {1, 0};
  const std::uint16_t counts[] = {1, 1};
  const std::uint8_t live[] = {1, 1};
  std::uint64_t reached = 0;
  std::uint32_t first = 0;
  for (int left = 0; left < 2; left++) {
    allocations_left = left;
    const phnsw_status status = phnsw_reach_count(links, counts, live, 2, 1, 0, &reached, &first, nullptr);
    allocations_left = -1;
    EXPECT_EQ(status, PHNSW_OUT_OF_MEMORY);
  }
}

}  // namespace
