// Team: the OpenMP threads of a bulk build, and Conductor: the one thread that owns them.
//
// team.cpp holds the only `#pragma omp` of the tree.  A region has an explicit number of threads; nothing is thrown out
// of it: the first failure is kept and returned as a Status, later ones are dropped.  One atomic flag stops everything:
// the loops of for_each() look at it between items, long items look at it themselves through stopped().
//
// A Team is used by one thread at a time, the conductor.  libgomp keeps its pool of threads per calling thread and frees
// it when that thread ends, so a Team must not outlive its conductor's last region; await_workers() tells when the last
// of the pool has left the process.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <type_traits>

#include "base/status.hpp"

namespace phnsw {

class Team {
 public:
  static constexpr unsigned kThreadsMax = 256;

  // REQUIRES: threads >= 1; stop outlives the team.
  Team(unsigned threads, const std::atomic<bool> &stop);
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  [[nodiscard]] unsigned threads() const noexcept { return threads_; }
  // The caller asked to stop, or a worker failed: finish early, the result is thrown away.
  [[nodiscard]] bool stopped() const noexcept {
    return stop_.load(std::memory_order_relaxed) || failed_.load(std::memory_order_relaxed);
  }
  // Called by a worker: ends the running for_each() with this status.  The first one wins.
  void fail(Status status) noexcept;

  // Calls body(item, worker) for item = 0 ... items - 1; items are begun in order, worker < threads().  What body throws
  // becomes the Status (bad_alloc: PHNSW_OUT_OF_MEMORY).  PHNSW_CANCELLED: the stop flag was seen.
  template <class Body>
  Status for_each(std::size_t items, Body &&body) {
    using Function = std::remove_reference_t<Body>;
    return run(items, &body, [](void *context, std::size_t item, unsigned worker) {
      (*static_cast<Function *>(context))(item, worker);
    });
  }

  // The team shrinks to the threads that the system grants now: libgomp ends the process when it cannot have a thread.
  void probe() noexcept;
  // REQUIRES: the conductor has ended.  Returns when its pool has left the process.
  void await_workers() const noexcept;

 private:
  using Item = void (*)(void *context, std::size_t item, unsigned worker);
  Status run(std::size_t items, void *context, Item body);
  void work(std::atomic<std::size_t> &next, std::size_t items, void *context, Item body, unsigned worker) noexcept;

  const std::atomic<bool> &stop_;
  unsigned threads_;
  std::atomic<int> worker_tids_[kThreadsMax] = {};  // kernel thread ids, 0 for one not yet seen
  std::atomic<bool> failed_{false};
  std::mutex failure_mutex_;
  Status failure_;  // protected by failure_mutex_
};

// A joinable thread that is born with every signal blocked, as are all threads that it creates.
class Conductor {
 public:
  Conductor() = default;
  Conductor(const Conductor &) = delete;
  Conductor &operator=(const Conductor &) = delete;
  ~Conductor() { join(); }

  // REQUIRES: not running; main does not throw.
  Status start(void *(*main)(void *), void *context) noexcept;
  void join() noexcept;
  [[nodiscard]] bool running() const noexcept { return running_; }

 private:
  pthread_t thread_{};
  bool running_ = false;
};

}  // namespace phnsw
