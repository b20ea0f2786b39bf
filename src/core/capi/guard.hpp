// guard(): the one place where exceptions of the core end.
//
// Every fallible C entry runs its body through guard(), which turns a Status or an exception into a code and a message
// in the caller's phnsw_error.  It allocates nothing, so it can report that there is no memory.
#pragma once

#include <cstddef>
#include <exception>
#include <new>

#include "base/status.hpp"

namespace phnsw {

// Stores code and text (cut to what fits) in *error; null is allowed.
inline phnsw_status report(phnsw_error *error, phnsw_status code, const char *text) noexcept {
  if (error != nullptr) {
    std::size_t length = 0;
    while (length + 1 < sizeof error->message && text[length] != '\0') {
      error->message[length] = text[length];
      length++;
    }
    error->message[length] = '\0';
    error->status = code;
  }
  return code;
}

// body: () -> Status.  On success *error is left alone.
template <class Body>
phnsw_status guard(phnsw_error *error, Body &&body) noexcept {
  try {
    const Status status = body();
    return status.ok() ? PHNSW_OK : report(error, status.code(), status.text());
  } catch (const std::bad_alloc &) {
    return report(error, PHNSW_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception &exception) {
    return report(error, PHNSW_INTERNAL, exception.what());
  } catch (...) {
    return report(error, PHNSW_INTERNAL, "unknown C++ exception");
  }
}

}  // namespace phnsw
