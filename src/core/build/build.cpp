#include "build/build.hpp"

#include <algorithm>
#include <chrono>
#include <new>

#include "base/rng.hpp"
#include "build/order.hpp"
#include "build/reach.hpp"

namespace phnsw {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::uint32_t kChunkRowsMax = 4096;
constexpr std::uint32_t kFormatBlock = 8;
// Full chunks behind which the whole team encodes: fewer, and it is the backend that is slow.
constexpr std::uint32_t kChunksAlone = 2;
constexpr Status kRunning{PHNSW_RUNNING, "the build is running"};

// Independent streams of randomness from the build's seed.
enum Stream : std::uint64_t { kRotationStream, kLevelStream, kPartitionStream, kOrderStream, kSampleStream };
std::uint64_t stream(std::uint64_t seed, Stream which) noexcept { return mix64(seed + which); }

}  // namespace

Status Build::create(const phnsw_build_params &params, std::unique_ptr<Build> *build) {
  if (params.threads < 1) return {PHNSW_BAD_ARGUMENT, "a build needs at least one thread"};
  if (params.m < PHNSW_M_MIN || params.m > PHNSW_M_MAX) return {PHNSW_BAD_ARGUMENT, "m is out of range"};
  if (params.ef_construction < PHNSW_EFC_MIN || params.ef_construction > PHNSW_EFC_MAX) {
    return {PHNSW_BAD_ARGUMENT, "ef_construction is out of range"};
  }
  std::unique_ptr<Build> made(new Build(params));
  const Status status =
      Codec::choose(params.metric, params.dims, params.m, stream(params.seed, kRotationStream), &made->codec_params_);
  if (!status.ok()) return status;
  made->chunk_rows_ = static_cast<std::uint32_t>(
      std::clamp<std::size_t>(kChunkBytes / (params.dims * sizeof(float)), 1, kChunkRowsMax));
  for (Chunk &chunk : made->chunks_) {
    chunk.vectors.reset(std::size_t{made->chunk_rows_} * params.dims);
    chunk.tids.reset(made->chunk_rows_);
  }
  *build = std::move(made);
  return {};
}

Status Build::start() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (state_ != State::kCreated) return {PHNSW_BAD_ARGUMENT, "the build has been started already"};
    state_ = State::kLoading;
  }
  const Status status = conductor_.start(main, this);
  if (!status.ok()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    state_ = State::kFailed;
    failure_ = status;
  }
  return status;
}

// ---- the backend's side -------------------------------------------------------------------------

Status Build::chunk(float **vectors, phnsw_tid **tids, std::uint32_t *rows) {
  const std::lock_guard<std::mutex> lock(mutex_);
  *vectors = nullptr;
  *tids = nullptr;
  *rows = 0;
  if (state_ == State::kFailed) return failure_;
  if (state_ != State::kLoading || rows_ended_) return {PHNSW_BAD_ARGUMENT, "the build takes no rows now"};
  Chunk &chunk = chunks_[fill_];
  if (chunk.full) return kRunning;
  filling_ = true;
  *vectors = chunk.vectors.data();
  *tids = chunk.tids.data();
  *rows = chunk_rows_;
  return {};
}

Status Build::submit(std::uint32_t rows) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (state_ == State::kFailed) return failure_;
  if (!filling_ || rows > chunk_rows_) return {PHNSW_BAD_ARGUMENT, "no chunk was taken, or it has fewer rows"};
  filling_ = false;
  if (rows == 0) return {};
  chunks_[fill_].rows = rows;
  chunks_[fill_].full = true;
  fill_ = (fill_ + 1) % kChunks;
  to_conductor_.notify_all();
  return {};
}

Status Build::finish_rows() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (state_ == State::kFailed) return failure_;
  if (state_ == State::kCreated) return {PHNSW_BAD_ARGUMENT, "the build has not been started"};
  rows_ended_ = true;
  to_conductor_.notify_all();
  return {};
}

Status Build::wait(std::uint32_t milliseconds, phnsw_progress *progress) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto over = [this] { return state_ == State::kComplete || state_ == State::kFailed; };
  to_backend_.wait_for(lock, std::chrono::milliseconds(milliseconds), [&] { return over() || event_ != seen_event_; });
  seen_event_ = event_;
  if (progress != nullptr) {
    *progress = {progress_.phase(), progress_.done(), progress_.total(), progress_.points(), spill_wanted_};
  }
  if (state_ == State::kFailed) return failure_;
  return state_ == State::kComplete ? Status() : kRunning;
}

Status Build::map_spill(int fd, std::uint64_t size) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (state_ == State::kFailed) return failure_;
  if (fd < 0 || (spill_fd_ >= 0 && fd != spill_fd_) || size < spill_size_) {
    return {PHNSW_BAD_ARGUMENT, "the spill file changed or shrank"};
  }
  spill_fd_ = fd;
  spill_size_ = size;
  to_conductor_.notify_all();
  return {};
}

