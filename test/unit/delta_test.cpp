// src/pg/page/delta.h: what is logged for a changed page makes the old page the new one, wherever it is applied.
//
// Random pages and changes of random sizes: single bytes, neighbouring words, words with a gap,
// whole stretches, everything.  Only the blocks that a change touches are compared, as wal.c does
// it.  Against a naive comparison: the delta holds every word that differs, no more than the gaps
// of one word besides, and fits.  PHNSW_TEST_SEED sets the seed.
#include "../../src/pg/page/delta.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "base/rng.hpp"

namespace {

using Page = std::vector<char>;

std::uint64_t seed() {
  const char *text = std::getenv("PHNSW_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
}

struct Fragment {
  std::uint32_t offset;
  std::uint32_t length;
};

std::vector<Fragment> fragments(const phnsw_delta &delta) {
  std::vector<Fragment> list;
  for (std::uint32_t at = 0; at < delta.bytes;) {
    std::uint16_t offset = 0;
    std::uint16_t length = 0;
    std::memcpy(&offset, delta.data + at, 2);
    std::memcpy(&length, delta.data + at + 2, 2);
    list.push_back({offset, length});
    at += PHNSW_DELTA_HEADER + length;
  }
  return list;
}

// Compares the given blocks.
void compare(phnsw_delta *delta, const Page &page, const Page &image, const std::set<std::uint32_t> &blocks) {
  phnsw_delta_begin(delta);
  for (const std::uint32_t block : blocks) phnsw_delta_block(delta, page.data(), image.data(), block);
  phnsw_delta_end(delta, image.data());
}

void check(const phnsw_delta &delta, const Page &page, const Page &image) {
  Page replayed = page;
  phnsw_delta_apply(replayed.data(), delta.data, delta.bytes);
  ASSERT_TRUE(replayed == image);

  ASSERT_LE(delta.bytes, std::uint32_t{PHNSW_DELTA_MAX});
  std::uint32_t behind = 0;
  bool first = true;
  for (const Fragment &fragment : fragments(delta)) {
    ASSERT_EQ(fragment.offset % PHNSW_DELTA_WORD, 0u);
    ASSERT_EQ(fragment.length % PHNSW_DELTA_WORD, 0u);
    ASSERT_GT(fragment.length, 0u);
    ASSERT_LE(fragment.offset + fragment.length, std::uint32_t{PHNSW_DELTA_PAGE});
    // More than one unchanged word between two fragments, never two such words within one.
    ASSERT_TRUE(first || fragment.offset > behind + PHNSW_DELTA_WORD);
    std::uint32_t unchanged = 0;
    for (std::uint32_t at = fragment.offset; at < fragment.offset + fragment.length; at += PHNSW_DELTA_WORD) {
      const bool same = std::memcmp(&page[at], &image[at], PHNSW_DELTA_WORD) == 0;
      unchanged = same ? unchanged + 1 : 0;
      ASSERT_LE(unchanged, 1u);
    }
    ASSERT_EQ(unchanged, 0u);
    behind = fragment.offset + fragment.length;
    first = false;
  }
}

class Delta : public ::testing::Test {
 protected:
  Delta() : rng_(seed()), page_(PHNSW_DELTA_PAGE), delta_(new phnsw_delta) {
    for (char &byte : page_) byte = static_cast<char>(rng_.next());
  }
  std::uint32_t below(std::uint32_t end) { return static_cast<std::uint32_t>(rng_.next() % end); }

  phnsw::Rng rng_;
  Page page_;
  std::unique_ptr<phnsw_delta> delta_;
};

TEST_F(Delta, NothingChangedIsNoFragment) {
  std::set<std::uint32_t> all;
  for (std::uint32_t block = 0; block < PHNSW_DELTA_BLOCKS; ++block) all.insert(block);
  compare(delta_.get(), page_, page_, all);
  EXPECT_EQ(delta_->bytes, 0u);
}

TEST_F(Delta, EverythingChangedIsOneFragment) {
  Page image = page_;
  std::set<std::uint32_t> all;
  for (std::uint32_t block = 0; block < PHNSW_DELTA_BLOCKS; ++block) all.insert(block);
  for (char &byte : image) byte = static_cast<char>(~byte);
  compare(delta_.get(), page_, image, all);
  check(*delta_, page_, image);
  EXPECT_EQ(fragments(*delta_).size(), 1u);
}

// The longest delta: every third word differs.
TEST_F(Delta, TheLongestFits) {
  Page image = page_;
  std::set<std::uint32_t> all;
  for (std::uint32_t block = 0; block < PHNSW_DELTA_BLOCKS; ++block) all.insert(block);
  for (std::uint32_t at = 0; at < PHNSW_DELTA_PAGE; at += 3 * PHNSW_DELTA_WORD)
    image[at] = static_cast<char>(~image[at]);
  compare(delta_.get(), page_, image, all);
  check(*delta_, page_, image);
  EXPECT_EQ(fragments(*delta_).size(), (PHNSW_DELTA_PAGE / PHNSW_DELTA_WORD + 2) / 3);
}

TEST_F(Delta, RandomChangesReplay) {
  for (int round = 0; round < 20000 && !HasFatalFailure(); ++round) {
    Page image = page_;
    std::set<std::uint32_t> blocks;
    const std::uint32_t changes = 1 + below(1 + below(40));
    const std::uint32_t longest = std::uint32_t{1} << below(11);
    for (std::uint32_t i = 0; i < changes; ++i) {
      const std::uint32_t length = 1 + below(longest);
      const std::uint32_t at = below(PHNSW_DELTA_PAGE - length + 1);
      for (std::uint32_t j = at; j < at + length; ++j) {
        if (below(4) != 0) image[j] = static_cast<char>(rng_.next());
        blocks.insert(j / PHNSW_DELTA_BLOCK);
      }
    }
    compare(delta_.get(), page_, image, blocks);
    check(*delta_, page_, image);
    page_ = image;
  }
}

}  // namespace
