// phnsw_query_bound() never exceeds what the operator returns, and comes close to it.
//
// The executor raises an error when an index's bound is above the exact value, so this is a matter of correctness:
// random and adversarial pairs, every metric, dimensions 1 ... 16,000, magnitudes over float32's whole range, codes of
// every width, with and without centre, each step (encoding, bound, operator) on an instruction set of its own.
// PHNSW_BOUND_PAIRS scales the number of pairs (default 150,000; run with millions before a release), PHNSW_TEST_SEED
// sets the seed.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "codec/codec.hpp"
#include "coded.hpp"

namespace {

using namespace phnsw::test;
using phnsw::Rng;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::uint64_t setting(const char *name, std::uint64_t value) {
  const char *text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : value;
}

std::vector<std::string> simd_names() {
  std::vector<std::string> names;
  const std::string before = phnsw_simd_name();
  for (const char *name : {"scalar", "avx2", "avxvnni", "avx512"}) {
    if (phnsw_simd_force(name)) names.push_back(name);
  }
  EXPECT_TRUE(phnsw_simd_force(before.c_str()));
  return names;
}

enum Shape : std::uint32_t {
  kGaussian,
  kOneHuge,
  kSparse,
  kConstant,
  kWildMagnitudes,
  kSubnormal,
  kTop,
  kIntegers,
  kShapes
};

std::vector<float> shaped(Rng &rng, std::uint32_t shape, std::uint32_t n, double magnitude) {
  std::vector<float> v = gaussian_vector(rng, n, magnitude);
  switch (shape) {
    case kOneHuge:
      v[rng.below(n)] = to_float(magnitude * 1e6 * gaussian(rng));
      break;
    case kSparse:
      for (float &x : v) x = rng.below(8) == 0 ? x : 0.0f;
      v[rng.below(n)] = to_float(magnitude);
      break;
    case kConstant:
      std::fill(v.begin(), v.end(), to_float(magnitude));
      break;
    case kWildMagnitudes:
      for (float &x : v) x = to_float(gaussian(rng) * std::pow(10.0, 76 * rng.unit() - 38));
      break;
    case kSubnormal:
      for (float &x : v) x = static_cast<float>(gaussian(rng)) * 1e-42f;
      break;
    case kTop:
      for (float &x : v) x = std::copysign(std::numeric_limits<float>::max(), static_cast<float>(gaussian(rng)));
      break;
    case kIntegers:
      for (float &x : v) x = static_cast<float>(static_cast<int>(rng.below(256)) - 128);
      break;
    default:
      break;
  }
  return v;
}

// How a query is made from a vector.
enum Relation : std::uint32_t { kOther, kEqual, kLastBit, kNear, kOpposite, kMultiple, kZero, kRelations };

std::vector<float> related(Rng &rng, std::uint32_t relation, const std::vector<float> &v, double magnitude) {
  const std::uint32_t n = static_cast<std::uint32_t>(v.size());
  std::vector<float> q = v;
  switch (relation) {
    case kOther:
      return shaped(rng, rng.below(kShapes), n, magnitude);
    case kLastBit: {
      float &x = q[rng.below(n)];
      x = std::nextafter(x, 0.0f);
      break;
    }
    case kNear:
      for (float &x : q) x = to_float(x * (1 + 1e-6 * gaussian(rng)));
      break;
    case kOpposite:
      for (float &x : q) x = -x;
      break;
    case kMultiple:
      for (float &x : q) x = to_float(x * 1.7);
      break;
    case kZero:
      std::fill(q.begin(), q.end(), 0.0f);
      break;
    default:
      break;
  }
  return q;
}

double magnitude_of(Rng &rng) {
  constexpr double kMagnitudes[] = {1, 1, 1, 1e-30, 1e30, 1e-10, 1e10, 1e-38, 1e37, 1e-44, 255};
  return kMagnitudes[rng.below(sizeof kMagnitudes / sizeof kMagnitudes[0])];
}

class Trial {
 public:
  Trial(std::uint64_t seed, std::uint32_t dims, std::uint32_t pairs) : rng_(seed), dims_(dims), pairs_(pairs) {}

