// How many threads this process has, for tests that leave none behind.
#pragma once

#include <dirent.h>

#include <chrono>
#include <thread>

namespace phnsw::test {

// The first call starts a thread: with that the thread sanitizer starts one of its own, which stays.
inline int threads_of_process() {
  [[maybe_unused]] static const bool started = (std::thread([] {}).join(), true);
  DIR *dir = opendir("/proc/self/task");
  int n = 0;
  while (const dirent *entry = readdir(dir)) n += entry->d_name[0] != '.';
  closedir(dir);
  return n;
}

// A thread that was joined is listed until the kernel is done with it, which takes a moment on a busy machine.
inline int threads_once_settled(int expected) {
  int n = threads_of_process();
  for (int i = 0; i < 200 && n > expected; i++, n = threads_of_process())
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return n;
}

// How many there are when those of what ran before are gone: the least, once 50 ms have brought no less.
inline int threads_at_rest() {
  int n = threads_of_process();
  for (int quiet = 0; quiet < 10; quiet++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (const int now = threads_of_process(); now < n) {
      n = now;
      quiet = 0;
    }
  }
  return n;
}

}  // namespace phnsw::test
