// The loops around the tile kernels, compiled once per instruction set: included by gemm_{scalar,avx2,avx512}.cpp only,
// everything in an unnamed namespace.
//
// A Tile computes kRows x kColumns distances and says which beat the thresholds; the loops enter those into the sorted
// lists.  Rows are the outer loop (their prepared block stays in the first-level cache), panels stream past.  Neighbours
// of a point arrive in ascending order, so that comparing with `<` makes ties go to the smaller index in every tiling.
#pragma once

#include "kernel/gemm.hpp"

namespace phnsw {
namespace {

template <class Tile>
struct TileOutput {
  alignas(64) float distance[Tile::kRows][Tile::kColumns];
  std::uint64_t row_hits[Tile::kRows];     // columns nearer to the row than its threshold
  std::uint64_t column_hits[Tile::kRows];  // columns that the row is nearer to than their threshold
};

inline void enter(const GemmNearest &nearest, std::uint32_t list, float distance, std::uint32_t index) noexcept {
  if (!(distance < nearest.distance[list])) return;
  const std::uint64_t key = neighbour_key(distance, index);
  std::uint64_t *best = nearest.best + std::size_t{list} * nearest.k;
  std::uint32_t place = nearest.k - 1;
  while (place > 0 && best[place - 1] > key) {
    best[place] = best[place - 1];
    place--;
  }
  best[place] = key;
  nearest.distance[list] = neighbour_distance(best[nearest.k - 1]);
}

template <class Tile>
void tile_nearest(const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin, std::uint32_t end,
                  const GemmPanels &panels, std::uint32_t base, std::uint32_t groups, void *scratch,
                  const GemmNearest &nearest) {
  constexpr std::uint32_t kRows = Tile::kRows, kColumns = Tile::kColumns;
  TileOutput<Tile> output;
  Tile tile(scratch, groups);
  for (std::uint32_t row0 = begin; row0 < end; row0 += kRows) {
    const std::uint32_t rows = end - row0 < kRows ? end - row0 : kRows;
    tile.load(from, ids, row0, rows);
    float *thresholds = nearest.distance + (row0 - begin);
    for (std::uint32_t column0 = 0; column0 < panels.n; column0 += kColumns) {
      if (!tile.template compute<false>(panels, column0, thresholds, nullptr, rows, &output)) continue;
      for (std::uint32_t r = 0; r < rows; r++) {
        for (std::uint64_t hits = output.row_hits[r]; hits != 0; hits &= hits - 1) {
          const std::uint32_t c = static_cast<std::uint32_t>(__builtin_ctzll(hits));
          enter(nearest, row0 - begin + r, output.distance[r][c], base + column0 + c);
        }
      }
    }
  }
}

template <class Tile>
void tile_self_nearest(const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin, std::uint32_t end,
                       const GemmPanels &panels, std::uint32_t groups, void *scratch, const GemmNearest &nearest) {
  constexpr std::uint32_t kRows = Tile::kRows, kColumns = Tile::kColumns;
  TileOutput<Tile> output;
  Tile tile(scratch, groups);
  for (std::uint32_t row0 = begin; row0 < end; row0 += kRows) {
    const std::uint32_t rows = end - row0 < kRows ? end - row0 : kRows;
    tile.load(from, ids, row0, rows);
    for (std::uint32_t column0 = row0 / kColumns * kColumns; column0 < panels.n; column0 += kColumns) {
      if (!tile.template compute<true>(panels, column0, nearest.distance + row0, nearest.distance + column0, rows, &output)) {
        continue;
      }
      for (std::uint32_t r = 0; r < rows; r++) {
        const std::uint32_t row = row0 + r;
        std::uint64_t valid = ~std::uint64_t{0};  // columns behind the row
        if (row >= column0) valid = row - column0 >= kColumns - 1 ? 0 : ~std::uint64_t{0} << (row - column0 + 1);
        for (std::uint64_t hits = output.row_hits[r] & valid; hits != 0; hits &= hits - 1) {
          const std::uint32_t c = static_cast<std::uint32_t>(__builtin_ctzll(hits));
          enter(nearest, row, output.distance[r][c], column0 + c);
        }
        for (std::uint64_t hits = output.column_hits[r] & valid; hits != 0; hits &= hits - 1) {
          const std::uint32_t c = static_cast<std::uint32_t>(__builtin_ctzll(hits));
          enter(nearest, column0 + c, output.distance[r][c], row);
        }
      }
    }
  }
}

template <class Tile>
void tile_pack(const CodeRows &from, const std::uint32_t *ids, std::uint32_t first, std::uint32_t n, std::uint32_t groups,
               GemmPanels *panels) {
  constexpr std::uint32_t kColumns = Tile::kColumns;
  const std::uint32_t padded = (n + kColumns - 1) / kColumns * kColumns;
  panels->n = n;
  for (std::uint32_t i = 0; i < padded; i++) {
    const std::uint32_t id = i < n ? (ids != nullptr ? ids[i] : first + i) : 0;
    if (i < n && i + 4 < n) __builtin_prefetch(from.row(ids != nullptr ? ids[i + 4] : first + i + 4));
    Tile::pack(i < n ? from.row(id) : nullptr, panels->data + i / kColumns * kColumns * Tile::packed_bytes(groups),
               i % kColumns, groups);
    panels->norm2[i] = i < n ? from.heads[id].norm2 : __builtin_inff();
    panels->scale[i] = i < n ? from.heads[id].scale : 0.0f;
  }
}

template <class Tile>
constexpr GemmKernels make_gemm(const char *name, decltype(GemmKernels::dots) dots) noexcept {
  return {name,
          Tile::kColumns,
          Tile::kRows,
          Tile::packed_bytes,
          Tile::scratch_bytes,
          tile_pack<Tile>,
          tile_nearest<Tile>,
          tile_self_nearest<Tile>,
          dots};
}

}  // namespace
}  // namespace phnsw
