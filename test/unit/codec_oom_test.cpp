// Memory runs out in the codec's C entries: operator new fails at its first, second, ... call.  Each entry must answer
// PHNSW_OUT_OF_MEMORY, leak nothing and hand out no handle, until enough calls succeed and it answers PHNSW_OK.
#include <gtest/gtest.h>

#include <vector>

#include "capi/phnsw_core.h"
#include "coded.hpp"
#include "failing_new.hpp"

namespace {

using phnsw::test::allocations_left;
using phnsw::test::blocks_alive;

// entry(error): calls one C entry, undoes its success, returns its status.  Returns how many allocations it needed.
template <class Entry>
long fail_at_every_allocation(const Entry &entry) {
  for (long limit = 0; limit < 1000; limit++) {
    phnsw_error error{};
    const long before = blocks_alive;
    allocations_left = limit;
    const phnsw_status status = entry(&error);
    allocations_left = -1;
    EXPECT_EQ(blocks_alive, before) << "leaked after " << limit;
    if (status == PHNSW_OK) return limit;
    EXPECT_EQ(status, PHNSW_OUT_OF_MEMORY) << limit;
    EXPECT_EQ(error.status, PHNSW_OUT_OF_MEMORY);
    EXPECT_STREQ(error.message, "out of memory");
    if (testing::Test::HasFailure()) break;
  }
  ADD_FAILURE() << "never succeeded";
  return -1;
}

class CodecOutOfMemory : public testing::Test {
 protected:
  phnsw_codec_params params_ = phnsw::test::choose(PHNSW_IP, 100);
  std::vector<float> centre_ = std::vector<float>(101, 0.25f);
  std::vector<float> vector_ = std::vector<float>(100, 1.5f);
  phnsw::test::CodecHandle codec_ = phnsw::test::make_codec(params_, centre_.data());
};

TEST_F(CodecOutOfMemory, CodecCreate) {
  EXPECT_GE(fail_at_every_allocation([&](phnsw_error *error) {
              phnsw_codec *codec = nullptr;
              const phnsw_status status = phnsw_codec_create(&params_, centre_.data(), &codec, error);
              EXPECT_EQ(codec != nullptr, status == PHNSW_OK);
              phnsw_codec_destroy(codec);
              return status;
            }),
            3);
}

TEST_F(CodecOutOfMemory, CodecEncode) {
  phnsw::test::Slot slot(params_);
  EXPECT_GE(fail_at_every_allocation([&](phnsw_error *error) {
              return phnsw_codec_encode(codec_.get(), vector_.data(), slot.get(), error);
            }),
            1);
}

TEST_F(CodecOutOfMemory, QueryCreateAndNothingAfterwards) {
  EXPECT_GE(fail_at_every_allocation([&](phnsw_error *error) {
              phnsw_query *query = nullptr;
              const phnsw_status status = phnsw_query_create(codec_.get(), &query, error);
              EXPECT_EQ(query != nullptr, status == PHNSW_OK);
              phnsw_query_destroy(query);
              return status;
            }),
            2);
  const phnsw::test::QueryHandle query = phnsw::test::make_query(codec_.get());
  phnsw::test::Slot slot(params_);
  const phnsw_slot *slots[] = {slot.get()};
  float score = 0;
  allocations_left = 0;
  for (const phnsw_query_purpose purpose : {PHNSW_FOR_INSERT, PHNSW_FOR_SEARCH}) {
    phnsw_query_set(query.get(), vector_.data(), purpose);
    phnsw_query_score(query.get(), slots, 1, &score);
  }
  const double bound = phnsw_query_bound(query.get(), slot.get());
  allocations_left = -1;
  EXPECT_FALSE(std::isnan(bound));
}

}  // namespace
