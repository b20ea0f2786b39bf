// Arena: the large arrays of a bulk build, in anonymous memory up to a budget and in a mapped temporary file beyond it.
//
// A Span is one contiguous range of reserved addresses that is backed piece by piece as it grows, so
// that pointers into it never move.  Each piece is anonymous memory (huge pages asked for) while the
// sum stays within the budget; else it is a piece of the spill file, which the arena's owner extends
// on request.  Released pieces are used again, of either kind.
//
// Fresh memory costs the time of the system's clearing it, and in a virtual machine up to a hundred
// times that, while its host finds a page.  warm() has it done ahead, when nobody has anything
// better to do; what is warm is moved, by its page tables, to the span that grows next, whichever
// that is.  Of dear memory a whole team clears pieces side by side.
//
// What a span leaves waits like what is warm, and is used before it: it need not be cleared again.
//
// Used by one thread, the conductor.  New bytes read as zero, except in pieces that are used again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/status.hpp"
#include "base/team.hpp"

namespace phnsw {

// Where an arena gets its file from.
class SpillSource {
 public:
  // Blocks until the file has `bytes` bytes; stores its descriptor.  Not ok: the build is being stopped or has no file.
  virtual Status extend(std::uint64_t bytes, int *fd) = 0;

 protected:
  ~SpillSource() = default;
};

class Arena {
 public:
  // Whether what is reserved is taken from something: the process has a limit (ulimit -v).
  static bool addresses_are_limited() noexcept;

  static constexpr std::size_t kPiece = std::size_t{1} << 21;  // pieces are multiples of it: one huge page

  // Growing range of addresses.  Owned by its arena's user: release() returns it, the arena's end returns all.
  class Span {
   public:
    [[nodiscard]] void *data() const noexcept { return data_; }
    [[nodiscard]] std::size_t backed() const noexcept { return backed_; }
    // Whether shrink() gives its memory to others.
    [[nodiscard]] bool can_shrink() const noexcept { return huge_ && file_.empty(); }

   private:
    friend class Arena;
    char *data_ = nullptr;
    std::size_t reserved_ = 0;
    std::size_t backed_ = 0;
    std::size_t anonymous_ = 0;
    struct FilePiece {
      std::uint64_t offset;
      std::size_t bytes;
    };
    std::vector<FilePiece> file_;
    // Lengths, in order, of what can be moved at once (it has one mapping); all
    // of it is `huge` as long as there is no file.
    std::vector<std::size_t> moved_at_once_;
    bool huge_ = true;
  };

  // A piece that takes a thread longer is dear: clearing it is a tenth of a millisecond to a half.
  static constexpr double kDearSeconds = 2e-3;

  // memory_bytes: of anonymous memory at most.  REQUIRES: spill outlives the arena.
  Arena(std::size_t memory_bytes, SpillSource &spill, double dear_seconds = kDearSeconds) noexcept
      : memory_bytes_(memory_bytes), spill_(spill), dear_seconds_(dear_seconds) {}
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;
  ~Arena();

  // Addresses for so many bytes; nothing is backed yet.
  Status reserve(std::size_t bytes_max, Span **span);
  // At least `bytes` bytes of the span are backed afterwards.
  Status grow(Span *span, std::size_t bytes);
  // reserve() and grow() of a fixed size.
  Status allocate(std::size_t bytes, Span **span);
  // The span keeps its first `bytes` bytes, others get the rest.  REQUIRES: can_shrink(), and it has so many.
  void shrink(Span *span, std::size_t bytes) noexcept;
  // Unmaps; null is fine.
  void release(Span *span) noexcept;

  // Gives back what backs the span, of a file its blocks, if the file system can: bytes there are unknown
  // afterwards, and the file has holes.  A leaf, also for signal handlers.
  static void discard(const Span *span) noexcept;

  // Clears some more memory for later, within the budget.  false: there is no room for it.
  bool warm(Team &team) noexcept;
  // Has the system provide a range, by all threads of the team, each of them other pieces: two at the same piece would
  // both clear one.  Its first bytes of pages become zero.  REQUIRES: begin is at a piece's boundary.
  static Status touch(Team &team, char *begin, std::size_t bytes);
  // Gives back what waits.
  void cool() noexcept;
  // Bytes that wait for a span, left by others or cleared.
  [[nodiscard]] std::size_t warm_bytes() const noexcept { return left_bytes_ + (warm_end_ - warm_begin_); }
  // ... and where.
  [[nodiscard]] const char *warm_place() const noexcept { return warm_ + warm_begin_; }

