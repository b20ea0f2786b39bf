#include "base/team.hpp"

#include <csignal>
#include <cerrno>
#include <new>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace phnsw {

Team::Team(unsigned threads, const std::atomic<bool> &stop)
    : stop_(stop), threads_(threads < kThreadsMax ? threads : kThreadsMax) {}

void Team::fail(Status status) noexcept {
  const std::lock_guard<std::mutex> lock(failure_mutex_);
  if (failed_.load(std::memory_order_relaxed)) return;
  failure_ = status;
  failed_.store(true, std::memory_order_relaxed);
}

void Team::work(std::atomic<std::size_t> &next, std::size_t items, void *context, Item body, unsigned worker) noexcept {
  if (worker_tids_[worker].load(std::memory_order_relaxed) == 0) {
    worker_tids_[worker].store(static_cast<int>(syscall(SYS_gettid)), std::memory_order_relaxed);
  }
  try {
    while (!stopped()) {
      const std::size_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= items) break;
      body(context, item, worker);
    }
  } catch (const std::bad_alloc &) {
    fail({PHNSW_OUT_OF_MEMORY, "out of memory in a build worker"});
  } catch (...) {
    fail({PHNSW_INTERNAL, "unexpected C++ exception in a build worker"});
  }
}

Status Team::run(std::size_t items, void *context, Item body) {
  std::atomic<std::size_t> next{0};
  failed_.store(false, std::memory_order_relaxed);
  failure_ = Status();
  if (threads_ == 1 || items <= 1) {
    work(next, items, context, body, 0);
  } else {
    const unsigned width = items < threads_ ? static_cast<unsigned>(items) : threads_;
    std::atomic<unsigned> worker{0};
#pragma omp parallel num_threads(width) default(shared)
    work(next, items, context, body, worker.fetch_add(1, std::memory_order_relaxed));
  }
  if (failed_.load(std::memory_order_relaxed)) return failure_;
  if (stop_.load(std::memory_order_relaxed)) return {PHNSW_CANCELLED, "the build was stopped"};
  return {};
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
