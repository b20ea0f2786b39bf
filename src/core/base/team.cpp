#include "base/team.hpp"

#include <cerrno>
#include <csignal>
#include <new>
#ifdef __clang__
#include <omp.h>
#endif
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace phnsw {
namespace {

// A sleeping thread of a virtual machine takes 50 to 100 us to wake.
constexpr std::chrono::microseconds kMoment{50};
constexpr unsigned kLooksPerClock = 16;
constexpr unsigned kGuest = 1;  // the guest's number among the workers

template <class Condition>
void wait_a_moment(Condition &&condition) noexcept {
  const auto end = std::chrono::steady_clock::now() + kMoment;
  do {
    for (unsigned i = 0; i < kLooksPerClock; i++) {
      if (condition()) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() < end);
}

}  // namespace

Team::Team(unsigned threads, const std::atomic<bool> &stop, Kind kind)
    : stop_(stop), kind_(kind), threads_(threads < kThreadsMax ? threads : kThreadsMax) {}

void Team::fail(Status status) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (failed_.load(std::memory_order_relaxed)) return;
  failure_ = status;
  failed_.store(true, std::memory_order_relaxed);
}

void Team::work(const Job &job, unsigned worker) noexcept {
  try {
    while (!stopped()) {
      const std::size_t item = next_.fetch_add(1, std::memory_order_relaxed);
      if (item >= job.items) break;
      job.body(job.context, item, worker);
    }
  } catch (const std::bad_alloc &) {
    fail({PHNSW_OUT_OF_MEMORY, "out of memory in a build worker"});
  } catch (...) {
    fail({PHNSW_INTERNAL, "unexpected C++ exception in a build worker"});
  }
}

Status Team::run(std::size_t items, void *context, Item body) {
  const Job job{items, context, body};
  const bool shared = threads_ > 1 && items > 1 && !alone_;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = Status();
    failed_.store(false, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    job_ = job;
    open_ = shared;
    jobs_++;
    if (shared) calls_.fetch_add(1, std::memory_order_release);
  }
  if (shared) wake_.notify_all();
  work(job, 0);
  std::unique_lock<std::mutex> lock(mutex_);
  open_ = false;
  if (kind_ != Kind::kLong && active_ != 0) {
    lock.unlock();
    wait_a_moment([this] { return active_.load(std::memory_order_acquire) == 0; });
    lock.lock();
  }
  idle_.wait(lock, [this] { return active_ == 0; });
  if (failed_.load(std::memory_order_relaxed)) return failure_;
  if (stop_.load(std::memory_order_relaxed)) return {PHNSW_CANCELLED, "the build was stopped"};
  return {};
}

bool Team::serve_next(unsigned worker, std::uint64_t *seen,
                      const std::chrono::steady_clock::time_point *until) noexcept {
  const auto called = [&] { return leaving_ || (open_ && jobs_ != *seen); };
  std::unique_lock<std::mutex> lock(mutex_);
  if (kind_ != Kind::kLong && !called()) {
    const std::uint64_t heard = calls_.load(std::memory_order_relaxed);
    lock.unlock();
    wait_a_moment([&] { return calls_.load(std::memory_order_acquire) != heard; });
    lock.lock();
  }
  if (until == nullptr) {
    wake_.wait(lock, called);
  } else if (!wake_.wait_until(lock, *until, called)) {
    return false;
  }
  if (leaving_) return false;
  *seen = jobs_;
  active_++;
  const Job job = job_;
  lock.unlock();
  work(job, worker);
  lock.lock();
  if (--active_ == 0) idle_.notify_all();
  return true;
}

void Team::serve(unsigned worker) noexcept {
  worker_tids_[worker].store(static_cast<int>(syscall(SYS_gettid)), std::memory_order_relaxed);
  std::uint64_t seen = 0;
  while (serve_next(worker, &seen, nullptr)) {
  }
}

bool Team::help(std::chrono::steady_clock::time_point until) noexcept {
  std::uint64_t seen = 0;
  while (serve_next(kGuest, &seen, &until)) {
    if (std::chrono::steady_clock::now() >= until) return false;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  return leaving_;
}

void Team::leave() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  leaving_ = true;
  calls_.fetch_add(1, std::memory_order_release);
  wake_.notify_all();
}

void Team::lead_briefly(void (*main)(void *), void *context) noexcept {
  pthread_t thread[kThreadsMax];
  const unsigned first = kind_ == Kind::kBriefWithGuest ? kGuest + 1 : 1;
  unsigned granted = first;
  const auto serve_team = [](void *team) -> void * {
    Team *self = static_cast<Team *>(team);
    self->serve(self->number_.fetch_add(1, std::memory_order_relaxed));
    return nullptr;
  };
  number_ = first;
  while (granted < threads_ && pthread_create(&thread[granted], nullptr, serve_team, this) == 0) granted++;
  threads_ = granted;
  main(context);
  leave();
  for (unsigned i = first; i < granted; i++) pthread_join(thread[i], nullptr);
  for (std::atomic<int> &worker : worker_tids_) worker.store(0, std::memory_order_relaxed);
}

void Team::lead(void (*main)(void *), void *context) noexcept {
  if (kind_ != Kind::kLong) {
    lead_briefly(main, context);
    return;
  }
  leaving_ = false;
  number_ = 1;
  probe();
  const pthread_t leader = pthread_self();
#pragma omp parallel num_threads(threads_) default(shared)
  {
    if (pthread_equal(pthread_self(), leader) != 0) {
      main(context);
      leave();
    } else {
      serve(number_.fetch_add(1, std::memory_order_relaxed));
    }
  }
#ifdef __clang__
  // libgomp ends the pool with its leader; clang's libomp would keep the threads for ever.
  omp_pause_resource_all(omp_pause_hard);
#endif
}

void Team::probe() noexcept {
  // All at once, as libgomp will want them: each waits for the end of the probe.
  pthread_t thread[kThreadsMax];
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  unsigned granted = 1;
  pthread_mutex_lock(&gate);
  while (granted < threads_) {
    const auto wait = [](void *context) -> void * {
      pthread_mutex_lock(static_cast<pthread_mutex_t *>(context));
      pthread_mutex_unlock(static_cast<pthread_mutex_t *>(context));
      return nullptr;
    };
    if (pthread_create(&thread[granted], nullptr, wait, &gate) != 0) break;
    granted++;
  }
  pthread_mutex_unlock(&gate);
  for (unsigned i = 1; i < granted; i++) pthread_join(thread[i], nullptr);
  threads_ = granted;
}

void Team::await_workers() const noexcept {
  // The pool's threads are detached: they have been told to end, which takes microseconds.
  for (const std::atomic<int> &worker : worker_tids_) {
    const int tid = worker.load(std::memory_order_relaxed);
    if (tid == 0) continue;
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0) sched_yield();
  }
}

Status Conductor::start(void *(*main)(void *), void *context) noexcept {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  const int failed = pthread_create(&thread_, nullptr, main, context);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (failed != 0) return {PHNSW_OUT_OF_MEMORY, "could not create the conductor thread of the build"};
  running_ = true;
  return {};
}

void Conductor::join() noexcept {
  if (running_) pthread_join(thread_, nullptr);
  running_ = false;
}

}  // namespace phnsw
