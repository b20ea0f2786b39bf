// Guarded<T>: n elements that end exactly where an inaccessible page begins, so that any read or write beyond them is a
// segmentation fault.  Owned, unmapped on destruction.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

template <class T>
class Guarded {
 public:
  explicit Guarded(std::size_t n) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t pages = (n * sizeof(T) + page - 1) / page;
    bytes_ = (pages + 1) * page;
    void *base = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) std::abort();
    base_ = static_cast<char *>(base);
    if (mprotect(base_ + pages * page, page, PROT_NONE) != 0) std::abort();
    data_ = reinterpret_cast<T *>(base_ + pages * page) - n;
  }
  Guarded(const Guarded &) = delete;
  Guarded &operator=(const Guarded &) = delete;
  ~Guarded() { munmap(base_, bytes_); }

  T *data() { return data_; }
  T &operator[](std::size_t i) { return data_[i]; }

 private:
  char *base_ = nullptr;
  std::size_t bytes_ = 0;
  T *data_ = nullptr;
};
