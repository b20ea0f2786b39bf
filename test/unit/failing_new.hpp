// operator new that fails on demand; the replacement stands in oom_test.cpp.  Only the calling thread is affected.
#pragma once

namespace phnsw::test {

// Allocations that still succeed; negative: all do.
extern thread_local long allocations_left;
// Blocks that this thread allocated minus those it freed.
extern thread_local long blocks_alive;

}  // namespace phnsw::test
