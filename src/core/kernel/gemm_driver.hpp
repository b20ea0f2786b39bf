// The loops around the tile kernels, compiled once per instruction set: included by gemm_{scalar,avx2,avx512}.cpp only,
// everything in an unnamed namespace.
//
// A Tile multiplies kRows rows by kColumns columns; what follows is written with the compiler's vector types, kLanes
// wide, and is the same source everywhere.  The few nearest are kept without branches: level x of a Best holds in each
// lane the x-th smallest key that lane has met, a new key sinks through the levels by minimum and maximum.  What 16
// lanes know of one row is folded to one list at the end (a bitonic merge).
#pragma once

#include "kernel/gemm.hpp"

namespace phnsw {
namespace {

template <class Tile>
struct Driver {
  static constexpr std::uint32_t kRows = Tile::kRows, kColumns = Tile::kColumns, kLanes = Tile::kLanes;
  static constexpr std::uint32_t kVectors = kColumns / kLanes;
  static_assert(kColumns % kLanes == 0 && kShortIndexes % kColumns == 0);
  using Ints = typename Tile::Ints;
  using Floats = typename Tile::Floats;

  static Ints load(const std::int32_t *from) noexcept { return *reinterpret_cast<const Ints *>(from); }
  static Floats load(const float *from) noexcept { return *reinterpret_cast<const Floats *>(from); }
  static Ints every(std::int32_t x) noexcept { return Ints{} + x; }
  static Ints lesser(Ints a, Ints b) noexcept { return a < b ? a : b; }
  static Ints greater(Ints a, Ints b) noexcept { return a < b ? b : a; }
  static Ints lanes() noexcept {
    Ints lanes{};
    for (std::uint32_t i = 0; i < kLanes; i++) lanes[i] = static_cast<std::int32_t>(i);
    return lanes;
  }

  // Lane i gets lane i ^ half.  Clang, which is for the sanitizers, has no shuffle by a variable.
  static Ints across(Ints v, std::uint32_t half) noexcept {
#ifdef __clang__
    Ints result{};
    for (std::uint32_t i = 0; i < kLanes; i++) result[i] = v[i ^ half];
    return result;
#else
    return __builtin_shuffle(v, lanes() ^ static_cast<std::int32_t>(half));
#endif
  }

  template <std::uint32_t K>
  struct Best {
    Ints level[K];
    void clear() noexcept {
      for (std::uint32_t x = 0; x < K; x++) level[x] = every(kNoShortKey);
    }
    void insert(Ints key) noexcept {
#pragma GCC unroll 8
      for (std::uint32_t x = 0; x < K; x++) {
        const Ints larger = greater(level[x], key);
        level[x] = lesser(level[x], key);
        key = larger;
      }
    }
    // The K smallest of all lanes, ascending.
    void fold(std::uint32_t *keys) noexcept {
      for (std::uint32_t half = kLanes / 2; half != 0; half /= 2) {
        Best other;
        for (std::uint32_t x = 0; x < K; x++) other.level[x] = across(level[x], half);
        for (std::uint32_t x = 0; x < K; x++) level[x] = lesser(level[x], other.level[K - 1 - x]);
        for (std::uint32_t step = K / 2; step != 0; step /= 2) {
          for (std::uint32_t x = 0; x < K; x++) {
            if ((x & step) != 0) continue;
            const Ints small = lesser(level[x], level[x + step]), large = greater(level[x], level[x + step]);
            level[x] = small;
            level[x + step] = large;
          }
        }
      }
      for (std::uint32_t x = 0; x < K; x++) keys[x] = static_cast<std::uint32_t>(level[x][0]);
    }
  };

  // Distances of one row to kLanes columns, from the dots.  Not fused: the same roundings on every machine.
  static Floats distances(Ints dots, Floats row_scale, Floats minus_2_column_scales, Floats norms) noexcept {
    Floats product = (row_scale * minus_2_column_scales) * __builtin_convertvector(dots, Floats);
    Tile::keep(product);
    return norms + product;
  }
  // The distance part of short keys; what rounding made negative is zero.
  static Ints distance_bits(Floats distances) noexcept {
    return greater(reinterpret_cast<Ints>(distances), Ints{}) & ~static_cast<std::int32_t>(kShortIndexes - 1);
  }