  // One codec, `pairs` pairs.
  void run(const std::vector<std::string> &simd) {
    constexpr phnsw_metric kMetrics[] = {PHNSW_L2, PHNSW_IP, PHNSW_COSINE};
    const phnsw_metric metric = kMetrics[rng_.below(3)];
    const double magnitude = metric == PHNSW_COSINE ? 1.0 : magnitude_of(rng_);
    phnsw_codec_params params = choose(metric, dims_, rng_.below(2) == 0 ? 16 : 2, rng_.next());
    if (rng_.below(3) == 0) params.bits = 4;
    if (rng_.below(4) == 0) params.code_dims -= params.code_dims / (2 + rng_.below(20));
    if (metric != PHNSW_COSINE && rng_.below(2) == 0) {
      params.exponent = static_cast<std::int8_t>(phnsw::Codec::exponent_for(magnitude * std::sqrt(dims_)));
    }
    const double unit = std::ldexp(magnitude, -params.exponent);
    if (metric == PHNSW_IP && rng_.below(2) == 0) params.max_norm = to_float(unit * std::sqrt(dims_) * 1.1);
    std::vector<float> centre;
    if (rng_.below(2) == 0) centre = gaussian_vector(rng_, params.space_dims, unit * 0.3);
    const CodecHandle codec = make_codec(params, centre.empty() ? nullptr : centre.data());
    const QueryHandle query = make_query(codec.get());
    Slot slot(params);
    for (std::uint32_t i = 0; i < pairs_; i++) {
      const std::uint32_t shape = rng_.below(kShapes);
      const std::uint32_t relation = rng_.below(kRelations);
      const std::vector<float> v = shaped(rng_, shape, dims_, rng_.below(4) == 0 ? magnitude_of(rng_) : magnitude);
      const std::vector<float> q = related(rng_, relation, v, magnitude);
      const auto pick = [&] {
        ASSERT_TRUE(phnsw_simd_force(simd[rng_.below(static_cast<std::uint32_t>(simd.size()))].c_str()));
      };
      phnsw_error error;
      pick();
      const phnsw_status status = phnsw_codec_encode(codec.get(), v.data(), slot.get(), &error);
      if (status == PHNSW_NOT_INDEXED) continue;
      ASSERT_EQ(status, PHNSW_OK);
      const char *what = "";
      ASSERT_TRUE(phnsw_codec_validate(codec.get(), slot.get(), &what)) << what;
      pick();
      phnsw_query_set(query.get(), q.data(), PHNSW_FOR_SEARCH);
      const double bound = phnsw_query_bound(query.get(), slot.get());
      const phnsw_slot *slots[] = {slot.get()};
      float score = 0;
      phnsw_query_score(query.get(), slots, 1, &score);
      ASSERT_FALSE(std::isnan(score));
      pick();
      const double value = operator_value(metric, q, v);
      if (std::isnan(value)) {
        ASSERT_EQ(metric, PHNSW_COSINE);
        ASSERT_TRUE(std::isnan(bound));
        continue;
      }
      ASSERT_LE(bound, value) << "metric " << metric << " dims " << dims_ << " shape " << shape << " relation "
                              << relation << " magnitude " << magnitude << " exponent " << int{params.exponent}
                              << " bits " << int{params.bits} << " code_dims " << params.code_dims << " centre "
                              << !centre.empty();
    }
  }

 private:
  Rng rng_;
  std::uint32_t dims_;
  std::uint32_t pairs_;
};

TEST(Bound, NeverExceedsTheOperator) {
  const std::uint64_t total = setting("PHNSW_BOUND_PAIRS", 150000);
  const std::uint64_t seed = setting("PHNSW_TEST_SEED", 20261120);
  SCOPED_TRACE("PHNSW_TEST_SEED=" + std::to_string(seed));
  const std::string before = phnsw_simd_name();
  const std::vector<std::string> simd = simd_names();
  constexpr std::uint32_t kDims[] = {1,  2,   3,   4,   5,   7,   8,   9,   15,   16,   17,   31,   33,   48,    64,
                                     65, 100, 127, 128, 200, 300, 512, 768, 1000, 1536, 3000, 7900, 8000, 15999, 16000};
  // Equal time for every dimension: fewer pairs of long vectors.
  double weights = 0;
  for (const std::uint32_t dims : kDims) weights += 1.0 / (dims + 50);
  for (const std::uint32_t dims : kDims) {
    const auto pairs = static_cast<std::uint32_t>(static_cast<double>(total) / (dims + 50) / weights) + 1;
    constexpr std::uint32_t kPairs = 20;
    for (std::uint32_t done = 0; done < pairs && !HasFatalFailure(); done += kPairs) {
      Trial(seed + dims * 1000003ull + done, dims, kPairs).run(simd);
    }
  }
  ASSERT_TRUE(phnsw_simd_force(before.c_str()));
}

// Bounds near the value: otherwise -inf would pass the test above.  Gaussian vectors are the worst case for the codes.
TEST(Bound, IsTightForEveryMetricAndScale) {
  Rng rng(11);
  constexpr std::uint32_t kDims = 768;
  for (const phnsw_metric metric : {PHNSW_L2, PHNSW_IP, PHNSW_COSINE}) {
    for (const double magnitude : {1.0, 1e-30, 1e30}) {
      phnsw_codec_params params = choose(metric, kDims);
      if (metric != PHNSW_COSINE) {
        params.exponent = static_cast<std::int8_t>(phnsw::Codec::exponent_for(magnitude * std::sqrt(kDims)));
      }
      const CodecHandle codec = make_codec(params);
      const QueryHandle query = make_query(codec.get());
      Slot slot(params);
      for (int i = 0; i < 100; i++) {
        const std::vector<float> v = gaussian_vector(rng, kDims, magnitude);
        const std::vector<float> q = gaussian_vector(rng, kDims, magnitude);
        phnsw_error error;
        ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), slot.get(), &error), PHNSW_OK);
        phnsw_query_set(query.get(), q.data(), PHNSW_FOR_SEARCH);
        const double bound = phnsw_query_bound(query.get(), slot.get());
        const double value = operator_value(metric, q, v);
        // What the gap is compared with: the distance, or the product of the norms.
        const double size = metric == PHNSW_IP ? std::sqrt(phnsw_inner_product(v.data(), v.data(), kDims) *
                                                           phnsw_inner_product(q.data(), q.data(), kDims))
                                               : value;
        ASSERT_LE(bound, value);
        ASSERT_GT(bound, value - 0.02 * size) << metric << " " << magnitude;
      }
    }
  }
}

