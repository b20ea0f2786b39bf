#include "base/arena.hpp"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <ctime>
#include <memory>

namespace phnsw {
namespace {

std::size_t round_up(std::size_t bytes) noexcept { return (bytes + Arena::kPiece - 1) & ~(Arena::kPiece - 1); }

// Addresses are cheap, and pieces that have left their place do not come back to it.
constexpr std::size_t kWarmReserve = std::size_t{1} << 36;
constexpr std::size_t kPage = 4096;
// Mappings that may wait; more are given back.
constexpr std::size_t kLeftMax = 1024;
constexpr std::size_t kDearPieces = 2;  // of each thread at once

double thread_seconds() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

constexpr Status kNoMemory{PHNSW_OUT_OF_MEMORY, "out of memory for the arrays of the build"};

}  // namespace

Arena::~Arena() {
  for (Span *span : spans_) {
    unmap(*span);
    delete span;
  }
  cool();
}

void Arena::unmap(Span &span) noexcept {
  if (span.data_ != nullptr) munmap(span.data_, span.reserved_);
  anonymous_ -= span.anonymous_;
  span.data_ = nullptr;
}

bool Arena::leave(Span &span) noexcept {
  if (span.anonymous_ == 0 || !span.huge_ || !span.file_.empty() ||
      left_.size() + span.moved_at_once_.size() > left_.capacity()) {
    return false;
  }
  char *begin = span.data_;
  for (const std::size_t bytes : span.moved_at_once_) {
    left_.push_back({begin, bytes});
    begin += bytes;
  }
  left_bytes_ += span.anonymous_;
  if (span.reserved_ > span.backed_) munmap(begin, span.reserved_ - span.backed_);
  anonymous_ -= span.anonymous_;
  span.data_ = nullptr;
  return true;
}

bool Arena::addresses_are_limited() noexcept {
  rlimit limit{};
  return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

Status Arena::reserve(std::size_t bytes_max, Span **span) {
  auto owned = std::make_unique<Span>();
  spans_.reserve(spans_.size() + 1);
  left_.reserve(kLeftMax);
  const std::size_t bytes = round_up(std::max<std::size_t>(bytes_max, 1));
  // One piece more, so that the range can begin at a huge page's boundary.
  void *base = mmap(nullptr, bytes + kPiece, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return kNoMemory;
  char *begin = static_cast<char *>(base);
  const std::size_t lead = (kPiece - reinterpret_cast<std::uintptr_t>(begin) % kPiece) % kPiece;
  if (lead != 0) munmap(begin, lead);
  munmap(begin + lead + bytes, kPiece - lead);
  owned->data_ = begin + lead;
  owned->reserved_ = bytes;
  spans_.push_back(owned.get());
  *span = owned.release();
  return {};
}

Status Arena::grow(Span *span, std::size_t bytes) {
  if (bytes <= span->backed_) return {};
  if (bytes > span->reserved_) return {PHNSW_LIMIT, "the rows do not fit into the address space of one build"};
  std::size_t more = round_up(bytes - span->backed_);
  more -= back_with_left(span, more);
  more -= back_with_warm(span, more);
  const std::size_t used = anonymous_ + warm_bytes();
  const std::size_t room = memory_bytes_ > used ? (memory_bytes_ - used) & ~(kPiece - 1) : 0;
  const std::size_t anonymous = std::min(more, room);
  if (anonymous != 0) {
    char *begin = span->data_ + span->backed_;
    span->moved_at_once_.reserve(span->moved_at_once_.size() + 1);
    if (mmap(begin, anonymous, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
             0) == MAP_FAILED) {
      return kNoMemory;
    }
    // Of a few small pages the first touch clears no more than these.
    const bool huge = bytes >= kPiece / 4;
    madvise(begin, anonymous, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    span->huge_ &= huge;
    span->moved_at_once_.push_back(anonymous);
    span->backed_ += anonymous;
    span->anonymous_ += anonymous;
    anonymous_ += anonymous;
  }
  return back_with_file(span, more - anonymous);
}

void Arena::discard(const Span *span) noexcept {
  // The file comes behind the memory.
  madvise(span->data_, span->anonymous_, MADV_DONTNEED);
  if (span->backed_ > span->anonymous_)
    madvise(span->data_ + span->anonymous_, span->backed_ - span->anonymous_, MADV_REMOVE);
}

bool Arena::warm(Team &team) noexcept {
  const std::size_t used = anonymous_ + warm_bytes();
  const std::size_t bytes = (dear_ ? kDearPieces * team.threads() : 1) * kPiece;
  if (memory_bytes_ < used + bytes || warm_end_ + bytes > kWarmReserve) return false;
  if (warm_ == nullptr) {
    void *base = mmap(nullptr, kWarmReserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return false;
    madvise(base, kWarmReserve, MADV_HUGEPAGE);  // once for all, so that pieces stay one mapping
    warm_ = static_cast<char *>(base);
    warm_begin_ = warm_end_ = (kPiece - reinterpret_cast<std::uintptr_t>(warm_) % kPiece) % kPiece;
    if (warm_begin_ != 0) munmap(warm_, warm_begin_);
  }
  char *piece = warm_ + warm_end_;
  if (mprotect(piece, bytes, PROT_READ | PROT_WRITE) != 0) return false;
  // Of this thread, which may have to wait for a processor.
  const double began = thread_seconds();
  if (!touch(team, piece, bytes).ok()) return false;
  dear_ = thread_seconds() - began > dear_seconds_ * static_cast<double>(dear_ ? kDearPieces : 1);
  warm_end_ += bytes;
  return true;
}

Status Arena::touch(Team &team, char *begin, std::size_t bytes) {
  return team.for_each((bytes + kPiece - 1) / kPiece, [=](std::size_t piece, unsigned) {
    const std::size_t end = std::min(bytes, (piece + 1) * kPiece);
    for (std::size_t at = piece * kPiece; at < end; at += kPage) *static_cast<volatile char *>(begin + at) = 0;
  });
}

void Arena::cool() noexcept {
  // Addresses that were moved away may be somebody else's by now.
  if (warm_ != nullptr) munmap(warm_ + warm_begin_, kWarmReserve - warm_begin_);
  warm_ = nullptr;
  warm_begin_ = warm_end_ = 0;
  for (const Left &left : left_) munmap(left.begin, left.bytes);
  left_.clear();
  left_bytes_ = 0;
}

bool Arena::move(Span *span, char *from, std::size_t bytes) {
  span->moved_at_once_.reserve(span->moved_at_once_.size() + 1);
  char *begin = span->data_ + span->backed_;
  if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, begin) == MAP_FAILED) return false;
  span->moved_at_once_.push_back(bytes);
  span->backed_ += bytes;
  span->anonymous_ += bytes;
  anonymous_ += bytes;
  return true;
}

std::size_t Arena::back_with_left(Span *span, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes && !left_.empty()) {
    Left &left = left_.back();
    const std::size_t take = std::min(bytes - done, left.bytes);
    if (!move(span, left.begin + (left.bytes - take), take)) break;
    left.bytes -= take;
    if (left.bytes == 0) left_.pop_back();
    left_bytes_ -= take;
    done += take;
  }
  return done;
}

std::size_t Arena::back_with_warm(Span *span, std::size_t bytes) {
  const std::size_t take = std::min(bytes, warm_end_ - warm_begin_);
  if (take == 0 || !move(span, warm_ + warm_begin_, take)) return 0;
  warm_begin_ += take;
  return take;
}

Status Arena::back_with_file(Span *span, std::size_t bytes) {
  while (bytes != 0) {
    // First what was released, then the file's end.
    Span::FilePiece piece{};
    if (!file_free_.empty()) {
      piece = file_free_.back();
      span->file_.reserve(span->file_.size() + 1);
      file_free_.pop_back();
      if (piece.bytes > bytes) {
        file_free_.push_back({piece.offset + bytes, piece.bytes - bytes});
        piece.bytes = bytes;
      }
    } else {
      piece = {file_end_, bytes};
      span->file_.reserve(span->file_.size() + 1);
      file_free_.reserve(spans_.size() * 2 + 64);
    }
    int fd = -1;
    const std::uint64_t end = std::max(file_end_, piece.offset + piece.bytes);
    const Status status = spill_.extend(end, &fd);
    if (!status.ok()) return status;
    file_end_ = end;
    if (mmap(span->data_ + span->backed_, piece.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
             static_cast<off_t>(piece.offset)) == MAP_FAILED) {
      return kNoMemory;
    }
    span->file_.push_back(piece);
    span->backed_ += piece.bytes;
    bytes -= piece.bytes;
  }
  return {};
}

Status Arena::allocate(std::size_t bytes, Span **span) {
  Status status = reserve(bytes, span);
  if (!status.ok()) return status;
  status = grow(*span, bytes);
  if (!status.ok()) {
    release(*span);
    *span = nullptr;
  }
  return status;
}

void Arena::shrink(Span *span, std::size_t bytes) noexcept {
  const std::size_t keep = round_up(std::max<std::size_t>(bytes, 1));
  if (keep >= span->backed_) return;
  munmap(span->data_ + span->backed_, span->reserved_ - span->backed_);
  while (span->backed_ > keep) {
    std::size_t &last = span->moved_at_once_.back();
    const std::size_t cut = std::min(last, span->backed_ - keep);
    last -= cut;
    if (last == 0) span->moved_at_once_.pop_back();
    span->backed_ -= cut;
    if (left_.size() < left_.capacity()) {
      left_.push_back({span->data_ + span->backed_, cut});
      left_bytes_ += cut;
    } else {
      munmap(span->data_ + span->backed_, cut);
    }
    span->anonymous_ -= cut;
    anonymous_ -= cut;
  }
  span->reserved_ = keep;
}

void Arena::release(Span *span) noexcept {
  if (span == nullptr) return;
  if (!leave(*span)) unmap(*span);
  for (const Span::FilePiece &piece : span->file_) {
    // A piece that finds no room in the list is lost to reuse, nothing else.
    if (file_free_.size() < file_free_.capacity()) file_free_.push_back(piece);
  }
  spans_.erase(std::find(spans_.begin(), spans_.end(), span));
  delete span;
}

}  // namespace phnsw
