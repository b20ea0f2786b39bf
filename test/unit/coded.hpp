// Test helpers around codecs: slots in memory of their own, vectors of many shapes.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "base/rng.hpp"
#include "capi/phnsw_core.h"

namespace phnsw::test {

// A slot with room for the codec's code, everything else zero.
class Slot {
 public:
  explicit Slot(const phnsw_codec_params &params)
      : bytes_(phnsw_slot_bytes(params.code_dims, params.bits, params.m) / 4 + 1) {}
  phnsw_slot *get() { return reinterpret_cast<phnsw_slot *>(bytes_.data()); }
  const phnsw_slot *get() const { return reinterpret_cast<const phnsw_slot *>(bytes_.data()); }
  phnsw_slot *operator->() { return get(); }

 private:
  std::vector<std::uint32_t> bytes_;
};

struct CodecDeleter {
  void operator()(phnsw_codec *codec) const { phnsw_codec_destroy(codec); }
};
struct QueryDeleter {
  void operator()(phnsw_query *query) const { phnsw_query_destroy(query); }
};
using CodecHandle = std::unique_ptr<phnsw_codec, CodecDeleter>;
using QueryHandle = std::unique_ptr<phnsw_query, QueryDeleter>;

inline phnsw_codec_params choose(phnsw_metric metric, std::uint32_t dims, std::uint32_t m = 16,
                                 std::uint64_t seed = 7) {
  phnsw_codec_params params;
  phnsw_error error;
  EXPECT_EQ(phnsw_codec_choose(metric, dims, m, seed, &params, &error), PHNSW_OK);
  return params;
}

inline CodecHandle make_codec(const phnsw_codec_params &params, const float *centre = nullptr) {
  phnsw_codec *codec = nullptr;
  phnsw_error error{};
  EXPECT_EQ(phnsw_codec_create(&params, centre, &codec, &error), PHNSW_OK) << error.message;
  return CodecHandle(codec);
}

inline QueryHandle make_query(const phnsw_codec *codec) {
  phnsw_query *query = nullptr;
  phnsw_error error{};
  EXPECT_EQ(phnsw_query_create(codec, &query, &error), PHNSW_OK) << error.message;
  return QueryHandle(query);
}

// What the SQL operator returns.
inline double operator_value(phnsw_metric metric, const std::vector<float> &a, const std::vector<float> &b) {
  const std::uint32_t n = static_cast<std::uint32_t>(a.size());
  switch (metric) {
    case PHNSW_L2:
      return std::sqrt(phnsw_l2_squared(a.data(), b.data(), n));
    case PHNSW_IP:
      return -phnsw_inner_product(a.data(), b.data(), n);
    default:
      return phnsw_cosine_distance(a.data(), b.data(), n);
  }
}

inline double gaussian(Rng &rng) {
  return std::sqrt(-2 * std::log(rng.unit())) * std::cos(6.283185307179586 * rng.unit());
}

// Cut to what float32 holds.
inline float to_float(double v) {
  constexpr double kMax = std::numeric_limits<float>::max();
  return static_cast<float>(v > kMax ? kMax : v < -kMax ? -kMax : v);
}

inline std::vector<float> gaussian_vector(Rng &rng, std::uint32_t n, double magnitude = 1) {
  std::vector<float> v(n);
  for (float &x : v) x = to_float(gaussian(rng) * magnitude);
  return v;
}

}  // namespace phnsw::test
