// A merge runs out of memory at the first, second, third ... allocation, on whatever thread: it ends with a status,
// no thread is left and nothing leaks (run under the address sanitizer).
#include "failing_new.hpp"
#include "merge_harness.hpp"

namespace {

using namespace merge_test;
using phnsw::test::shared_allocations_failed;
using phnsw::test::shared_allocations_left;

TEST(MergeOutOfMemory, EndsWithAStatus) {
  const Dataset data = build_test::clustered(1600, 8, 1);
  Slots slots(data, 600, build_test::default_params(data));
  long failures = 0;
  for (long at = 0;; at += 1 + at / 16) {
    phnsw_merge *merge = nullptr;
    phnsw_error error{};
    shared_allocations_failed.store(0);
    shared_allocations_left.store(at);
    phnsw_status status = compute(slots, data, 600, 1600, 2, &merge, &error);
    const phnsw_merge_change *changes = nullptr;
    std::size_t n = 0;
    if (status == PHNSW_OK) status = phnsw_merge_changes(merge, &changes, &n, &error);
    const bool enough = shared_allocations_failed.load() == 0;
    shared_allocations_left.store(-1);
    phnsw_merge_destroy(merge);
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
