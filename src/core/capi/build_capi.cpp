// The bulk build's part of the C interface: guard() and forwarding.
#include "build/build.hpp"
#include "capi/guard.hpp"
#include "capi/phnsw_build.h"

struct phnsw_build {
  std::unique_ptr<phnsw::Build> build;
};

using phnsw::guard;

phnsw_status phnsw_build_create(const phnsw_build_params *params, phnsw_build **build, phnsw_error *error) noexcept {
  return guard(error, [&] {
    *build = nullptr;
    auto handle = std::make_unique<phnsw_build>();
    const phnsw::Status status = phnsw::Build::create(*params, &handle->build);
    if (status.ok()) *build = handle.release();
    return status;
  });
}

phnsw_status phnsw_build_start(phnsw_build *build, phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->start(); });
}

phnsw_status phnsw_build_chunk(phnsw_build *build, float **vectors, phnsw_tid **tids, uint32_t *rows,
                               phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->chunk(vectors, tids, rows); });
}

phnsw_status phnsw_build_submit(phnsw_build *build, uint32_t rows, phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->submit(rows); });
}

phnsw_status phnsw_build_finish_rows(phnsw_build *build, phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->finish_rows(); });
}

phnsw_status phnsw_build_wait(phnsw_build *build, uint32_t milliseconds, phnsw_progress *progress,
                              phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->wait(milliseconds, progress); });
}

phnsw_status phnsw_build_map_spill(phnsw_build *build, int fd, uint64_t size, phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->map_spill(fd, size); });
}

phnsw_status phnsw_build_result_get(const phnsw_build *build, phnsw_build_result *result, phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->result(result); });
}

phnsw_status phnsw_build_format_begin(phnsw_build *build, uint32_t first, uint32_t n, void *pages,
                                      phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->format_begin(first, n, pages); });
}

phnsw_status phnsw_build_format_wait(phnsw_build *build, uint32_t milliseconds, phnsw_error *error) noexcept {
  return guard(error, [&] { return build->build->format_wait(milliseconds); });
}

void phnsw_build_stop(phnsw_build *build) noexcept {
  if (build != nullptr) build->build->stop();
}

void phnsw_build_join(phnsw_build *build) noexcept {
  if (build != nullptr) build->build->join();
}

void phnsw_build_destroy(phnsw_build *build) noexcept { delete build; }
