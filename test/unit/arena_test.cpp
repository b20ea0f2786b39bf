// Arena: addresses that stay, a budget of anonymous memory, the rest in a file that its owner extends.
#include "base/arena.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>

namespace phnsw {
namespace {

// Tests count pieces: how many warm() takes at once must not hang on how fast this machine clears one.
constexpr double kNeverDear = std::numeric_limits<double>::infinity();
constexpr double kAlwaysDear = -1;

struct Workers {
  explicit Workers(unsigned threads = 1) : team(threads, stop) {}
  std::atomic<bool> stop{false};
  Team team;
};

class FileSource : public SpillSource {
 public:
  FileSource() : file_(std::tmpfile()) {}
  ~FileSource() { std::fclose(file_); }
  Status extend(std::uint64_t bytes, int *fd) override {
    if (refuse) return {PHNSW_CANCELLED, "refused"};
    if (bytes > size) {
      size = bytes;
      EXPECT_EQ(ftruncate(fileno(file_), static_cast<off_t>(bytes)), 0);
    }
    *fd = fileno(file_);
    return {};
  }
  std::uint64_t size = 0;
  bool refuse = false;

 private:
  std::FILE *file_;
};

// A span grows from memory into the file; what was written stays where it was.
TEST(Arena, GrowsInPlaceFromMemoryIntoTheFile) {
  FileSource source;
  Arena arena(5 * Arena::kPiece, source);
  ArenaArray<std::uint64_t> numbers;
  ASSERT_TRUE(numbers.reserve(arena, std::size_t{1} << 40).ok());
  const std::uint64_t *begin = numbers.data();
  std::size_t filled = 0;
  for (std::size_t size = 1000; size < 3000000; size *= 2) {
    ASSERT_TRUE(numbers.grow(size).ok());
    ASSERT_EQ(numbers.data(), begin);
    ASSERT_GE(numbers.size(), size);
    for (; filled < size; filled++) {
      ASSERT_EQ(numbers[filled], 0u);
      numbers[filled] = filled * 3;
    }
  }
  for (std::size_t i = 0; i < filled; i++) ASSERT_EQ(numbers[i], i * 3);
  EXPECT_EQ(arena.anonymous_bytes(), 5 * Arena::kPiece);
  EXPECT_EQ(arena.file_bytes(), source.size);
  EXPECT_GT(source.size, 0u);
}

TEST(Arena, UsesReleasedMemoryAndFileAgain) {
  FileSource source;
  Arena arena(4 * Arena::kPiece, source);
  ArenaArray<char> a, b, c;
  ASSERT_TRUE(a.allocate(arena, 3 * Arena::kPiece).ok());
  ASSERT_TRUE(b.allocate(arena, 6 * Arena::kPiece).ok());
  const std::uint64_t file = arena.file_bytes();
  EXPECT_EQ(file, 5 * Arena::kPiece);
  b.release();
  EXPECT_EQ(arena.anonymous_bytes(), 3 * Arena::kPiece);
  ASSERT_TRUE(c.allocate(arena, 4 * Arena::kPiece).ok());
  std::fill_n(c.data(), c.size(), 'x');
  EXPECT_EQ(arena.file_bytes(), file);
  a.release();
  ASSERT_TRUE(b.allocate(arena, 5 * Arena::kPiece).ok());
  std::fill_n(b.data(), b.size(), 'y');
  EXPECT_EQ(arena.file_bytes(), file);
  EXPECT_EQ(std::count(c.data(), c.data() + c.size(), 'x'), static_cast<std::ptrdiff_t>(c.size()));
}

TEST(Arena, ReportsWhatTheSourceRefuses) {
  FileSource source;
  source.refuse = true;
  Arena arena(0, source);
  ArenaArray<char> array;
  EXPECT_EQ(array.allocate(arena, 1).code(), PHNSW_CANCELLED);
  source.refuse = false;
  EXPECT_TRUE(array.allocate(arena, 1).ok());
}

// Warm pieces are the budget's, reach whatever grows next, read as zero, and stay
// where they were put when the rest is given back.
TEST(Arena, WarmPiecesGoToTheSpanThatGrows) {
  FileSource source;
  Workers workers;
  Team &team = workers.team;
  Arena arena(6 * Arena::kPiece, source, kNeverDear);
  ArenaArray<char> a, b, c;
  ASSERT_TRUE(a.allocate(arena, Arena::kPiece).ok());
  for (int i = 0; i < 4; i++) ASSERT_TRUE(arena.warm(team));
  EXPECT_EQ(arena.warm_bytes(), 4 * Arena::kPiece);
  EXPECT_EQ(arena.anonymous_bytes(), Arena::kPiece);

  ASSERT_TRUE(b.reserve(arena, 8 * Arena::kPiece).ok());
  ASSERT_TRUE(b.grow(Arena::kPiece).ok());
  char *begin = b.data();
  std::fill_n(b.data(), b.size(), 'b');
  EXPECT_EQ(arena.warm_bytes(), 3 * Arena::kPiece);
  ASSERT_TRUE(arena.warm(team));
  EXPECT_FALSE(arena.warm(team)) << "beyond the budget";
  ASSERT_TRUE(b.grow(3 * Arena::kPiece).ok());
  EXPECT_EQ(b.data(), begin);
  EXPECT_EQ(arena.warm_bytes(), 2 * Arena::kPiece);
  EXPECT_EQ(std::count(begin, begin + Arena::kPiece, 'b'), static_cast<std::ptrdiff_t>(Arena::kPiece));
  EXPECT_EQ(std::count(begin + Arena::kPiece, begin + 3 * Arena::kPiece, 0),
            static_cast<std::ptrdiff_t>(2 * Arena::kPiece));

  // What is warm, then what the budget leaves (nothing), then the file.
  ASSERT_TRUE(c.allocate(arena, 3 * Arena::kPiece).ok());
  EXPECT_EQ(arena.anonymous_bytes(), 6 * Arena::kPiece);
  EXPECT_EQ(arena.warm_bytes(), 0u);
  EXPECT_EQ(arena.file_bytes(), Arena::kPiece);
  std::fill_n(c.data(), c.size(), 'c');
  EXPECT_EQ(std::count(c.data(), c.data() + c.size(), 'c'), static_cast<std::ptrdiff_t>(c.size()));
}

// Where clearing a piece takes long, every thread clears two at once from then
// on, as long as the budget has room for all of them.
TEST(Arena, WarmsDearPiecesByTheTeam) {
  FileSource source;
  Workers workers(2);
  Arena arena(8 * Arena::kPiece, source, kAlwaysDear);
  ASSERT_TRUE(arena.warm(workers.team));
  EXPECT_EQ(arena.warm_bytes(), Arena::kPiece);
  ASSERT_TRUE(arena.warm(workers.team));
  EXPECT_EQ(arena.warm_bytes(), 5 * Arena::kPiece);
  EXPECT_FALSE(arena.warm(workers.team)) << "beyond the budget";
  ArenaArray<char> a;
  ASSERT_TRUE(a.allocate(arena, 8 * Arena::kPiece).ok());
  EXPECT_EQ(arena.anonymous_bytes(), 8 * Arena::kPiece);
  EXPECT_EQ(std::count(a.data(), a.data() + a.size(), 0), static_cast<std::ptrdiff_t>(a.size()));
}

// What a span leaves goes to the next ones, before what is warm and piece by piece, with what stood
// there; a span that has a part of the file leaves nothing.
TEST(Arena, WhatASpanLeavesGoesToOthers) {
  FileSource source;
  Workers workers;
  Arena arena(7 * Arena::kPiece, source, kNeverDear);
  ArenaArray<char> a, b, c, d;
  ASSERT_TRUE(a.reserve(arena, 20 * Arena::kPiece).ok());
  ASSERT_TRUE(a.grow(2 * Arena::kPiece).ok());
  ASSERT_TRUE(arena.warm(workers.team));
  ASSERT_TRUE(a.grow(3 * Arena::kPiece).ok()) << "moved";
  ASSERT_TRUE(a.grow(5 * Arena::kPiece).ok());
  std::fill_n(a.data(), a.size(), 'a');
  ASSERT_TRUE(arena.warm(workers.team));
  a.release();
  EXPECT_EQ(arena.anonymous_bytes(), 0u);
  EXPECT_EQ(arena.warm_bytes(), 6 * Arena::kPiece);

  ASSERT_TRUE(b.allocate(arena, Arena::kPiece).ok());
  ASSERT_TRUE(c.allocate(arena, 3 * Arena::kPiece).ok());
  EXPECT_EQ(std::count(b.data(), b.data() + b.size(), 'a'), static_cast<std::ptrdiff_t>(b.size()));
  EXPECT_EQ(std::count(c.data(), c.data() + c.size(), 'a'), static_cast<std::ptrdiff_t>(c.size()));
  std::fill_n(b.data(), b.size(), 'b');
  std::fill_n(c.data(), c.size(), 'c');
  ASSERT_TRUE(d.allocate(arena, 4 * Arena::kPiece).ok()) << "one left, one warm, one of the budget, one of the file";
  EXPECT_EQ(arena.warm_bytes(), 0u);
  EXPECT_EQ(arena.anonymous_bytes(), 7 * Arena::kPiece);
  EXPECT_EQ(arena.file_bytes(), Arena::kPiece);
  EXPECT_EQ(std::count(d.data(), d.data() + d.size(), 'a'), static_cast<std::ptrdiff_t>(Arena::kPiece));
  std::fill_n(d.data(), d.size(), 'd');
  EXPECT_EQ(std::count(b.data(), b.data() + b.size(), 'b'), static_cast<std::ptrdiff_t>(b.size()));
  EXPECT_EQ(std::count(c.data(), c.data() + c.size(), 'c'), static_cast<std::ptrdiff_t>(c.size()));
  d.release();
  EXPECT_EQ(arena.warm_bytes(), 0u);
  c.release();
  EXPECT_EQ(arena.warm_bytes(), 3 * Arena::kPiece);
  arena.cool();
  EXPECT_EQ(arena.warm_bytes(), 0u);
}

// A span that becomes smaller keeps what its first bytes were, however it got its memory; others get
// the rest, and the arena ends with nothing of it mapped twice.
TEST(Arena, WhatASpanShrinksByGoesToOthers) {
  FileSource source;
  Workers workers;
  Arena arena(8 * Arena::kPiece, source, kNeverDear);
  ArenaArray<char> a, c;
  ArenaArray<std::uint32_t> b;
  ASSERT_TRUE(a.reserve(arena, 20 * Arena::kPiece).ok());
  ASSERT_TRUE(arena.warm(workers.team));
  ASSERT_TRUE(a.grow(3 * Arena::kPiece).ok()) << "one moved, two new";
  ASSERT_TRUE(a.grow(6 * Arena::kPiece).ok());
  for (std::size_t i = 0; i < a.size(); i++) a[i] = static_cast<char>('a' + i / Arena::kPiece);
  ASSERT_TRUE(a.can_shrink());
  const char *const begin = a.data();
  const std::size_t kept = Arena::kPiece + 4;  // two pieces: a moved one, and half of two
  b.take_over(a, kept / 4);
  EXPECT_EQ(a.data(), nullptr);
  EXPECT_EQ(a.size(), 0u);
  EXPECT_FALSE(a.can_shrink());
  EXPECT_EQ(static_cast<const void *>(b.data()), begin);
  EXPECT_EQ(b.size(), kept / 4);
  EXPECT_EQ(b[0], 0x61616161u);
  EXPECT_EQ(b[b.size() - 1], 0x62626262u);
  EXPECT_EQ(arena.anonymous_bytes(), 2 * Arena::kPiece);
  EXPECT_EQ(arena.warm_bytes(), 4 * Arena::kPiece);
  ASSERT_TRUE(c.allocate(arena, 5 * Arena::kPiece).ok());
  EXPECT_EQ(arena.warm_bytes(), 0u);
  for (const char piece : {'c', 'd', 'e', 'f'}) {
    EXPECT_EQ(std::count(c.data(), c.data() + c.size(), piece), static_cast<std::ptrdiff_t>(Arena::kPiece)) << piece;
  }
  std::fill_n(c.data(), c.size(), 'x');
  EXPECT_EQ(b[b.size() - 1], 0x62626262u);
  b.release();
  EXPECT_EQ(arena.warm_bytes(), 2 * Arena::kPiece);
  c.release();
  ASSERT_TRUE(a.allocate(arena, 9 * Arena::kPiece).ok()) << "eight of memory, one of the file";
  EXPECT_EQ(arena.file_bytes(), Arena::kPiece);
  EXPECT_FALSE(a.can_shrink());
}

// Where a piece was before it was moved, somebody else may live when the arena ends.
TEST(Arena, GivesBackNoAddressesOfOthers) {
  void *other = MAP_FAILED;
  {
    FileSource source;
    Workers workers;
    Team &team = workers.team;
    Arena arena(8 * Arena::kPiece, source, kNeverDear);
    ArenaArray<char> a;
    for (int i = 0; i < 4; i++) ASSERT_TRUE(arena.warm(team));
    ASSERT_TRUE(a.allocate(arena, 2 * Arena::kPiece).ok());
    void *left = const_cast<char *>(arena.warm_place()) - 2 * Arena::kPiece;
    other = mmap(left, Arena::kPiece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ASSERT_EQ(other, left);
    arena.cool();
    EXPECT_EQ(arena.warm_bytes(), 0u);
    ASSERT_TRUE(arena.warm(team)) << "it can begin again";
  }
  *static_cast<volatile char *>(other) = 1;
  munmap(other, Arena::kPiece);
}

// Every page from where it is told to, of all threads' pieces; none before.
TEST(Arena, TouchesPages) {
  static constexpr std::size_t kPage = 4096;
  FileSource source;
  std::atomic<bool> stop{false};
  Team team{3, stop};
  Arena arena(std::size_t{1} << 30, source);
  ArenaArray<char> array;
  ASSERT_TRUE(array.allocate(arena, 7 * Arena::kPiece).ok());
  std::fill_n(array.data(), array.size(), 'a');
  struct Lead {
    Team &team;
    ArenaArray<char> &array;
    Status status;
  } lead{team, array, {}};
  team.lead(
      [](void *context) {
        Lead &own = *static_cast<Lead *>(context);
        own.status = Arena::touch(own.team, own.array.data() + Arena::kPiece, 5 * Arena::kPiece + kPage + 1);
      },
      &lead);
  ASSERT_TRUE(lead.status.ok());
  for (std::size_t at = 0; at < array.size(); at++) {
    const bool touched = at % kPage == 0 && at >= Arena::kPiece && at < 6 * Arena::kPiece + 2 * kPage;
    ASSERT_EQ(array[at], touched ? 0 : 'a') << at;
  }
}

TEST(Arena, RefusesMoreThanWasReserved) {
  FileSource source;
  Arena arena(std::size_t{1} << 30, source);
  ArenaArray<char> array;
  ASSERT_TRUE(array.reserve(arena, Arena::kPiece).ok());
  EXPECT_EQ(array.grow(Arena::kPiece + 1).code(), PHNSW_LIMIT);
}

}  // namespace
}  // namespace phnsw
