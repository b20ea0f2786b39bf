// The choice of the table: the environment's at first use, or the best this machine has.
#include "kernel/kernels.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace phnsw {
namespace {

std::atomic<const Kernels *> table_in_use{nullptr};

// Best first.
constexpr const Kernels *kTables[] = {
#if defined(__x86_64__)
    &kAvx512Kernels, &kAvxVnniKernels, &kAvx2Kernels,
#endif
    &kScalarKernels};

// nullptr: unknown name, or not for this machine.
const Kernels *find(const char *name) noexcept {
  const bool any = name == nullptr || std::strcmp(name, "auto") == 0;
  for (const Kernels *table : kTables) {
    if (!any && std::strcmp(name, table->name) != 0) continue;
    if (cpu_has(table->simd)) return table;
  }
  return nullptr;
}

}  // namespace

const Kernels &kernels() noexcept {
  const Kernels *table = table_in_use.load(std::memory_order_relaxed);
  if (table == nullptr) {
    // Threads that race here store the same pointer.
    table = find(std::getenv("PHNSW_SIMD"));
    if (table == nullptr) table = find(nullptr);
    table_in_use.store(table, std::memory_order_relaxed);
  }
  return *table;
}

bool force_kernels(const char *name) noexcept {
  const Kernels *table = find(name);
  if (table == nullptr) return false;
  table_in_use.store(table, std::memory_order_relaxed);
  return true;
}

}  // namespace phnsw