Status Build::result(phnsw_build_result *result) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (state_ == State::kFailed) return failure_;
  if (state_ != State::kComplete) return {PHNSW_BAD_ARGUMENT, "the build is not complete"};
  *result = result_;
  return {};
}

Status Build::format_begin(std::uint32_t first, std::uint32_t n, void *pages) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (state_ == State::kFailed) return failure_;
  if (state_ != State::kComplete || format_pages_ != nullptr) {
    return {PHNSW_BAD_ARGUMENT, "pages can be formatted once the build is complete, one request at a time"};
  }
  if (first > result_.total_blocks || n > result_.total_blocks - first) return {PHNSW_BAD_ARGUMENT, "no such blocks"};
  if (n == 0) return {};
  format_first_ = first;
  format_n_ = n;
  format_pages_ = static_cast<std::uint8_t *>(pages);
  to_conductor_.notify_all();
  return {};
}

Status Build::format_wait(std::uint32_t milliseconds) {
  std::unique_lock<std::mutex> lock(mutex_);
  to_backend_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                       [this] { return state_ == State::kFailed || format_pages_ == nullptr; });
  if (state_ == State::kFailed) return failure_;
  return format_pages_ == nullptr ? Status() : kRunning;
}

void Build::stop() noexcept {
  stop_.store(true);
  const std::lock_guard<std::mutex> lock(mutex_);
  to_conductor_.notify_all();
}

void Build::join() noexcept {
  stop();
  if (!conductor_.running()) return;
  conductor_.join();
  team_.await_workers();
}

// ---- the conductor's side -----------------------------------------------------------------------

void *Build::main(void *build) noexcept {
  static_cast<Build *>(build)->team_.lead([](void *self) { static_cast<Build *>(self)->conduct(); }, build);
  return nullptr;
}

