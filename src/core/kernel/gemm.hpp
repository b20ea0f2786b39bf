// Matrix-multiply kernels of the bulk build: all distances between two sets of
// coded points, fused with the choice of the nearest.
//
// The right operand is packed once into panels (a layout private to the table); the left one is given as
// rows.  The distance of two points is max(0, norm2[i] + norm2[j] - 2 scale[i] scale[j] dot(i, j)) in
// float32; dot is exact and the rest is rounded the same way by every table, so that all of them give the
// same bytes.  For each row the k nearest are kept as keys, (distance, index) ascending.
//
// Pure functions on caller-owned memory; threads work on disjoint `best` arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "capi/phnsw_format.h"

namespace phnsw {

// A neighbour as one comparable integer: the bits of a distance >= 0, then an index.
constexpr std::uint64_t kNoNeighbour = std::uint64_t{0x7F800000} << 32 | PHNSW_NONE;  // infinitely far
inline std::uint64_t neighbour_key(float distance, std::uint32_t index) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &distance, 4);
  return std::uint64_t{bits} << 32 | index;
}
inline float neighbour_distance(std::uint64_t key) noexcept {
  const std::uint32_t bits = static_cast<std::uint32_t>(key >> 32);
  float distance;
  std::memcpy(&distance, &bits, 4);
  return distance;
}
inline std::uint32_t neighbour_index(std::uint64_t key) noexcept { return static_cast<std::uint32_t>(key); }

// The same in 32 bits, for up to 1024 points: the distance gives its last 10 bits (1.2e-4 of itself) to the index.
constexpr std::uint32_t kShortIndexes = 1024;
constexpr std::int32_t kNoShortKey = 0x7FFFFFFF;  // any key from infinity on means "no neighbour"
inline bool short_key_valid(std::uint32_t key) noexcept { return key < 0x7F800000; }
inline std::uint32_t short_key_index(std::uint32_t key) noexcept { return key & (kShortIndexes - 1); }
inline float short_key_distance(std::uint32_t key) noexcept {
  const std::uint32_t bits = key & ~(kShortIndexes - 1);
  float distance;
  std::memcpy(&distance, &bits, 4);
  return distance;
}

// Coded points somewhere in memory: rows of `stride` bytes, zero beyond the dimensions up to a multiple of 4 at least.
struct CodeRows {
  const std::int8_t *codes;
  const phnsw_code_head *heads;
  std::size_t stride;
  [[nodiscard]] const std::int8_t *row(std::uint32_t id) const noexcept { return codes + id * stride; }
};

// Packed points.  norm2 and scale hold a multiple of the panel's width; those beyond n are +inf and 0.
struct GemmPanels {
  std::uint8_t *data;
  float *norm2;
  float *scale;
  std::uint32_t n;
};

// The k nearest of each of some rows: best[row * k ...] sorted, distance[row] that of the last (+inf while not full).
struct GemmNearest {
  std::uint64_t *best;
  float *distance;
  std::uint32_t k;
};

struct GemmKernels {
  const char *name;
  std::uint32_t panel;  // columns
  std::uint32_t rows;   // of a tile
  // Bytes of one packed point and of the scratch that the left operand of a
  // tile wants; groups: dimensions / 4, rounded up.
  std::size_t (*packed_bytes)(std::uint32_t groups);
  std::size_t (*scratch_bytes)(std::uint32_t groups);

  // Packs points ids[0 ... n) (null: first ... first + n - 1).  panels has room for n rounded up to whole panels.
  void (*pack)(const CodeRows &from, const std::uint32_t *ids, std::uint32_t first, std::uint32_t n,
               std::uint32_t groups, GemmPanels *panels);
  // Rows ids[begin ... end) (null: the ids themselves) of `from` against all panels: the k nearest of each as ascending
  // short keys, keys[(row - begin) * k ...].  REQUIRES: k is 1, 2, 4 or 8; panels.n <= kShortIndexes.
  void (*few_nearest)(std::uint32_t k, const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin,
                      std::uint32_t end, const GemmPanels &panels, std::uint32_t groups, void *scratch,
                      std::uint32_t *keys);
  // The points of the panels among themselves, without each point itself: keys[row * k ...] for rows begin ...
  // end - 1.  Each pair is multiplied once, so rows come in order, from 0 on, in steps of whole tiles;
  // column_keys (k * n rounded up to whole panels) carries what later rows need.  REQUIRES: k is 2, 4 or 8; the
  // points of the panels are ids[0 ... n) of `from`; n <= kShortIndexes.
  void (*self_nearest)(std::uint32_t k, const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin,
                       std::uint32_t end, const GemmPanels &panels, std::uint32_t groups, void *scratch,
                       std::int32_t *column_keys, std::uint32_t *keys);
  // As few_nearest, any k and any number of columns: enters the columns, base
  // + position, into nearest (of row - begin).
  void (*nearest)(const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin, std::uint32_t end,
                  const GemmPanels &panels, std::uint32_t base, std::uint32_t groups, void *scratch,
                  const GemmNearest &nearest);

  // dots[i] = <a, row ids[i]> for n rows.  REQUIRES: bytes is a multiple of 64 within the stride, zero padded.
  void (*dots)(const std::int8_t *a, const CodeRows &from, const std::uint32_t *ids, std::uint32_t n,
               std::uint32_t bytes, std::int32_t *dots);

  // For reservoirs: the place of the first of n numbers with these low bits (mask is 2^b - 1), n when there
  // is none; and the place of the largest of n >= 1 distinct numbers.
  std::uint32_t (*find_low_bits)(const std::uint64_t *numbers, std::uint32_t n, std::uint64_t bits, std::uint64_t mask);
  std::uint32_t (*find_largest)(const std::uint64_t *numbers, std::uint32_t n);
};

// The table that goes with the distance kernels in use.
const GemmKernels &gemm_kernels() noexcept;

extern const GemmKernels kScalarGemm;
extern const GemmKernels kAvx2Gemm;
extern const GemmKernels kAvxVnniGemm;
extern const GemmKernels kAvx512Gemm;

inline void clear_nearest(const GemmNearest &nearest, std::uint32_t n) noexcept {
  for (std::size_t i = 0; i < std::size_t{n} * nearest.k; i++) nearest.best[i] = kNoNeighbour;
  for (std::uint32_t i = 0; i < n; i++) nearest.distance[i] = neighbour_distance(kNoNeighbour);
}

}  // namespace phnsw
