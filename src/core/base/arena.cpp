#include "base/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <memory>

namespace phnsw {
namespace {

constexpr std::size_t kSmallestReserve = std::size_t{1} << 32;

std::size_t round_up(std::size_t bytes) noexcept { return (bytes + Arena::kPiece - 1) & ~(Arena::kPiece - 1); }

constexpr Status kNoMemory{PHNSW_OUT_OF_MEMORY, "out of memory for the arrays of the build"};

}  // namespace

Arena::~Arena() {
  for (Span *span : spans_) {
    unmap(*span);
    delete span;
  }
}

void Arena::unmap(Span &span) noexcept {
  if (span.data_ != nullptr) munmap(span.data_, span.reserved_);
  anonymous_ -= span.anonymous_;
  span.data_ = nullptr;
}

Status Arena::reserve(std::size_t bytes_max, Span **span) {
  auto owned = std::make_unique<Span>();
  spans_.reserve(spans_.size() + 1);
  std::size_t bytes = round_up(std::max<std::size_t>(bytes_max, 1));
  // One piece more, so that the range can begin at a huge page's boundary.
  for (;;) {
    void *base = mmap(nullptr, bytes + kPiece, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base != MAP_FAILED) {
      char *begin = static_cast<char *>(base);
      const std::size_t lead = (kPiece - reinterpret_cast<std::uintptr_t>(begin) % kPiece) % kPiece;
      if (lead != 0) munmap(begin, lead);
      munmap(begin + lead + bytes, kPiece - lead);
      owned->data_ = begin + lead;
      owned->reserved_ = bytes;
      break;
    }
    if (bytes <= kSmallestReserve) return kNoMemory;
    bytes = round_up(bytes / 2);
  }
  spans_.push_back(owned.get());
  *span = owned.release();
  return {};
}

Status Arena::grow(Span *span, std::size_t bytes) {
  if (bytes <= span->backed_) return {};
  if (bytes > span->reserved_) return {PHNSW_LIMIT, "the rows do not fit into the address space of one build"};
  const std::size_t more = round_up(bytes - span->backed_);
  const std::size_t room = memory_bytes_ > anonymous_ ? (memory_bytes_ - anonymous_) & ~(kPiece - 1) : 0;
  const std::size_t anonymous = std::min(more, room);
  if (anonymous != 0) {
    char *begin = span->data_ + span->backed_;
    if (mmap(begin, anonymous, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
        MAP_FAILED) {
      return kNoMemory;
    }
    madvise(begin, anonymous, MADV_HUGEPAGE);
    span->backed_ += anonymous;
    span->anonymous_ += anonymous;
    anonymous_ += anonymous;
  }
  return back_with_file(span, more - anonymous);
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

void Arena::release(Span *span) noexcept {
  if (span == nullptr) return;
  unmap(*span);
  for (const Span::FilePiece &piece : span->file_) {
    // A piece that finds no room in the list is lost to reuse, nothing else.
    if (file_free_.size() < file_free_.capacity()) file_free_.push_back(piece);
  }
  spans_.erase(std::find(spans_.begin(), spans_.end(), span));
  delete span;
}

}  // namespace phnsw
