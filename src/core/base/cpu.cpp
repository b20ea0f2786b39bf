#include "base/cpu.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace phnsw {

#if defined(__x86_64__)
namespace {

// XCR0: which register files the operating system saves and restores.
std::uint64_t saved_registers() noexcept {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

constexpr bool all(std::uint64_t value, std::uint64_t bits) noexcept { return (value & bits) == bits; }

}  // namespace

bool cpu_has(Simd simd) noexcept {
  if (simd == Simd::kScalar) return true;

  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = 0;
  std::uint32_t d = 0;
  constexpr std::uint64_t kFma = 1u << 12, kOsXsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !all(c, kFma | kOsXsave | kAvx | kF16c)) return false;
  const std::uint64_t saved = saved_registers();
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;

  constexpr std::uint64_t kAvx2 = 1u << 5;
  constexpr std::uint64_t kSavedYmm = 0x6;  // xmm, upper halves of ymm
  if (!all(b, kAvx2) || !all(saved, kSavedYmm)) return false;
  if (simd == Simd::kAvx2) return true;
  if (simd == Simd::kAvxVnni) {
    constexpr std::uint64_t kAvxVnni = 1u << 4;  // in eax of leaf 7's second part, which a has the number of
    return a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && all(a, kAvxVnni);
  }

  constexpr std::uint64_t kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr std::uint64_t kVnni = 1u << 11;  // in ecx
  constexpr std::uint64_t kSavedZmm = 0xE6;  // and mask registers, upper halves of zmm, zmm 16-31
  return all(b, kF | kDq | kBw | kVl) && all(c, kVnni) && all(saved, kSavedZmm);
}
#else
bool cpu_has(Simd simd) noexcept { return simd == Simd::kScalar; }
#endif

}  // namespace phnsw
