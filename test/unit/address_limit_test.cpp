// A process with few addresses (ulimit -v): a build and merges reserve no more than there are, a kept copy leaves
// others some, and where a merge has none it says so and the next one works.
#include <sys/resource.h>

#include "merge_harness.hpp"

namespace {

using namespace merge_test;
using build_test::clustered;
using build_test::default_params;

std::size_t mapped_bytes() {
  std::size_t pages = 0;
  std::FILE *file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%zu", &pages) != 1) pages = 0;
  if (file != nullptr) std::fclose(file);
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// So many bytes more than the process has mapped, while it lives.
class AddressLimit {
 public:
  explicit AddressLimit(std::size_t more) {
    getrlimit(RLIMIT_AS, &before_);
    rlimit limit = before_;
    limit.rlim_cur = mapped_bytes() + more;
    EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  }
  AddressLimit(const AddressLimit &) = delete;
  AddressLimit &operator=(const AddressLimit &) = delete;
  ~AddressLimit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
};

constexpr std::size_t kMegabyte = std::size_t{1} << 20;

class AddressLimits : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the sanitizers need addresses of their own";
#endif
    if (mapped_bytes() == 0) GTEST_SKIP() << "no /proc";
  }
};

TEST_F(AddressLimits, Build) {
  const Dataset data = clustered(6000, 24, 1);
  const build_test::Index reference = build_test::build_index(data, default_params(data));
  for (const std::size_t megabytes : {400u, 1000u, 6000u}) {
    SCOPED_TRACE(megabytes);
    const AddressLimit limit(megabytes * kMegabyte);
    // Expected rows are an estimate: also when it says none, or far too few.
    for (const std::uint32_t expected : {6000u, 0u, 10u}) {
      phnsw_build_params params = default_params(data);
      params.rows_expected = expected;
      const build_test::Index index = build_test::build_index(data, params);
      ASSERT_EQ(index.result.nodes, reference.result.nodes);
      ASSERT_NO_FATAL_FAILURE(build_test::validate(index, data.rows()));
    }
  }
}

TEST_F(AddressLimits, KeptNodesTakeWhatTheyNeed) {
  const Dataset data = clustered(6000, 24, 2);
  Slots slots(data, 5000, default_params(data));
  const Kept plenty(slots, 5100);
  EXPECT_GE(phnsw_merge_nodes_room(plenty.nodes), 4u * 5100);
  const AddressLimit limit(1000 * kMegabyte);
  Kept kept(slots, 5500);
  EXPECT_GE(phnsw_merge_nodes_room(kept.nodes), 5500u);
  EXPECT_LE(phnsw_merge_nodes_room(kept.nodes), 2u * 5500);
  for (std::size_t at = 5000; at < 5500; at += 100) merge_rows(slots, data, at, at + 100, 2, &kept);
  ASSERT_NO_FATAL_FAILURE(validate(slots, 0));
  EXPECT_EQ(slots.unreached(), 0u);
}

TEST_F(AddressLimits, AMergeWithoutAny) {
  const Dataset data = clustered(6000, 24, 3);
  Slots slots(data, 5000, default_params(data));
  {
    const AddressLimit limit(0);
    phnsw_merge_nodes *nodes = nullptr;
    phnsw_merge *merge = nullptr;
    phnsw_error error{};
    const phnsw_merge_spill spill{};
    EXPECT_EQ(phnsw_merge_nodes_create(slots.codec, 10000000, &spill, &nodes, &error), PHNSW_OUT_OF_MEMORY);
    EXPECT_EQ(nodes, nullptr);
    EXPECT_EQ(compute(slots, data, 5000, 6000, 2, &merge, &error), PHNSW_OUT_OF_MEMORY);
    phnsw_merge_destroy(merge);
  }
  merge_rows(slots, data, 5000, 6000);
  EXPECT_EQ(slots.unreached(), 0u);
}

}  // namespace