  // What the tile needs of one panel's columns besides the codes.
  struct Columns {
    Floats scales[kVectors], norms[kVectors];
    Columns(const GemmPanels &panels, std::uint32_t column0) noexcept {
      for (std::uint32_t v = 0; v < kVectors; v++) {
        scales[v] = load(panels.scale + column0 + v * kLanes) * -2.0f;
        norms[v] = load(panels.norm2 + column0 + v * kLanes);
      }
    }
  };

  static void enter(const GemmNearest &nearest, std::uint32_t list, float distance, std::uint32_t index) noexcept {
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

  // Columns arrive in ascending order, so that comparing with `<` makes ties go to the smaller index.
  static void nearest(const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin, std::uint32_t end,
                      const GemmPanels &panels, std::uint32_t base, std::uint32_t groups, void *scratch,
                      const GemmNearest &nearest) {
    alignas(64) std::int32_t dots[kRows][kColumns];
    Tile tile(scratch, groups);
    for (std::uint32_t row0 = begin; row0 < end; row0 += kRows) {
      const std::uint32_t rows = end - row0 < kRows ? end - row0 : kRows;
      tile.load(from, ids, row0, rows);
      for (std::uint32_t column0 = 0; column0 < panels.n; column0 += kColumns) {
        tile.multiply(panels.data + std::size_t{column0} * Tile::packed_bytes(groups), dots);
        const Columns columns(panels, column0);
        for (std::uint32_t r = 0; r < rows; r++) {
          const std::uint32_t list = row0 - begin + r;
          for (std::uint32_t v = 0; v < kVectors; v++) {
            Floats d = distances(load(dots[r] + v * kLanes), Floats{} + tile.scale[r], columns.scales[v],
                                 columns.norms[v] + tile.norm2[r]);
            d = d > 0.0f ? d : Floats{};
            if (!Tile::any(reinterpret_cast<Ints>(d < nearest.distance[list]))) continue;
            for (std::uint32_t i = 0; i < kLanes; i++) enter(nearest, list, d[i], base + column0 + v * kLanes + i);
          }
        }
      }
    }
  }

  // The products with the columns of vectors v0 ... v1 - 1 of a panel at least.
  static void multiply(const Tile &tile, const std::uint8_t *panel, std::uint32_t v0, std::uint32_t v1,
                       std::int32_t (*dots)[kColumns]) noexcept {
    if constexpr (kVectors == 2 && requires { tile.multiply_half(panel, v0, dots); }) {
      if (v1 - v0 == 1) return tile.multiply_half(panel, v0, dots);
    }
    tile.multiply(panel, dots);
  }

  // How many vectors of a panel have points.
  static std::uint32_t vectors_of(const GemmPanels &panels, std::uint32_t column0) noexcept {
    return panels.n - column0 < kColumns ? (panels.n - column0 + kLanes - 1) / kLanes : kVectors;
  }

  template <std::uint32_t K>
  static void few(const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin, std::uint32_t end,
                  const GemmPanels &panels, std::uint32_t groups, void *scratch, std::uint32_t *keys) {
    alignas(64) std::int32_t dots[kRows][kColumns];
    Best<K> best[kRows];
    Tile tile(scratch, groups);
    for (std::uint32_t row0 = begin; row0 < end; row0 += kRows) {
      const std::uint32_t rows = end - row0 < kRows ? end - row0 : kRows;
      tile.load(from, ids, row0, rows);
      if (rows == kRows) prefetch(from, ids, row0 + kRows, end, groups);
      for (std::uint32_t r = 0; r < rows; r++) best[r].clear();
      for (std::uint32_t column0 = 0; column0 < panels.n; column0 += kColumns) {
        // Not the columns that only fill the panel.
        const std::uint32_t v1 = vectors_of(panels, column0);
        multiply(tile, panels.data + std::size_t{column0} * Tile::packed_bytes(groups), 0, v1, dots);
        const Columns columns(panels, column0);
        const Ints index = lanes() + static_cast<std::int32_t>(column0);
        for (std::uint32_t r = 0; r < rows; r++) {
          Best<K> row = best[r];
          for (std::uint32_t v = 0; v < v1; v++) {
            const Floats d = distances(load(dots[r] + v * kLanes), Floats{} + tile.scale[r], columns.scales[v],
                                       columns.norms[v] + tile.norm2[r]);
            row.insert(distance_bits(d) | (index + static_cast<std::int32_t>(v * kLanes)));
          }
          best[r] = row;
        }
      }
      for (std::uint32_t r = 0; r < rows; r++) best[r].fold(keys + std::size_t{row0 - begin + r} * K);
    }
  }

  // The tile's part of self(): rows against the columns behind them (vectors v0
  // ... v1 - 1 of a panel), entered for both sides.
  template <std::uint32_t K, bool kDiagonal>
  static void pairs(const Tile &tile, const std::int32_t (*dots)[kColumns], const GemmPanels &panels,
                    std::uint32_t row0, std::uint32_t rows, std::uint32_t column0, std::uint32_t v0, std::uint32_t v1,
                    std::uint32_t padded, std::int32_t *column_keys, Best<K> *best) noexcept {
    for (std::uint32_t v = v0; v < v1; v++) {
      const std::uint32_t first = column0 + v * kLanes;
      const Floats scales = load(panels.scale + first) * -2.0f, norms = load(panels.norm2 + first);
      const Ints index = lanes() + static_cast<std::int32_t>(first);
      Best<K> column;
      for (std::uint32_t x = 0; x < K; x++) column.level[x] = load(column_keys + std::size_t{x} * padded + first);
      for (std::uint32_t r = 0; r < rows; r++) {
        const Floats d = distances(load(dots[r] + v * kLanes), Floats{} + tile.scale[r], scales, norms + tile.norm2[r]);
        const std::int32_t row = static_cast<std::int32_t>(row0 + r);
        Ints by_row = distance_bits(d) | index, by_column = distance_bits(d) | row;
        if constexpr (kDiagonal) {
          by_row = index > row ? by_row : every(kNoShortKey);
          by_column = index > row ? by_column : every(kNoShortKey);
        }
        best[r].insert(by_row);
        column.insert(by_column);
      }
      for (std::uint32_t x = 0; x < K; x++) {
        *reinterpret_cast<Ints *>(column_keys + std::size_t{x} * padded + first) = column.level[x];
      }
    }
  }

  template <std::uint32_t K>
  static void self(const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin, std::uint32_t end,
                   const GemmPanels &panels, std::uint32_t groups, void *scratch, std::int32_t *column_keys,
                   std::uint32_t *keys) {
    alignas(64) std::int32_t dots[kRows][kColumns];
    Best<K> best[kRows];
    Tile tile(scratch, groups);
    const std::uint32_t padded = (panels.n + kColumns - 1) / kColumns * kColumns;
    if (begin == 0) {
      for (std::size_t i = 0; i < std::size_t{padded} * K; i++) column_keys[i] = kNoShortKey;
    }
    for (std::uint32_t row0 = begin; row0 < end; row0 += kRows) {
      const std::uint32_t rows = end - row0 < kRows ? end - row0 : kRows;
      tile.load(from, ids, row0, rows);
      if (rows == kRows) prefetch(from, ids, row0 + kRows, end, groups);
      for (std::uint32_t r = 0; r < rows; r++) best[r].clear();
      for (std::uint32_t column0 = row0 / kColumns * kColumns; column0 < panels.n; column0 += kColumns) {
        // Neither the columns up to row0 nor those that only fill the panel.
        const std::uint32_t v0 = column0 <= row0 ? (row0 + 1 - column0) / kLanes : 0;
        const std::uint32_t v1 = vectors_of(panels, column0);
        if (v0 >= v1) continue;
        multiply(tile, panels.data + std::size_t{column0} * Tile::packed_bytes(groups), v0, v1, dots);
        if (column0 < row0 + rows) {
          pairs<K, true>(tile, dots, panels, row0, rows, column0, v0, v1, padded, column_keys, best);
        } else {
          pairs<K, false>(tile, dots, panels, row0, rows, column0, v0, v1, padded, column_keys, best);
        }
      }
      // Earlier rows have entered themselves in the row's column, later ones never will.
      for (std::uint32_t r = 0; r < rows; r++) {
        for (std::uint32_t x = 0; x < K; x++) {
          Ints key = every(kNoShortKey);
          key[0] = column_keys[std::size_t{x} * padded + row0 + r];
          best[r].insert(key);
        }
        best[r].fold(keys + std::size_t{row0 + r} * K);
      }
    }
  }

  // The rows of the next tile are fetched while this one is multiplied.
  static void prefetch(const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin, std::uint32_t end,
                       std::uint32_t groups) noexcept {
    const std::uint32_t last = end - begin < kRows ? end : begin + kRows;
    for (std::uint32_t row = begin; row < last; row++) {
      const std::int8_t *code = from.row(ids != nullptr ? ids[row] : row);
      for (std::uint32_t at = 0; at < groups * 4; at += 64) {
        __builtin_prefetch(code + at);
        asm volatile("" ::: "memory");  // gcc 12 may drop a prefetch from a loop without it
      }
    }
  }

  static void pack(const CodeRows &from, const std::uint32_t *ids, std::uint32_t first, std::uint32_t n,
                   std::uint32_t groups, GemmPanels *panels) {
    const std::uint32_t padded = (n + kColumns - 1) / kColumns * kColumns;
    panels->n = n;
    for (std::uint32_t column0 = 0; column0 < padded; column0 += kColumns) {
      const std::int8_t *rows[kColumns];
      for (std::uint32_t c = 0; c < kColumns; c++) {
        const std::uint32_t i = column0 + c, id = i < n ? (ids != nullptr ? ids[i] : first + i) : 0;
        rows[c] = i < n ? from.row(id) : nullptr;
        panels->norm2[i] = i < n ? from.heads[id].norm2 : __builtin_inff();
        panels->scale[i] = i < n ? from.heads[id].scale : 0.0f;
      }
      Tile::pack(rows, groups, panels->data + std::size_t{column0} * Tile::packed_bytes(groups));
    }
  }

  static void few_of(std::uint32_t k, const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin,
                     std::uint32_t end, const GemmPanels &panels, std::uint32_t groups, void *scratch,
                     std::uint32_t *keys) {
    switch (k) {
      case 1:
        return few<1>(from, ids, begin, end, panels, groups, scratch, keys);
      case 2:
        return few<2>(from, ids, begin, end, panels, groups, scratch, keys);
      case 4:
        return few<4>(from, ids, begin, end, panels, groups, scratch, keys);
      default:
        return few<8>(from, ids, begin, end, panels, groups, scratch, keys);
    }
  }

  static void self_of(std::uint32_t k, const CodeRows &from, const std::uint32_t *ids, std::uint32_t begin,
                      std::uint32_t end, const GemmPanels &panels, std::uint32_t groups, void *scratch,
                      std::int32_t *column_keys, std::uint32_t *keys) {
    switch (k) {
      case 1:
      case 2:
        return self<2>(from, ids, begin, end, panels, groups, scratch, column_keys, keys);
      case 4:
        return self<4>(from, ids, begin, end, panels, groups, scratch, column_keys, keys);
      default:
        return self<8>(from, ids, begin, end, panels, groups, scratch, column_keys, keys);
    }
  }
};

template <class Tile>
constexpr GemmKernels make_gemm(const char *name, decltype(GemmKernels::dots) dots,
                                decltype(GemmKernels::find_low_bits) find_low_bits,
                                decltype(GemmKernels::find_largest) find_largest) noexcept {
  using D = Driver<Tile>;
  return {name,       Tile::kColumns, Tile::kRows, Tile::packed_bytes, Tile::scratch_bytes, D::pack, D::few_of,
          D::self_of, D::nearest,     dots,        find_low_bits,      find_largest};
}

}  // namespace
}  // namespace phnsw
