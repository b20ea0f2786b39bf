// Array: an owned, cache-line aligned, zeroable array of trivial elements.
//
// std::vector cannot promise 64-byte alignment, which the kernels' full-width loads like, and touches every byte at
// construction.  Failure to allocate throws std::bad_alloc.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace phnsw {

inline constexpr std::size_t kCacheLine = 64;

template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() noexcept = default;
  explicit Array(std::size_t size) { reset(size); }
  Array(Array &&other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Array &operator=(Array &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  Array(const Array &) = delete;
  Array &operator=(const Array &) = delete;
  ~Array() { release(); }

  // Drops the content; the new elements are uninitialised.
  void reset(std::size_t size) {
    release();
    if (size == 0) return;
    if (size > (static_cast<std::size_t>(-1) / 2) / sizeof(T)) throw std::bad_alloc();
    data_ = static_cast<T *>(::operator new (size * sizeof(T), std::align_val_t{kCacheLine}));
    size_ = size;
  }
  // As reset(), with all bytes zero.
  void reset_zero(std::size_t size) {
    reset(size);
    if (size_ != 0) std::memset(static_cast<void *>(data_), 0, size_ * sizeof(T));
  }
  // Keeps the first min(size(), size) elements.
  void resize(std::size_t size) {
    Array grown(size);
    if (size_ != 0 && size != 0) {
      std::memcpy(static_cast<void *>(grown.data_), data_, (size < size_ ? size : size_) * sizeof(T));
    }
    *this = std::move(grown);
  }

  [[nodiscard]] T *data() noexcept { return data_; }
  [[nodiscard]] const T *data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  T &operator[](std::size_t i) noexcept { return data_[i]; }
  const T &operator[](std::size_t i) const noexcept { return data_[i]; }
  T *begin() noexcept { return data_; }
  T *end() noexcept { return data_ + size_; }
  const T *begin() const noexcept { return data_; }
  const T *end() const noexcept { return data_ + size_; }

 private:
  void release() noexcept {
    if (data_ != nullptr) ::operator delete (data_, std::align_val_t{kCacheLine});
    data_ = nullptr;
    size_ = 0;
  }

  T *data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace phnsw