void Build::conduct() noexcept {
  Status status;
  try {
    status = load();
    if (status.ok()) status = build_graph();
    if (status.ok()) {
      fill_result();
      arena_.cool();
      status = serve();
    }
  } catch (const std::bad_alloc &) {
    status = {PHNSW_OUT_OF_MEMORY, "out of memory"};
  } catch (...) {
    status = {PHNSW_INTERNAL, "unexpected C++ exception in the build"};
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  state_ = State::kFailed;
  failure_ = status.ok() ? kStopped : status;
  signal_event();
}

// What a row will want after the load: its reservoir, its part in the partition.
std::size_t Build::arena_bytes_later() const noexcept {
  const GraphParams density = graph_params(codec_params_.code_dims, params_.ef_construction, 0);
  const std::size_t carving = density.carve_dims < codec_params_.code_dims ? sizeof(phnsw_code_head) : 0;
  return (density.reservoir + 2) * sizeof(std::uint64_t) + 8 * sizeof(std::uint32_t) + carving;
}

Status Build::load() {
  progress_.begin(PHNSW_PHASE_LOAD, params_.rows_expected);
  rows_.emplace(context_, codec_params_, params_.rows_expected);
  const auto due = [this] { return stop_.load() || chunks_[drain_].full || rows_ended_; };
  const std::size_t later = arena_bytes_later();
  bool warm = true;
  for (;;) {
    Chunk *chunk = nullptr;
    bool alone = false;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      while (!due() && warm && arena_.warm_bytes() < rows_->seen() * later + rows_->code_bytes_ahead()) {
        lock.unlock();
        warm = arena_.warm(team_);
        lock.lock();
      }
      to_conductor_.wait(lock, due);
      if (stop_.load()) return kStopped;
      if (!chunks_[drain_].full) {
        state_ = State::kBuilding;
        break;
      }
      chunk = &chunks_[drain_];
      alone = !chunks_[(drain_ + kChunksAlone) % kChunks].full;
    }
    if (const Status status = rows_->add(chunk->vectors.data(), chunk->tids.data(), chunk->rows, alone); !status.ok()) {
      return status;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    chunk->full = false;
    drain_ = (drain_ + 1) % kChunks;
    signal_event();
  }
  const Status status = rows_->finish();
  for (Chunk &chunk : chunks_) {
    chunk.vectors.reset(0);
    chunk.tids.reset(0);
  }
  return status;
}

Status Build::build_graph() {
  progress_.begin(PHNSW_PHASE_DUPLICATES, rows_->rows());
  Status status = rows_->join_duplicates();
  if (!status.ok()) return status;
  graph_.points = rows_->points();
  const std::uint32_t n = graph_.points.n;
  progress_.set_points(n);
  const GraphParams density =
      graph_params(graph_.points.dims, params_.ef_construction, stream(params_.seed, kPartitionStream));
  if (n != 0) {
    progress_.begin(PHNSW_PHASE_PARTITION, n);
    status = draw_levels(context_, stream(params_.seed, kLevelStream), params_.m, &graph_);
    if (status.ok()) status = build_level(context_, graph_.points, density, 2 * params_.m, &graph_.base, &graph_.home);
    if (!status.ok()) return status;
    progress_.begin(PHNSW_PHASE_UPPER, 0);
    status = build_upper_levels(context_, density, params_.m, &graph_);
    if (!status.ok()) return status;
    progress_.begin(PHNSW_PHASE_REACH, n);
    status = attach_unreached(context_, graph_.points, graph_.entry, &graph_.base);
    if (!status.ok()) return status;
    progress_.begin(PHNSW_PHASE_ORDER, n);
    const phnsw_codec_params &codec = rows_->codec().params();
    const std::uint32_t slots_per_page = PHNSW_PAGE_CONTENT / phnsw_slot_bytes(codec.code_dims, codec.bits, codec.m);
    status = order_nodes(context_, slots_per_page, stream(params_.seed, kOrderStream), &graph_);
    if (!status.ok()) return status;
    graph_.home.order.release();
    progress_.begin(PHNSW_PHASE_CALIBRATE, PHNSW_CALIBRATION_MAX);
    if (params_.calibrate) calibrator_.emplace(context_, rows_->codec(), graph_, stream(params_.seed, kSampleStream));
    if (params_.calibrate && !params_.calibrate_late) status = calibrator_->finish();
    if (!status.ok()) return status;
  }
  progress_.begin(PHNSW_PHASE_WRITE, 0);
  phnsw_meta *meta = &result_.meta;
  meta->build_id = params_.build_id;
  meta->level_seed = stream(params_.seed, kLevelStream);
  meta->ef_construction = params_.ef_construction;
  images_.emplace(*rows_, graph_);
  return images_->prepare(context_, calibrator_.has_value() ? calibrator_->table() : Calibration(), meta);
}

void Build::fill_result() {
  const std::lock_guard<std::mutex> lock(mutex_);
  result_.total_blocks = images_->blocks();
  result_.nodes = graph_.points.n;
  result_.levels = graph_.points.n != 0 ? graph_.level[graph_.entry] + 1u : 0;
  result_.tids = rows_->rows();
  result_.skipped = rows_->skipped();
  for (int phase = PHNSW_PHASE_LOAD; phase <= PHNSW_PHASE_WRITE; phase++)
    result_.seconds[phase] = progress_.seconds(phase);
  progress_.begin(PHNSW_PHASE_WRITE, result_.total_blocks);
  state_ = State::kComplete;
  signal_event();
}

Status Build::calibrate_late(bool all) {
  const auto began = std::chrono::steady_clock::now();
  const Status status = all ? calibrator_->finish() : calibrator_->step();
  const std::lock_guard<std::mutex> lock(mutex_);
  result_.seconds[PHNSW_PHASE_CALIBRATE] +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (calibrator_->done()) set_calibration(calibrator_->table(), &result_.meta);
  return status;
}

Status Build::serve() {
  for (;;) {
    const bool idle = !calibrator_.has_value() || calibrator_->done();
    bool asked = false, meta_page = false;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      to_conductor_.wait(lock, [&] { return stop_.load() || format_pages_ != nullptr || !idle; });
      if (stop_.load()) return kStopped;
      asked = format_pages_ != nullptr;
      meta_page = asked && format_first_ == 0;
    }
    if (!idle && (!asked || meta_page)) {
      if (const Status status = calibrate_late(meta_page); !status.ok()) return status;
      continue;
    }
    const std::size_t items = (format_n_ + kFormatBlock - 1) / kFormatBlock;
    const Status status = team_.for_each(items, [this](std::size_t item, unsigned) {
      const std::uint32_t begin = static_cast<std::uint32_t>(item) * kFormatBlock;
      for (std::uint32_t i = begin; i < std::min(format_n_, begin + kFormatBlock); i++) {
        images_->format(format_first_ + i, format_pages_ + std::size_t{i} * PHNSW_PAGE_BYTES);
      }
    });
    if (!status.ok()) return status;
    progress_.add(format_n_);
    const std::lock_guard<std::mutex> lock(mutex_);
    format_pages_ = nullptr;
    signal_event();
  }
}

Status Build::extend(std::uint64_t bytes, int *fd) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (spill_size_ < bytes) {
    spill_wanted_ = bytes;
    signal_event();
    to_conductor_.wait(lock, [&] { return stop_.load() || spill_size_ >= bytes; });
    if (stop_.load()) return kStopped;
  }
  *fd = spill_fd_;
  return {};
}

}  // namespace phnsw