  [[nodiscard]] std::size_t anonymous_bytes() const noexcept { return anonymous_; }
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return file_end_; }

 private:
  // Each backs at most `bytes` behind what the span has; returns how many.
  std::size_t back_with_left(Span *span, std::size_t bytes);
  std::size_t back_with_warm(Span *span, std::size_t bytes);
  bool move(Span *span, char *from, std::size_t bytes);
  // Puts a span's memory by for others; false: that cannot be done.
  bool leave(Span &span) noexcept;
  Status back_with_file(Span *span, std::size_t bytes);
  void unmap(Span &span) noexcept;

  const std::size_t memory_bytes_;
  SpillSource &spill_;
  const double dear_seconds_;
  std::size_t anonymous_ = 0;  // of spans
  // Addresses for warm pieces: those in [begin, end) are cleared and wait.
  char *warm_ = nullptr;
  std::size_t warm_begin_ = 0, warm_end_ = 0;
  bool dear_ = false;  // the last piece took long
  struct Left {
    char *begin;
    std::size_t bytes;
  };
  std::vector<Left> left_;
  std::size_t left_bytes_ = 0;
  std::uint64_t file_end_ = 0;
  std::vector<Span::FilePiece> file_free_;
  std::vector<Span *> spans_;
};

// A typed fixed-size array in an arena; released with the object.
template <class T>
class ArenaArray {
 public:
  ArenaArray() noexcept = default;
  ArenaArray(const ArenaArray &) = delete;
  ArenaArray &operator=(const ArenaArray &) = delete;
  ~ArenaArray() { release(); }
  void swap(ArenaArray &other) noexcept {
    std::swap(arena_, other.arena_);
    std::swap(span_, other.span_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  Status allocate(Arena &arena, std::size_t size) {
    release();
    Arena::Span *span = nullptr;
    const Status status = arena.allocate(size * sizeof(T), &span);
    if (!status.ok()) return status;
    arena_ = &arena;
    span_ = span;
    data_ = static_cast<T *>(span->data());
    size_ = size;
    return {};
  }
  // Addresses for size_max elements; grow() backs them.
  Status reserve(Arena &arena, std::size_t size_max) {
    release();
    Arena::Span *span = nullptr;
    const Status status = arena.reserve(size_max * sizeof(T), &span);
    if (!status.ok()) return status;
    arena_ = &arena;
    span_ = span;
    data_ = static_cast<T *>(span->data());
    return {};
  }
  Status grow(std::size_t size) {
    if (size <= size_) return {};
    const Status status = arena_->grow(span_, size * sizeof(T));
    if (status.ok()) size_ = span_->backed() / sizeof(T);
    return status;
  }
  void discard() const noexcept {
    if (span_ != nullptr) Arena::discard(span_);
  }
  // Becomes the first size elements of another array's memory, which has no
  // elements any more.  REQUIRES: from.can_shrink().
  template <class U>
  void take_over(ArenaArray<U> &from, std::size_t size) noexcept {
    release();
    arena_ = std::exchange(from.arena_, nullptr);
    span_ = std::exchange(from.span_, nullptr);
    data_ = reinterpret_cast<T *>(std::exchange(from.data_, nullptr));
    size_ = size;
    from.size_ = 0;
    arena_->shrink(span_, size * sizeof(T));
  }
  [[nodiscard]] bool can_shrink() const noexcept { return span_ != nullptr && span_->can_shrink(); }
  void release() noexcept {
    if (arena_ != nullptr) arena_->release(span_);
    arena_ = nullptr;
    span_ = nullptr;
    data_ = nullptr;
    size_ = 0;
  }

  [[nodiscard]] T *data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  T &operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  template <class U>
  friend class ArenaArray;
  Arena *arena_ = nullptr;
  Arena::Span *span_ = nullptr;
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace phnsw
