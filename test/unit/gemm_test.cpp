// The matrix kernels in use against a plain computation, and against the scalar table bit by bit.
#include "kernel/gemm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace phnsw {
namespace {

struct Codes {
  std::vector<std::int8_t> codes;
  std::vector<phnsw_code_head> heads;
  std::size_t stride;
  std::uint32_t groups;

  Codes(std::uint32_t n, std::uint32_t dims, unsigned seed) : stride((dims + 63) / 64 * 64), groups((dims + 3) / 4) {
    std::mt19937 random(seed);
    codes.assign(n * stride, 0);
    heads.resize(n);
    for (std::uint32_t i = 0; i < n; i++) {
      std::int32_t sum = 0, squares = 0;
      for (std::uint32_t j = 0; j < dims; j++) {
        // Extreme coordinates are common, so that anything that saturates shows.
        const int c = random() % 4 == 0 ? (random() % 2 == 0 ? 127 : -127) : static_cast<int>(random() % 255) - 127;
        codes[i * stride + j] = static_cast<std::int8_t>(c);
        sum += c;
        squares += c * c;
      }
      const float scale = 0.5f + static_cast<float>(random() % 1000) / 1000.0f;
      heads[i] = {scale, scale * scale * static_cast<float>(squares), sum, 0};
    }
  }
  [[nodiscard]] CodeRows rows() const { return {codes.data(), heads.data(), stride}; }
  [[nodiscard]] std::int32_t dot(std::uint32_t a, std::uint32_t b) const {
    std::int32_t dot = 0;
    for (std::size_t j = 0; j < stride; j++) dot += codes[a * stride + j] * codes[b * stride + j];
    return dot;
  }
  [[nodiscard]] float distance(std::uint32_t a, std::uint32_t b) const {
    volatile float product = heads[a].scale * (heads[b].scale * -2.0f);
    product = product * static_cast<float>(dot(a, b));
    return std::max(0.0f, heads[a].norm2 + heads[b].norm2 + product);
  }
};

struct Operand {
  std::vector<std::uint8_t> data, scratch;
  std::vector<float> norm2, scale;
  GemmPanels panels{};
  Operand(const GemmKernels &gemm, const Codes &codes, const std::vector<std::uint32_t> &ids) {
    const std::size_t padded = (ids.size() + gemm.panel - 1) / gemm.panel * gemm.panel;
    data.resize(padded * gemm.packed_bytes(codes.groups));
    scratch.resize(gemm.scratch_bytes(codes.groups) + 64);
    norm2.resize(padded);
    scale.resize(padded);
    panels = {data.data(), norm2.data(), scale.data(), 0};
    gemm.pack(codes.rows(), ids.data(), 0, static_cast<std::uint32_t>(ids.size()), codes.groups, &panels);
  }
  void *aligned() {
    return reinterpret_cast<void *>((reinterpret_cast<std::uintptr_t>(scratch.data()) + 63) / 64 * 64);
  }
};

std::vector<std::uint32_t> some_ids(std::uint32_t n, std::uint32_t of) {
  std::vector<std::uint32_t> ids;
  for (std::uint32_t i = 0; i < n; i++) ids.push_back((i * 7 + 3) % of);
  return ids;
}

std::uint32_t short_key(float distance, std::uint32_t index) {
  std::uint32_t bits;
  std::memcpy(&bits, &distance, 4);
  return (bits & ~(kShortIndexes - 1)) | index;
}

constexpr std::uint32_t kSizes[] = {1, 2, 3, 11, 12, 13, 31, 32, 33, 64, 97, 200};

TEST(Gemm, SelfNearestIsBruteForce) {
  const GemmKernels &gemm = gemm_kernels();
  for (const std::uint32_t dims : {1u, 4u, 7u, 64u, 100u, 129u}) {
    const Codes codes(211, dims, dims);
    for (const std::uint32_t n : kSizes) {
      const std::vector<std::uint32_t> ids = some_ids(n, 211);
      Operand operand(gemm, codes, ids);
      for (const std::uint32_t k : {2u, 4u, 8u}) {
        std::vector<std::int32_t> columns(k * ((n + gemm.panel - 1) / gemm.panel * gemm.panel));
        std::vector<std::uint32_t> keys(n * k);
        for (std::uint32_t begin = 0; begin < n; begin += 2 * gemm.rows) {
          gemm.self_nearest(k, codes.rows(), ids.data(), begin, std::min(n, begin + 2 * gemm.rows), operand.panels,
                            codes.groups, operand.aligned(), columns.data(), keys.data());
        }
        for (std::uint32_t i = 0; i < n; i++) {
          std::vector<std::uint32_t> expected;
          for (std::uint32_t j = 0; j < n; j++) {
            if (j != i) expected.push_back(short_key(codes.distance(ids[i], ids[j]), j));
          }
          std::sort(expected.begin(), expected.end());
          for (std::uint32_t x = 0; x < k; x++) {
            ASSERT_EQ(short_key_valid(keys[i * k + x]), x < expected.size()) << gemm.name << " " << n << " " << dims;
            if (x >= expected.size()) continue;
            ASSERT_EQ(keys[i * k + x], expected[x]) << gemm.name << " " << n << " " << dims;
          }
        }
      }
    }
  }
}

TEST(Gemm, FewNearestAndNearestAreBruteForce) {
  const GemmKernels &gemm = gemm_kernels();
  for (const std::uint32_t dims : {1u, 3u, 65u, 300u}) {
    const Codes codes(301, dims, dims + 1);
    for (const std::uint32_t n : kSizes) {
      const std::vector<std::uint32_t> ids = some_ids(n, 301);
      Operand operand(gemm, codes, ids);
      for (const std::uint32_t k : {1u, 2u, 4u, 8u, 30u}) {
        const std::uint32_t begin = 5, end = 48;
        std::vector<std::uint32_t> keys((end - begin) * k);
        std::vector<std::uint64_t> best((end - begin) * k);
        std::vector<float> thresholds(end - begin);
        const GemmNearest nearest{best.data(), thresholds.data(), k};
        clear_nearest(nearest, end - begin);
        gemm.nearest(codes.rows(), nullptr, begin, end, operand.panels, 7000, codes.groups, operand.aligned(), nearest);
        if (k <= 8)
          gemm.few_nearest(k, codes.rows(), nullptr, begin, end, operand.panels, codes.groups, operand.aligned(),
                           keys.data());
        for (std::uint32_t i = begin; i < end; i++) {
          std::vector<std::uint64_t> exact;
          std::vector<std::uint32_t> few;
          for (std::uint32_t j = 0; j < n; j++) {
            exact.push_back(neighbour_key(codes.distance(i, ids[j]), 7000 + j));
            few.push_back(short_key(codes.distance(i, ids[j]), j));
          }
          std::sort(exact.begin(), exact.end());
          std::sort(few.begin(), few.end());
          for (std::uint32_t x = 0; x < k; x++) {
            ASSERT_EQ(best[(i - begin) * k + x], x < n ? exact[x] : kNoNeighbour) << gemm.name << " " << dims;
            if (k > 8) continue;
            ASSERT_EQ(short_key_valid(keys[(i - begin) * k + x]), x < n);
            ASSERT_TRUE(x >= n || keys[(i - begin) * k + x] == few[x]) << gemm.name << " " << dims;
          }
        }
      }
    }
  }
}

TEST(Gemm, DotsAreExact) {
  const GemmKernels &gemm = gemm_kernels();
  for (const std::uint32_t dims : {1u, 63u, 64u, 65u, 768u, 16000u}) {
    const Codes codes(20, dims, dims + 2);
    for (std::uint32_t n = 1; n <= 20; n++) {
      const std::vector<std::uint32_t> ids = some_ids(n, 20);
      std::vector<std::int32_t> dots(n);
      gemm.dots(codes.rows().row(4), codes.rows(), ids.data(), n, static_cast<std::uint32_t>(codes.stride),
                dots.data());
      for (std::uint32_t i = 0; i < n; i++) ASSERT_EQ(dots[i], codes.dot(4, ids[i])) << gemm.name << " " << dims;
    }
  }
}

}  // namespace
}  // namespace phnsw
