// phnsw_query_score_within(): what it scores has the score of phnsw_query_score(); what it leaves out is beyond
// the limit, but for a few just below it; on every instruction set.
#include <algorithm>
#include <string>

#include "coded.hpp"

namespace {

using namespace phnsw::test;
using phnsw::Rng;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Within {
  std::vector<float> whole, scores;
  std::vector<bool> scored;
};

class QueryPart : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(phnsw_simd_force(before_.c_str())); }

  void encode(const phnsw_codec_params &params, const std::vector<std::vector<float>> &vectors) {
    codec_ = make_codec(params);
    query_ = make_query(codec_.get());
    slots_.assign(vectors.size(), Slot(params));
    pointers_.clear();
    for (std::size_t i = 0; i < vectors.size(); i++) {
      phnsw_error error;
      ASSERT_EQ(phnsw_codec_encode(codec_.get(), vectors[i].data(), slots_[i].get(), &error), PHNSW_OK);
      pointers_.push_back(slots_[i].get());
    }
  }
  // The share'th nearest is the limit.
  Within ask(float share) {
    const auto n = static_cast<std::uint32_t>(pointers_.size());
    Within w{std::vector<float>(n), std::vector<float>(n, -12345.0f), std::vector<bool>(n)};
    phnsw_query_score(query_.get(), pointers_.data(), n, w.whole.data());
    std::vector<float> sorted = w.whole;
    std::sort(sorted.begin(), sorted.end());
    limit_ = sorted[static_cast<std::size_t>(share * static_cast<float>(n))];
    return ask_limit(std::move(w));
  }
  Within ask_limit(Within w) {
    const auto n = static_cast<std::uint32_t>(pointers_.size());
    std::vector<std::uint32_t> within(n, 99999);
    const std::uint32_t found =
        phnsw_query_score_within(query_.get(), pointers_.data(), n, limit_, w.scores.data(), within.data());
    EXPECT_LE(found, n);
    for (std::uint32_t i = 0; i < found; i++) {
      EXPECT_LT(within[i], n);
      EXPECT_TRUE(i == 0 || within[i - 1] < within[i]);
      w.scored[within[i]] = true;
    }
    for (std::uint32_t i = 0; i < n; i++) EXPECT_EQ(w.scores[i], w.scored[i] ? w.whole[i] : -12345.0f) << i;
    return w;
  }

  const std::string before_ = phnsw_simd_name();
  CodecHandle codec_;
  QueryHandle query_;
  std::vector<Slot> slots_;
  std::vector<const phnsw_slot *> pointers_;
  float limit_ = 0;
};

// Points on shells around the query, as a search meets them.
TEST_F(QueryPart, LeavesOutWhatIsBeyondTheLimit) {
  for (const char *simd : {"scalar", "avx2", "avxvnni", "avx512"}) {
    if (!phnsw_simd_force(simd)) continue;
    Rng rng(1);
    for (const phnsw_metric metric : {PHNSW_L2, PHNSW_COSINE}) {
      for (const std::uint32_t dims : {384u, 512u, 784u, 1000u, 1536u}) {
        const std::vector<float> q = gaussian_vector(rng, dims);
        std::vector<std::vector<float>> vectors;
        for (std::uint32_t i = 0; i < 1501; i++) {
          vectors.push_back(q);
          const double radius = 0.2 + 0.6 * std::sqrt(rng.unit());
          for (float &x : vectors.back()) x += static_cast<float>(radius * gaussian(rng));
        }
        encode(choose(metric, dims), vectors);
        phnsw_query_set(query_.get(), q.data(), PHNSW_FOR_SEARCH);
        ASSERT_NE(phnsw_query_part(query_.get()), 0u);
        ASSERT_LT(phnsw_query_part(query_.get()), dims / 2);
        const Within w = ask(0.3f);
        const float offset = phnsw_query_offset(query_.get());
        std::uint32_t below = 0, missed = 0, out = 0;
        for (std::size_t i = 0; i < vectors.size(); i++) {
          out += !w.scored[i];
          below += w.whole[i] < limit_;
          missed += w.whole[i] < limit_ && !w.scored[i];
          // Eight deviations below the limit nothing is missed.
          EXPECT_TRUE(w.scored[i] || w.whole[i] + offset > 0.5f * (limit_ + offset)) << simd << " " << dims;
        }
        EXPECT_GT(out, vectors.size() / 3) << simd << " " << dims;
        EXPECT_LE(missed, below / 50) << simd << " " << dims;
      }
    }
  }
}

TEST_F(QueryPart, LimitsOfAllSizes) {
  Rng rng(2);
  const phnsw_codec_params params = choose(PHNSW_L2, 512);
  std::vector<std::vector<float>> vectors;
  for (std::uint32_t i = 0; i < 70; i++) vectors.push_back(gaussian_vector(rng, 512));
  vectors.push_back(vectors[0]);
  encode(params, vectors);
  phnsw_query_set(query_.get(), vectors[0].data(), PHNSW_FOR_SEARCH);
  const auto scored = [&](float limit) {
    limit_ = limit;
    Within w{std::vector<float>(71), std::vector<float>(71, -12345.0f), std::vector<bool>(71)};
    phnsw_query_score(query_.get(), pointers_.data(), 71, w.whole.data());
    return ask_limit(w).scored;
  };
  EXPECT_EQ(scored(kInfinity), std::vector<bool>(71, true));
  EXPECT_EQ(scored(std::numeric_limits<float>::max()), std::vector<bool>(71, true));
  // Where distances are as small as what coding loses, parts tell nothing; below zero there are none.
  const float offset = phnsw_query_offset(query_.get());
  EXPECT_EQ(scored(-offset), std::vector<bool>(71, true));
  EXPECT_EQ(scored(-2 * offset), std::vector<bool>(71, true));
  EXPECT_EQ(scored(-kInfinity), std::vector<bool>(71, true));
  EXPECT_EQ(scored(std::numeric_limits<float>::quiet_NaN()), std::vector<bool>(71, true));
  // The query itself, twice, and nobody else.
  const std::vector<bool> near = scored(-0.99f * offset);
  EXPECT_EQ(std::count(near.begin(), near.end(), true), 2);
  EXPECT_TRUE(near[0] && near[70]);
}

