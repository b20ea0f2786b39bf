// What this machine's processor and operating system let the kernels use.  Pure queries, safe from any thread.
#pragma once

#include <cstdint>

namespace phnsw {

enum class Simd : std::uint8_t { kScalar = 0, kAvx2 = 1, kAvxVnni = 2, kAvx512 = 3 };

// AVX2, FMA and F16C; these and AVX-VNNI; these and AVX-512 F, BW, VL, DQ and VNNI.  Each
// counts only when the operating system saves the registers.
bool cpu_has(Simd simd) noexcept;

}  // namespace phnsw
