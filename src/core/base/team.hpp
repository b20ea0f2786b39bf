// Team: the OpenMP threads of a bulk build, or the plain ones of a merge, and Conductor: the one thread that owns them.
//
// team.cpp holds the only `#pragma omp` of the tree: one parallel region that lasts as long as the build.  Its first
// thread, the conductor's, runs the build; the others serve for_each() and sleep in between (the barriers of many short
// regions would spin, and take the processor from the backend's own thread).  Nothing is thrown out of the region: the
// first failure of a for_each() is kept and returned as a Status, later ones are dropped.  One atomic flag stops
// everything: for_each() looks at it between items, long items look at it themselves through stopped().
//
// A brief team, which is at work for milliseconds, has threads of its own: libgomp's spin at both ends of a region for
// as long, whenever a processor has other work (a fourth to a half of a merge of 100 rows).  Its threads look for what
// they wait for a moment before they sleep, since to be woken takes as long as its shorter jobs.  It may have a guest
// in place of a thread: the one that would sleep until the team has done its work.
//
// A Team is used by one thread at a time, the conductor; without lead() it is a team of one.  libgomp keeps its pool of
// threads until the thread that made it ends; await_workers() tells when the last of the pool has left the process.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <type_traits>

#include "base/status.hpp"

namespace phnsw {

class Team {
 public:
  static constexpr unsigned kThreadsMax = 256;

  enum class Kind { kLong, kBrief, kBriefWithGuest };

  // REQUIRES: threads >= 1, 2 with a guest, who is one of them; stop outlives the team.
  Team(unsigned threads, const std::atomic<bool> &stop, Kind kind = Kind::kLong);
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  [[nodiscard]] unsigned threads() const noexcept { return threads_; }
  // The caller asked to stop, or a worker failed: finish early, the result is thrown away.
  [[nodiscard]] bool stopped() const noexcept {
    return stop_.load(std::memory_order_relaxed) || failed_.load(std::memory_order_relaxed);
  }
  // Called by a worker: ends the running for_each() with this status.  The first one wins.
  void fail(Status status) noexcept;

  // Runs main(context) with the team's threads at its service.  REQUIRES: main
  // does not throw; of a brief team, not led before.
  void lead(void (*main)(void *), void *context) noexcept;

  // Calls body(item, worker) for item = 0 ... items - 1; items are begun in order, worker < threads().  What body
  // throws becomes the Status (bad_alloc: PHNSW_OUT_OF_MEMORY).  PHNSW_CANCELLED: the stop flag was seen.
  template <class Body>
  Status for_each(std::size_t items, Body &&body) {
    using Function = std::remove_reference_t<Body>;
    return run(items, &body, [](void *context, std::size_t item, unsigned worker) {
      (*static_cast<Function *>(context))(item, worker);
    });
  }

  // From now on the conductor works alone, or no longer so: where the backend is what everybody waits for, a
  // worker would take its processor from it.  The conductor's to call.
  void set_alone(bool alone) noexcept { alone_ = alone; }

  // The guest's to call, any time or never: serves until main() has ended (true)
  // or the time is up, which it sees between jobs.
  bool help(std::chrono::steady_clock::time_point until) noexcept;

  // REQUIRES: the conductor has ended.  Returns when its pool has left the process.
  void await_workers() const noexcept;

 private:
  // The team shrinks to the threads that the system grants now: libgomp ends the process when it cannot have a thread.
  void probe() noexcept;

  void lead_briefly(void (*main)(void *), void *context) noexcept;

  using Item = void (*)(void *context, std::size_t item, unsigned worker);
  struct Job {
    std::size_t items;
    void *context;
    Item body;
  };
  Status run(std::size_t items, void *context, Item body);
  void work(const Job &job, unsigned worker) noexcept;
  void serve(unsigned worker) noexcept;
  // One job.  false: there will be none, or none until then.
  bool serve_next(unsigned worker, std::uint64_t *seen, const std::chrono::steady_clock::time_point *until) noexcept;
  void leave() noexcept;

  const std::atomic<bool> &stop_;
  const Kind kind_;
  unsigned threads_;
  bool alone_ = false;
  std::atomic<unsigned> number_{1};                 // of the next worker
  std::atomic<int> worker_tids_[kThreadsMax] = {};  // kernel thread ids, 0 for one not yet seen
  std::atomic<bool> failed_{false};
  std::atomic<std::size_t> next_{0};  // item of the current job
  // Changed under mutex_, read without it by those who wait for a moment.
  std::atomic<std::uint64_t> calls_{0};  // of workers, to a job or to leave
  std::atomic<unsigned> active_{0};      // workers within the current job, the conductor aside

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  // Protected by mutex_.
  Status failure_;
  Job job_{};
  std::uint64_t jobs_ = 0;  // begun
  bool open_ = false;       // workers may join the current one
  bool leaving_ = false;
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