// Rows that are small beside their distance from the query lie in one direction: no such query may lose them all.
TEST_F(QueryPart, LeavesOutNoMoreForQueriesFarAway) {
  Rng rng(6);
  std::vector<std::vector<float>> vectors;
  for (int i = 0; i < 200; i++) vectors.push_back(gaussian_vector(rng, 400));
  encode(choose(PHNSW_L2, 400), vectors);
  for (int round = 0; round < 100; round++) {
    std::vector<float> q = gaussian_vector(rng, 400);
    for (float &x : q) x *= 30;
    phnsw_query_set(query_.get(), q.data(), PHNSW_FOR_SEARCH);
    const Within w = ask(0.5f);
    std::uint32_t missed = 0;
    for (std::size_t i = 0; i < vectors.size(); i++) missed += w.whole[i] < limit_ && !w.scored[i];
    EXPECT_LE(missed, 5u) << round;
  }
}

// A query whose squared norm is beyond float32 has no offset: with its part
// every node opposite to it would be beyond any limit.
TEST_F(QueryPart, IsNotUsedForQueriesWithoutOffset) {
  Rng rng(5);
  std::vector<float> q = gaussian_vector(rng, 400);
  std::vector<std::vector<float>> vectors;
  for (std::uint32_t i = 1; i <= 200; i++) {
    vectors.push_back(q);
    for (float &x : vectors.back()) x = -1e13f * static_cast<float>(i) * (x + static_cast<float>(gaussian(rng)));
  }
  encode(choose(PHNSW_L2, 400), vectors);
  for (float &x : q) x *= 1e18f;
  phnsw_query_set(query_.get(), q.data(), PHNSW_FOR_SEARCH);
  EXPECT_EQ(phnsw_query_offset(query_.get()), 0.0f);
  EXPECT_EQ(phnsw_query_part(query_.get()), 0u);
}

TEST_F(QueryPart, IsOfLongCodesForSearchesByDistance) {
  Rng rng(3);
  const auto part = [&](phnsw_codec_params params, phnsw_query_purpose purpose) {
    if (params.metric == PHNSW_IP) params.max_norm = 100;
    const CodecHandle codec = make_codec(params);
    const QueryHandle query = make_query(codec.get());
    phnsw_query_set(query.get(), gaussian_vector(rng, params.dims).data(), purpose);
    return phnsw_query_part(query.get());
  };
  EXPECT_EQ(part(choose(PHNSW_L2, 383), PHNSW_FOR_SEARCH), 0u);
  EXPECT_EQ(part(choose(PHNSW_L2, 384), PHNSW_FOR_SEARCH), 128u);
  EXPECT_EQ(part(choose(PHNSW_COSINE, 784), PHNSW_FOR_SEARCH), 192u);
  EXPECT_EQ(part(choose(PHNSW_L2, 1536), PHNSW_FOR_SEARCH), 384u);
  EXPECT_EQ(part(choose(PHNSW_IP, 768), PHNSW_FOR_SEARCH), 0u);
  EXPECT_EQ(part(choose(PHNSW_L2, 768), PHNSW_FOR_INSERT), 0u);
  EXPECT_EQ(part(choose(PHNSW_L2, 12000), PHNSW_FOR_SEARCH), 0u) << "codes of 4 bits";
}

TEST_F(QueryPart, BearsWhateverStandsOnThePage) {
  Rng rng(4);
  const phnsw_codec_params params = choose(PHNSW_L2, 600);
  encode(params, std::vector<std::vector<float>>(40, gaussian_vector(rng, 600)));
  phnsw_query_set(query_.get(), gaussian_vector(rng, 600).data(), PHNSW_FOR_SEARCH);
  for (int round = 0; round < 300; round++) {
    for (Slot &slot : slots_) {
      auto *bytes = reinterpret_cast<std::uint8_t *>(&slot.get()->head);
      for (std::uint32_t i = 0; i < sizeof(phnsw_code_head) + 600; i++)
        bytes[i] = static_cast<std::uint8_t>(rng.next());
    }
    std::vector<float> scores(40);
    std::vector<std::uint32_t> within(40);
    const std::uint32_t n = phnsw_query_score_within(query_.get(), pointers_.data(), 40, static_cast<float>(round),
                                                     scores.data(), within.data());
    for (std::uint32_t i = 0; i < n; i++) EXPECT_FALSE(std::isnan(scores[within[i]]));
  }
  phnsw_query_set(query_.get(), gaussian_vector(rng, 600).data(), PHNSW_FOR_INSERT);
  EXPECT_EQ(phnsw_query_part(query_.get()), 0u);
}

}  // namespace
