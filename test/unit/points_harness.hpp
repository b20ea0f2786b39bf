// Random coded points and a build context, for the tests of single steps of the bulk build.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "build/context.hpp"

namespace points_test {

class NoFile : public phnsw::SpillSource {
  phnsw::Status extend(std::uint64_t, int *) override { return {PHNSW_INTERNAL, "no file"}; }
};

struct World {
  explicit World(std::uint32_t n, std::uint32_t dims, unsigned seed, int clusters = 8) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const std::size_t stride = (dims + 63) / 64 * 64;
    codes.assign(n * stride, 0);
    heads.resize(n);
    std::vector<float> centres(static_cast<std::size_t>(clusters) * dims);
    for (float &x : centres) x = 40.0f * normal(random);
    for (std::uint32_t i = 0; i < n; i++) {
      const std::size_t c = random() % static_cast<unsigned>(clusters);
      std::int32_t sum = 0, squares = 0;
      for (std::uint32_t j = 0; j < dims; j++) {
        const float x = std::min(127.0f, std::max(-127.0f, centres[c * dims + j] + 15.0f * normal(random)));
        codes[i * stride + j] = static_cast<std::int8_t>(x);
        sum += codes[i * stride + j];
        squares += codes[i * stride + j] * codes[i * stride + j];
      }
      const float scale = 0.01f;
      heads[i] = {scale, scale * scale * static_cast<float>(squares), sum, 0};
    }
    points = {{codes.data(), heads.data(), stride}, n, dims};
  }
  [[nodiscard]] float distance(std::uint32_t a, std::uint32_t b) const {
    std::int32_t dot = 0;
    for (std::size_t j = 0; j < points.rows.stride; j++) dot += points.rows.row(a)[j] * points.rows.row(b)[j];
    volatile float product = -2.0f * heads[a].scale * heads[b].scale;
    product = product * static_cast<float>(dot);
    return std::max(0.0f, heads[a].norm2 + heads[b].norm2 + product);
  }

  std::vector<std::int8_t> codes;
  std::vector<phnsw_code_head> heads;
  phnsw::Points points{};
  std::atomic<bool> stop{false};
  NoFile no_file;
  phnsw::Team team{1, stop};
  phnsw::Arena arena{std::size_t{1} << 30, no_file};
  phnsw::BuildProgress progress;
  phnsw::BuildContext context{team, arena, progress};
};

}  // namespace points_test
