// Status: what a fallible operation of the core returns.
//
// The core never throws on purpose: expected failures are a Status, only the standard library throws (bad_alloc), and
// capi/guard.hpp turns both into phnsw_status codes at the boundary.  A Status is a code and a static text: cheap to
// return, nothing to free.
#pragma once

#include "capi/phnsw_status.h"

namespace phnsw {

class [[nodiscard]] Status {
 public:
  constexpr Status() noexcept = default;
  // REQUIRES: text outlives the Status (a string literal).
  constexpr Status(phnsw_status code, const char *text) noexcept : code_(code), text_(text) {}

  [[nodiscard]] constexpr bool ok() const noexcept { return code_ == PHNSW_OK; }
  [[nodiscard]] constexpr phnsw_status code() const noexcept { return code_; }
  [[nodiscard]] constexpr const char *text() const noexcept { return text_; }

 private:
  phnsw_status code_ = PHNSW_OK;
  const char *text_ = "";
};

}  // namespace phnsw