// Vectors whose code is exact (integers of small range, dimension 1) have bounds within rounding of the value.
TEST(Bound, OfAnEqualVectorIsAlmostZero) {
  Rng rng(12);
  for (const std::uint32_t dims : {1u, 16u, 100u, 768u}) {
    const phnsw_codec_params params = choose(PHNSW_L2, dims);
    const CodecHandle codec = make_codec(params);
    const QueryHandle query = make_query(codec.get());
    Slot slot(params);
    const std::vector<float> v = gaussian_vector(rng, dims);
    phnsw_error error;
    ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), slot.get(), &error), PHNSW_OK);
    phnsw_query_set(query.get(), v.data(), PHNSW_FOR_SEARCH);
    EXPECT_EQ(phnsw_query_bound(query.get(), slot.get()), 0.0);
    // The same code with a residual of zero: the bound is |y - x'|, the true distance to the coded point.
    slot->head.residual = 0.0f;
    EXPECT_GE(phnsw_query_bound(query.get(), slot.get()), 0.0);
    EXPECT_LE(phnsw_query_bound(query.get(), slot.get()), 0.02 * std::sqrt(dims));
  }
}

// Whatever stands on the page, a bound is no trap: nonsense bytes give some number.
TEST(Bound, SurvivesNonsense) {
  Rng rng(13);
  constexpr float kOdd[] = {0.0f, -1.0f, 1e-45f, 3e38f, static_cast<float>(kInfinity), -static_cast<float>(kInfinity),
                            NAN};
  for (const phnsw_metric metric : {PHNSW_L2, PHNSW_IP, PHNSW_COSINE}) {
    for (const std::uint8_t bits : {std::uint8_t{8}, std::uint8_t{4}}) {
      phnsw_codec_params params = choose(metric, 65);
      params.bits = bits;
      const CodecHandle codec = make_codec(params);
      const QueryHandle query = make_query(codec.get());
      Slot slot(params);
      const std::vector<float> q = gaussian_vector(rng, 65);
      phnsw_query_set(query.get(), q.data(), PHNSW_FOR_SEARCH);
      for (int i = 0; i < 2000; i++) {
        for (std::uint32_t j = 0; j < phnsw_code_bytes(params.code_dims, bits); j++) {
          slot->code[j] = static_cast<std::uint8_t>(rng.next());
        }
        slot->head = {kOdd[rng.below(7)], kOdd[rng.below(7)], static_cast<std::int32_t>(rng.next()),
                      kOdd[rng.below(7)]};
        const double bound = phnsw_query_bound(query.get(), slot.get());
        EXPECT_FALSE(std::isnan(bound));
        const phnsw_slot *slots[] = {slot.get()};
        float score = 0;
        phnsw_query_score(query.get(), slots, 1, &score);
        EXPECT_FALSE(std::isnan(score));
        EXPECT_NE(score, -static_cast<float>(kInfinity));
      }
    }
  }
}

// A zero query under cosine: the operator gives NaN for every row, and so does the bound.
TEST(Bound, OfAZeroQueryUnderCosineIsNotANumber) {
  const phnsw_codec_params params = choose(PHNSW_COSINE, 10);
  const CodecHandle codec = make_codec(params);
  const QueryHandle query = make_query(codec.get());
  Slot slot(params);
  const std::vector<float> v(10, 1.0f);
  const std::vector<float> zero(10, 0.0f);
  phnsw_error error;
  ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), slot.get(), &error), PHNSW_OK);
  ASSERT_EQ(phnsw_codec_encode(codec.get(), zero.data(), slot.get(), &error), PHNSW_NOT_INDEXED);
  phnsw_query_set(query.get(), zero.data(), PHNSW_FOR_SEARCH);
  EXPECT_TRUE(std::isnan(phnsw_query_bound(query.get(), slot.get())));
  EXPECT_TRUE(std::isnan(operator_value(PHNSW_COSINE, zero, v)));
}

}  // namespace
