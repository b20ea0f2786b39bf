// Calibration: what a build says of ef and recall is what queries that are no rows find.
#include <numeric>

#include "page_search.hpp"

namespace {

using namespace build_test;

constexpr std::size_t kQueries = 300;
constexpr std::uint32_t kWanted = 10;

// Gaussian vectors times what length() draws.
template <class Length>
Dataset with_lengths(std::size_t rows, std::uint32_t dims, unsigned seed, Length length) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Dataset data{dims, std::vector<float>(rows * dims)};
  for (std::size_t i = 0; i < rows; i++) {
    const float factor = length(random);
    for (std::uint32_t k = 0; k < dims; k++) data.values[i * dims + k] = factor * normal(random);
  }
  return data;
}

std::vector<std::vector<std::size_t>> exact(phnsw_metric metric, const Dataset &data, const float *queries) {
  std::vector<std::vector<std::size_t>> nearest;
  for (std::size_t q = 0; q < kQueries; q++) {
    const float *query = queries + q * data.dims;
    std::vector<std::pair<double, std::size_t>> all;
    for (std::size_t i = 0; i < data.rows(); i++) {
      all.emplace_back(metric == PHNSW_IP ? -phnsw_inner_product(query, data.row(i), data.dims)
                                          : phnsw_l2_squared(query, data.row(i), data.dims),
                       i);
    }
    std::partial_sort(all.begin(), all.begin() + kWanted, all.end());
    nearest.emplace_back();
    for (std::uint32_t k = 0; k < kWanted; k++) nearest.back().push_back(all[k].second);
  }
  return nearest;
}

// The last vectors of `all` are the queries.  Lines that tell of few misses or of most say little.
void expect_as_calibrated(phnsw_metric metric, const Dataset &all, double tolerance) {
  const std::size_t rows = all.rows() - kQueries;
  const Dataset data{all.dims, {all.values.begin(), all.values.begin() + static_cast<std::ptrdiff_t>(rows * all.dims)}};
  phnsw_build_params params = default_params(data);
  params.metric = metric;
  params.calibrate = true;
  const Index index = build_index(data, params);
  const phnsw_meta &meta = index.meta();
  const char *what = "";
  EXPECT_TRUE(phnsw_meta_validate(&meta, index.result.total_blocks, &what)) << what;
  EXPECT_EQ(meta.calibrated_by, metric == PHNSW_IP ? PHNSW_BY_QUERIES : PHNSW_BY_POINTS);
  const auto nearest = exact(metric, data, all.row(rows));
  PageSearch search(index);
  std::uint32_t compared = 0;
  for (std::uint32_t line = 0; line < meta.calibrations; line++) {
    const phnsw_calibration &c = meta.calibration[line];
    if (c.recall < 0.5f || c.recall > 0.98f) continue;
    std::uint32_t hits = 0;
    for (std::size_t q = 0; q < kQueries; q++) {
      for (const std::size_t row : search.find(all.row(rows + q), c.ef)) {
        hits += static_cast<std::uint32_t>(std::count(nearest[q].begin(), nearest[q].end(), row));
      }
    }
    EXPECT_NEAR(hits / static_cast<double>(kQueries * kWanted), c.recall, tolerance) << "ef " << c.ef;
    compared++;
  }
  EXPECT_GE(compared, 2u);
}

TEST(Calibrate, ProductsOfVectorsOfMixedLengths) {
  const auto length = [](std::mt19937 &random) { return random() % 4 == 0 ? 2.0f : 1.0f; };
  expect_as_calibrated(PHNSW_IP, with_lengths(8000 + kQueries, 32, 3, length), 0.04);
}

// Most are so short beside the longest that their codes say little of them.
TEST(Calibrate, ProductsOfVectorsOfVeryMixedLengths) {
  const auto length = [](std::mt19937 &random) { return std::exp(1.5f * std::normal_distribution<float>()(random)); };
  expect_as_calibrated(PHNSW_IP, with_lengths(6000 + kQueries, 24, 4, length), 0.04);
}

TEST(Calibrate, Distances) {
  expect_as_calibrated(PHNSW_L2, with_lengths(6000 + kQueries, 32, 5, [](std::mt19937 &) { return 1.0f; }), 0.04);
}

// Zero vectors are no queries; where there is nothing else, the calibration ends all the same.
TEST(Calibrate, ZeroAndEqualVectors) {
  for (const std::size_t other : {std::size_t{0}, std::size_t{1}, std::size_t{12}}) {
    Dataset data{8, std::vector<float>(3000 * 8)};
    for (std::size_t i = 0; i < other * 8; i++) data.values[i] = static_cast<float>(i % 7) - 3;
    phnsw_build_params params = default_params(data);
    params.metric = PHNSW_IP;
    params.calibrate = true;
    const Index index = build_index(data, params);
    const char *what = "";
    EXPECT_TRUE(phnsw_meta_validate(&index.meta(), index.result.total_blocks, &what)) << what;
  }
}

}  // namespace
