// operator new that fails on demand; the replacement stands in oom_test.cpp.  Only the calling thread is affected,
// unless it says otherwise.
#pragma once

#include <atomic>

namespace phnsw::test {

// Allocations that still succeed; negative: all do.
extern thread_local long allocations_left;
// As above, for all threads of the process together.
extern std::atomic<long> shared_allocations_left;
// Allocations that this made fail, on any thread.
extern std::atomic<long> shared_allocations_failed;
// Blocks that this thread allocated minus those it freed.
extern thread_local long blocks_alive;

}  // namespace phnsw::test
