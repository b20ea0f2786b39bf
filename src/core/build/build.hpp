// Build: a bulk build from its start to its pages; what stands behind the handle of the C interface.
//
// Two threads meet here.  The backend's thread calls the public functions: it fills chunks, extends the spill
// file, polls, takes pages.  The conductor runs conduct(): it drains the chunks, builds the graph with its
// team and then serves format requests until it is told to stop.  Everything they share is protected by
// mutex_ or atomic; the rest belongs to the conductor until join().
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include "build/calibrate.hpp"
#include "build/images.hpp"
#include "capi/phnsw_build.h"

namespace phnsw {

class Build final : private SpillSource {
 public:
  // params are validated here.
  static Status create(const phnsw_build_params &params, std::unique_ptr<Build> *build);
  ~Build() { join(); }

  Status start();
  // RUNNING: all chunks are busy.
  Status chunk(float **vectors, phnsw_tid **tids, std::uint32_t *rows);
  Status submit(std::uint32_t rows);
  Status finish_rows();
  // RUNNING: not yet.
  Status wait(std::uint32_t milliseconds, phnsw_progress *progress);
  Status map_spill(int fd, std::uint64_t size);
  Status result(phnsw_build_result *result) const;
  Status format_begin(std::uint32_t first, std::uint32_t n, void *pages);
  Status format_wait(std::uint32_t milliseconds);
  void stop() noexcept;
  void join() noexcept;

 private:
  enum class State { kCreated, kLoading, kBuilding, kComplete, kFailed };
  struct Chunk {
    Array<float> vectors;
    Array<phnsw_tid> tids;
    std::uint32_t rows = 0;
    bool full = false;
  };
  static constexpr std::uint32_t kChunks = 6;

  explicit Build(const phnsw_build_params &params)
      : params_(params), team_(params.threads, stop_), arena_(params.memory_bytes, *this) {}

  // The conductor's.
  static void *main(void *build) noexcept;
  void conduct() noexcept;
  Status load();
  [[nodiscard]] std::size_t arena_bytes_later() const noexcept;
  Status build_graph();
  void fill_result();
  // One step of a late calibration, or with `all` what is left of it.
  Status calibrate_late(bool all);
  Status serve();
  Status extend(std::uint64_t bytes, int *fd) override;

  // Wakes the backend's thread.  REQUIRES: mutex_ held.
  void signal_event() noexcept {
    event_++;
    to_backend_.notify_all();
  }

  const phnsw_build_params params_;
  phnsw_codec_params codec_params_{};
  std::uint32_t chunk_rows_ = 0;

  std::atomic<bool> stop_{false};
  BuildProgress progress_;
  Conductor conductor_;

  mutable std::mutex mutex_;
  std::condition_variable to_conductor_, to_backend_;
  // Protected by mutex_.
  State state_ = State::kCreated;
  Status failure_;
  std::uint64_t event_ = 0;
  Chunk chunks_[kChunks];  // `full` is protected; the content is its holder's
  std::uint32_t drain_ = 0;
  bool rows_ended_ = false;
  std::uint64_t spill_wanted_ = 0, spill_size_ = 0;
  int spill_fd_ = -1;
  std::uint32_t format_first_ = 0, format_n_ = 0;
  std::uint8_t *format_pages_ = nullptr;  // null: no request under way
  phnsw_build_result result_{};           // complete from kComplete on

  // The backend's.
  std::uint64_t seen_event_ = 0;
  std::uint32_t fill_ = 0;
  bool filling_ = false;

  // The conductor's.  The arena outlives what stands in it.
  Team team_;
  Arena arena_;
  BuildContext context_{team_, arena_, progress_};
  std::optional<Rows> rows_;
  Graph graph_;
  std::optional<Calibrator> calibrator_;
  std::optional<Images> images_;
};

}  // namespace phnsw
