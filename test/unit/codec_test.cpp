// Codecs: what is chosen, what is refused, how good codes are, that residuals bound the true error, that codes do not
// depend on the instruction set, and that every way to a distance gives the same number.
#include "codec/codec.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "coded.hpp"
#include "kernel/kernels.hpp"

namespace {

using namespace phnsw::test;
using phnsw::Codec;
using phnsw::Rng;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr phnsw_metric kMetrics[] = {PHNSW_L2, PHNSW_IP, PHNSW_COSINE};

std::unique_ptr<Codec> make(const phnsw_codec_params &params, const float *centre = nullptr) {
  std::unique_ptr<Codec> codec;
  EXPECT_TRUE(Codec::create(params, centre, &codec).ok());
  return codec;
}

// A slot always fits its page, with as many bits and coordinates as there is room for.
TEST(CodecChoose, FillsThePage) {
  for (const phnsw_metric metric : kMetrics) {
    for (const std::uint32_t m : {2u, 16u, 100u}) {
      for (std::uint32_t dims = 1; dims <= PHNSW_DIMS_MAX; dims += dims < 100 ? 1 : 37) {
        const phnsw_codec_params p = choose(metric, dims, m);
        ASSERT_LE(phnsw_slot_bytes(p.code_dims, p.bits, m), PHNSW_PAGE_CONTENT);
        ASSERT_EQ(p.space_dims, dims + (metric == PHNSW_IP ? 1 : 0));
        const bool fits8 = phnsw_slot_bytes(p.space_dims, 8, m) <= PHNSW_PAGE_CONTENT;
        ASSERT_EQ(p.bits, fits8 ? 8 : 4) << dims;
        if (p.code_dims < p.space_dims) {
          ASSERT_EQ(p.bits, 4);
          ASSERT_GT(phnsw_slot_bytes(p.code_dims + 8, 4, m), PHNSW_PAGE_CONTENT);
        }
        ASSERT_NE(make_codec(p), nullptr);
      }
    }
  }
  EXPECT_EQ(choose(PHNSW_L2, 7900).bits, 8);
  EXPECT_EQ(choose(PHNSW_L2, 8000).bits, 4);
  EXPECT_EQ(choose(PHNSW_L2, 16000).code_dims, 15984u);
}

TEST(CodecChoose, RefusesBadArguments) {
  phnsw_codec_params p;
  phnsw_error error{};
  EXPECT_EQ(phnsw_codec_choose(PHNSW_L2, 0, 16, 1, &p, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_codec_choose(PHNSW_L2, PHNSW_DIMS_MAX + 1, 16, 1, &p, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_codec_choose(PHNSW_L2, 10, PHNSW_M_MIN - 1, 1, &p, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_codec_choose(PHNSW_L2, 10, PHNSW_M_MAX + 1, 1, &p, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(phnsw_codec_choose(static_cast<phnsw_metric>(0), 10, 16, 1, &p, &error), PHNSW_BAD_ARGUMENT);
  EXPECT_EQ(error.status, PHNSW_BAD_ARGUMENT);
  EXPECT_STRNE(error.message, "");
}

// Parameters come from disk: each impossible one is corruption.
TEST(CodecCreate, RefusesCorruptParameters) {
  const phnsw_codec_params good = choose(PHNSW_IP, 100);
  const auto refused = [&](auto change) {
    phnsw_codec_params p = good;
    change(p);
    phnsw_codec *codec = nullptr;
    phnsw_error error{};
    const phnsw_status status = phnsw_codec_create(&p, nullptr, &codec, &error);
    EXPECT_EQ(codec, nullptr);
    phnsw_codec_destroy(codec);
    return status == PHNSW_CORRUPT && error.message[0] != '\0';
  };
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.metric = 0; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.metric = PHNSW_L2; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.dims = 0; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.dims = 0xFFFFFFFFu; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.dims = PHNSW_DIMS_MAX + 1, p.space_dims = p.dims + 1; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.space_dims = 100; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.code_dims = 0; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.code_dims = 102; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.bits = 5; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.exponent = 127; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.exponent = -128; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.max_norm = -1; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.max_norm = NAN; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.max_norm = kInfinity; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.m = 1; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.m = 101; }));
  EXPECT_TRUE(refused([](phnsw_codec_params &p) { p.dims = 9000, p.space_dims = p.code_dims = 9001; }));
  for (const float bad : {NAN, kInfinity}) {
    std::vector<float> centre(101, 0.0f);
    centre[50] = bad;
    phnsw_codec *codec = nullptr;
    phnsw_error error{};
    EXPECT_EQ(phnsw_codec_create(&good, centre.data(), &codec, &error), PHNSW_CORRUPT);
  }
}

TEST(CodecExponent, MakesNormsAboutOne) {
  for (const double norm : {1.0, 0.001, 1e5, 0.0, -1.0, static_cast<double>(kInfinity), std::nan("")}) {
    EXPECT_EQ(Codec::exponent_for(norm), 0) << norm;
  }
  for (const double norm : {1e-30, 1e30, 1e-8, 1e8}) {
    const double scaled = std::ldexp(norm, -Codec::exponent_for(norm));
    EXPECT_GE(scaled, 1.0) << norm;
    EXPECT_LT(scaled, 2.0) << norm;
  }
  EXPECT_EQ(Codec::exponent_for(1e40), 120);
  EXPECT_EQ(Codec::exponent_for(1e-45), -120);
}

// The residual bounds the distance between the rotated vector (in float64) and the coded point, and not by much.
TEST(CodecEncode, ResidualBoundsTheTrueError) {
  Rng rng(1);
  for (const phnsw_metric metric : kMetrics) {
    for (const std::uint32_t dims : {1u, 2u, 3u, 10u, 64u, 100u, 768u, 1500u}) {
      for (const std::uint8_t bits : {std::uint8_t{8}, std::uint8_t{4}}) {
        phnsw_codec_params p = choose(metric, dims);
        p.bits = bits;
        if (dims == 100) p.code_dims -= 10;
        const std::vector<float> centre = gaussian_vector(rng, p.space_dims, 0.2);
        const auto codec = make(p, centre.data());
        std::vector<float> scratch(codec->scratch_floats());
        std::vector<std::int8_t> codes(p.code_dims);
        for (int i = 0; i < 20; i++) {
          const std::vector<float> v = gaussian_vector(rng, dims);
          phnsw_code_head head;
          ASSERT_TRUE(codec->encode(v.data(), scratch.data(), &head, codes.data()));
          // The rotation preserves distances, so the coded point is compared before rotation: rotate unit by unit is
          // too slow, the float32 rotation of the difference is exact enough for a test of this size.
          std::vector<float> x(codec->scratch_floats());
          ASSERT_TRUE(codec->prepare(v.data(), x.data()));
          double norm2 = 0;
          for (std::uint32_t j = 0; j < p.space_dims; j++) {
            const double d = static_cast<double>(x[j]) - centre[j];
            norm2 += d * d;
          }
          ASSERT_TRUE(codec->transform(x.data()));
          double error2 = 0, coded2 = 0;
          std::int32_t sum = 0;
          for (std::uint32_t j = 0; j < p.space_dims; j++) {
            const double c = j < p.code_dims ? static_cast<double>(head.scale) * codes[j] : 0.0;
            error2 += (x[j] - c) * (x[j] - c);
            coded2 += c * c;
            if (j < p.code_dims) sum += codes[j];
          }
          ASSERT_GE(head.residual, std::sqrt(error2));
          ASSERT_LE(head.residual, std::sqrt(error2) * 1.001 + 1e-5 * std::sqrt(norm2) + 1e-6);
          ASSERT_NEAR(head.norm2, coded2, coded2 * 1e-6);
          ASSERT_EQ(head.sum, sum);
          if (dims == 768 && metric != PHNSW_IP) {
            const double relative = head.residual / std::sqrt(norm2);
            ASSERT_LT(relative, bits == 8 ? 0.011 : 0.13);
          }
        }
      }
    }
  }
}

// What a standby on another machine computes is what the primary wrote.
TEST(CodecEncode, CodesAreTheSameOnEveryInstructionSet) {
  Rng rng(2);
  const std::string before = phnsw_simd_name();
  for (const phnsw_metric metric : kMetrics) {
    for (const std::uint32_t dims : {1u, 3u, 17u, 100u, 768u, 9000u}) {
      const phnsw_codec_params p = choose(metric, dims);
      const CodecHandle codec = make_codec(p);
      for (int i = 0; i < 5; i++) {
        const std::vector<float> v = gaussian_vector(rng, dims);
        phnsw_error error;
        Slot want(p), got(p);
        ASSERT_TRUE(phnsw_simd_force("scalar"));
        ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), want.get(), &error), PHNSW_OK);
        for (const char *name : {"avx2", "avxvnni", "avx512"}) {
          if (!phnsw_simd_force(name)) continue;
          ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), got.get(), &error), PHNSW_OK);
          ASSERT_TRUE(phnsw_codec_equal(codec.get(), want.get(), got.get())) << name << " " << dims;
          ASSERT_EQ(want->head.norm2, got->head.norm2);
          ASSERT_NEAR(want->head.residual, got->head.residual, want->head.residual * 1e-6);
        }
      }
    }
  }
  ASSERT_TRUE(phnsw_simd_force(before.c_str()));
}

TEST(CodecEncode, LeavesTheRestOfTheSlotAlone) {
  const phnsw_codec_params p = choose(PHNSW_L2, 5);
  const CodecHandle codec = make_codec(p);
  Slot slot(p);
  const std::uint32_t bytes = phnsw_slot_bytes(p.code_dims, p.bits, p.m);
  std::memset(slot.get(), 0xAB, bytes);
  const float v[] = {1, 2, 3, 4, 5};
  phnsw_error error;
  ASSERT_EQ(phnsw_codec_encode(codec.get(), v, slot.get(), &error), PHNSW_OK);
  const auto *raw = reinterpret_cast<const std::uint8_t *>(slot.get());
  for (std::uint32_t i = 0; i < bytes; i++) {
    if (i < offsetof(phnsw_slot, head) || i >= offsetof(phnsw_slot, code) + 8) {
      EXPECT_EQ(raw[i], 0xAB) << i;
    }
  }
  for (std::uint32_t i = 5; i < 8; i++) EXPECT_EQ(slot->code[i], 0) << "padding";
}

TEST(CodecEncode, SpecialVectors) {
  phnsw_error error;
  for (const phnsw_metric metric : kMetrics) {
    const phnsw_codec_params p = choose(metric, 30);
    const CodecHandle codec = make_codec(p);
    Slot slot(p);
    const char *what = "";
    const std::vector<float> zero(30, 0.0f);
    const phnsw_status status = phnsw_codec_encode(codec.get(), zero.data(), slot.get(), &error);
    EXPECT_EQ(status, metric == PHNSW_COSINE ? PHNSW_NOT_INDEXED : PHNSW_OK);
    if (metric != PHNSW_COSINE) {
      EXPECT_EQ(slot->head.scale, 0.0f);
      EXPECT_EQ(slot->head.norm2, 0.0f);
      EXPECT_LT(slot->head.residual, 1e-40f);
    }
    // The extremes of float32 overflow the rotation without an exponent, and are still coded legally.
    for (const float extreme : {std::numeric_limits<float>::max(), 1e-45f, 1e30f}) {
      const std::vector<float> v(30, extreme);
      ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), slot.get(), &error), PHNSW_OK);
      EXPECT_TRUE(phnsw_codec_validate(codec.get(), slot.get(), &what)) << what << " " << extreme;
      EXPECT_FALSE(std::isnan(phnsw_codec_distance(codec.get(), slot.get(), slot.get())));
    }
  }
}

TEST(CodecPack, RoundTripsAndZeroesPadding) {
  Rng rng(3);
  for (const std::uint8_t bits : {std::uint8_t{8}, std::uint8_t{4}}) {
    for (const std::uint32_t dims : {1u, 2u, 3u, 4u, 7u, 8u, 9u, 99u, 100u}) {
      phnsw_codec_params p = choose(PHNSW_L2, dims);
      p.bits = bits;
      const auto codec = make(p);
      const std::int32_t limit = codec->limit();
      std::vector<std::int8_t> codes(dims), back(dims);
      for (std::int8_t &c : codes) {
        c = static_cast<std::int8_t>(static_cast<std::int32_t>(rng.below(static_cast<std::uint32_t>(2 * limit + 1))) -
                                     limit);
      }
      const std::uint32_t bytes = phnsw_code_bytes(dims, bits);
      std::vector<std::uint8_t> packed(bytes + 1, 0xCD);
      codec->pack(codes.data(), packed.data());
      EXPECT_EQ(packed[bytes], 0xCD);
      for (std::uint32_t i = bits == 8 ? dims : (dims + 1) / 2; i < bytes; i++) EXPECT_EQ(packed[i], 0);
      codec->unpack(packed.data(), back.data());
      EXPECT_EQ(codes, back);
    }
  }
}

// One point against many gives the distances of each pair, bit for bit, for any
// number of them; any_nearer() says what they say.
TEST(CodecDistance, OfManyAtOnceAreThoseOfPairs) {
  Rng rng(41);
  for (const std::uint8_t bits : {std::uint8_t{8}, std::uint8_t{4}}) {
    phnsw_codec_params p = choose(PHNSW_L2, 101);
    p.bits = bits;
    const CodecHandle codec = make_codec(p);
    std::vector<Slot> owned;
    owned.reserve(71);
    std::vector<const phnsw_slot *> slots;
    for (int i = 0; i < 71; i++) {
      owned.emplace_back(p);
      phnsw_error error;
      ASSERT_EQ(phnsw_codec_encode(codec.get(), gaussian_vector(rng, 101).data(), owned.back().get(), &error),
                PHNSW_OK);
      slots.push_back(owned.back().get());
    }
    for (std::uint32_t n = 0; n <= 70; n++) {
      std::vector<float> distances(n + 1, -1.0f);
      phnsw_codec_distances(codec.get(), slots[70], slots.data(), n, distances.data());
      float least = std::numeric_limits<float>::infinity();
      for (std::uint32_t i = 0; i < n; i++) {
        ASSERT_EQ(distances[i], phnsw_codec_distance(codec.get(), slots[70], slots[i])) << n << " " << i;
        least = std::min(least, distances[i]);
      }
      EXPECT_EQ(distances[n], -1.0f);
      EXPECT_FALSE(phnsw_codec_any_nearer(codec.get(), slots[70], slots.data(), n, least));
      EXPECT_EQ(phnsw_codec_any_nearer(codec.get(), slots[70], slots.data(), n, std::nextafter(least, kInfinity)),
                n > 0);
    }
  }
}

// The distance of two codes, that of a query made for an insert and the decoded points' agree.
TEST(CodecDistance, AgreesWithInsertQueriesAndDecodedPoints) {
  Rng rng(4);
  for (const phnsw_metric metric : kMetrics) {
    for (const std::uint8_t bits : {std::uint8_t{8}, std::uint8_t{4}}) {
      phnsw_codec_params p = choose(metric, 101);
      p.bits = bits;
      if (metric == PHNSW_IP) p.max_norm = 15;
      const std::vector<float> centre = gaussian_vector(rng, p.space_dims, 0.1);
      const CodecHandle codec = make_codec(p, centre.data());
      const auto core = make(p, centre.data());
      const QueryHandle query = make_query(codec.get());
      for (int i = 0; i < 50; i++) {
        const std::vector<float> u = gaussian_vector(rng, 101);
        const std::vector<float> v = gaussian_vector(rng, 101);
        Slot a(p), b(p);
        phnsw_error error;
        ASSERT_EQ(phnsw_codec_encode(codec.get(), u.data(), a.get(), &error), PHNSW_OK);
        ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), b.get(), &error), PHNSW_OK);
        const float distance = phnsw_codec_distance(codec.get(), a.get(), b.get());
        EXPECT_EQ(distance, phnsw_codec_distance(codec.get(), b.get(), a.get()));
        phnsw_query_set(query.get(), u.data(), PHNSW_FOR_INSERT);
        float score = -1;
        const phnsw_slot *slots[] = {b.get()};
        phnsw_query_score(query.get(), slots, 1, &score);
        EXPECT_EQ(score, distance);
        std::vector<std::int8_t> ca(p.code_dims), cb(p.code_dims);
        core->unpack(a->code, ca.data());
        core->unpack(b->code, cb.data());
        double want = 0;
        for (std::uint32_t j = 0; j < p.code_dims; j++) {
          const double d = static_cast<double>(a->head.scale) * ca[j] - static_cast<double>(b->head.scale) * cb[j];
          want += d * d;
        }
        EXPECT_NEAR(distance, want, (a->head.norm2 + b->head.norm2) * 1e-6);
        EXPECT_NEAR(phnsw_codec_distance(codec.get(), a.get(), a.get()), 0.0, a->head.norm2 * 1e-6);
      }
    }
  }
}

// What is decoded differs from what was encoded by the residual at most; a vector that is short beside it is called so.
TEST(CodecDecode, ComesWithinTheResidual) {
  Rng rng(11);
  for (const phnsw_metric metric : kMetrics) {
    for (const std::uint32_t dims : {1u, 7u, 101u, 16000u}) {
      for (const int exponent : {0, -40, 60}) {
        phnsw_codec_params p = choose(metric, dims);
        if (metric != PHNSW_COSINE) p.exponent = static_cast<std::int8_t>(exponent);
        const double unit = std::ldexp(1.0, p.exponent), length = std::sqrt(dims);
        if (metric == PHNSW_IP) p.max_norm = static_cast<float>(4 * length);
        const std::vector<float> centre =
            gaussian_vector(rng, p.space_dims, metric == PHNSW_COSINE ? 0.1 / length : 0.1);
        const auto core = make(p, centre.data());
        std::vector<float> v = gaussian_vector(rng, dims, unit), scratch(core->scratch_floats()),
                           decoded(core->scratch_floats());
        std::vector<std::int8_t> codes(p.code_dims);
        v[0] += static_cast<float>(unit);
        phnsw_code_head head;
        ASSERT_TRUE(core->encode(v.data(), scratch.data(), &head, codes.data()));
        EXPECT_EQ(core->decode(head, codes.data(), decoded.data()), metric != PHNSW_IP || p.bits == 8)
            << dims << " " << metric;
        const double norm = metric == PHNSW_COSINE ? std::sqrt(phnsw_inner_product(v.data(), v.data(), dims)) : 1;
        double square = 0;
        for (std::uint32_t i = 0; i < dims; i++) square += std::pow(decoded[i] / unit - v[i] / norm / unit, 2);
        EXPECT_LE(std::sqrt(square), head.residual * 1.001 + 1e-5) << dims << " " << metric << " " << exponent;
        if (metric != PHNSW_IP) continue;
        std::fill(v.begin(), v.end(), 0.0f);
        ASSERT_TRUE(core->encode(v.data(), scratch.data(), &head, codes.data()));
        EXPECT_FALSE(core->decode(head, codes.data(), decoded.data())) << dims;
        head.scale = std::numeric_limits<float>::quiet_NaN();
        EXPECT_FALSE(core->decode(head, codes.data(), decoded.data()));
        for (std::uint32_t i = 0; i < dims; i++) ASSERT_EQ(decoded[i], 0);
      }
    }
  }
}

// A search query's score is the operator's order: what it misses of the distance is small and the same for all slots.
TEST(QueryScore, FollowsTheOperator) {
  Rng rng(5);
  constexpr std::uint32_t kDims = 200;
  for (const phnsw_metric metric : kMetrics) {
    for (const std::uint8_t bits : {std::uint8_t{8}, std::uint8_t{4}}) {
      phnsw_codec_params p = choose(metric, kDims);
      p.bits = bits;
      if (metric == PHNSW_IP) p.max_norm = 20;
      const std::vector<float> centre = gaussian_vector(rng, p.space_dims, metric == PHNSW_COSINE ? 0.02 : 0.3);
      const CodecHandle codec = make_codec(p, centre.data());
      const QueryHandle query = make_query(codec.get());
      const std::vector<float> q = gaussian_vector(rng, kDims);
      phnsw_query_set(query.get(), q.data(), PHNSW_FOR_SEARCH);
      // With this a score is the squared distance; of inner products, that to the query scaled to the completed norm.
      const double norm = std::sqrt(-operator_value(PHNSW_IP, q, q));
      const double constant = metric == PHNSW_IP ? static_cast<double>(p.max_norm) * norm : 0.0;
      std::vector<double> offsets;
      for (int i = 0; i < 100; i++) {
        const std::vector<float> v = gaussian_vector(rng, kDims);
        Slot slot(p);
        phnsw_error error;
        ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), slot.get(), &error), PHNSW_OK);
        float score = 0;
        const phnsw_slot *slots[] = {slot.get()};
        phnsw_query_score(query.get(), slots, 1, &score);
        double value = operator_value(metric, q, v);
        if (metric == PHNSW_L2) value *= value;
        if (metric == PHNSW_COSINE) value *= 2;  // |q - v|^2 on the unit sphere
        offsets.push_back(score - value);
      }
      const auto [least, most] = std::minmax_element(offsets.begin(), offsets.end());
      // The spread of the error against |q||v| (200 or 1): about 2 * 0.01 (8 bits) or 0.12 (4 bits) of it / sqrt(dims).
      const double size = metric == PHNSW_COSINE ? 1.0 : kDims;
      EXPECT_LT(*most - *least, (bits == 8 ? 0.02 : 0.25) * size) << metric << " " << int{bits};
      EXPECT_NEAR(phnsw_query_offset(query.get()), constant - (*least + *most) / 2, (bits == 8 ? 0.02 : 0.1) * size)
          << metric << " " << int{bits};
      phnsw_query_set(query.get(), q.data(), PHNSW_FOR_INSERT);
      EXPECT_EQ(phnsw_query_offset(query.get()), 0.0f);
    }
  }
}

TEST(QueryScore, ScoresManyAsOne) {
  Rng rng(6);
  const phnsw_codec_params p = choose(PHNSW_L2, 77);
  const CodecHandle codec = make_codec(p);
  const QueryHandle query = make_query(codec.get());
  phnsw_query_set(query.get(), gaussian_vector(rng, 77).data(), PHNSW_FOR_SEARCH);
  std::vector<Slot> slots(33, Slot(p));
  std::vector<const phnsw_slot *> pointers;
  for (Slot &slot : slots) {
    phnsw_error error;
    ASSERT_EQ(phnsw_codec_encode(codec.get(), gaussian_vector(rng, 77).data(), slot.get(), &error), PHNSW_OK);
    pointers.push_back(slot.get());
  }
  std::vector<float> all(33);
  phnsw_query_score(query.get(), pointers.data(), 33, all.data());
  for (std::uint32_t i = 0; i < 33; i++) {
    float one = 0;
    phnsw_query_score(query.get(), &pointers[i], 1, &one);
    EXPECT_EQ(one, all[i]);
  }
  phnsw_query_score(query.get(), nullptr, 0, nullptr);
}

// Each field of a head, each byte of a code: a change is noticed.
TEST(CodecValidate, NamesEveryFault) {
  Rng rng(7);
  for (const std::uint8_t bits : {std::uint8_t{8}, std::uint8_t{4}}) {
    phnsw_codec_params p = choose(PHNSW_L2, 41);
    p.bits = bits;
    const CodecHandle codec = make_codec(p);
    Slot good(p);
    phnsw_error error;
    ASSERT_EQ(phnsw_codec_encode(codec.get(), gaussian_vector(rng, 41).data(), good.get(), &error), PHNSW_OK);
    const auto fault = [&](auto change) {
      Slot slot = good;
      change(*slot.get());
      const char *what = "none";
      return std::string(phnsw_codec_validate(codec.get(), slot.get(), &what) ? "" : what);
    };
    EXPECT_EQ(fault([](phnsw_slot &) {}), "");
    for (const float bad : {-1.0f, NAN, kInfinity}) {
      EXPECT_NE(fault([=](phnsw_slot &s) { s.head.scale = bad; }), "");
      EXPECT_NE(fault([=](phnsw_slot &s) { s.head.norm2 = bad; }), "");
    }
    EXPECT_NE(fault([](phnsw_slot &s) { s.head.residual = NAN; }), "");
    EXPECT_NE(fault([](phnsw_slot &s) { s.head.residual = -1; }), "");
    EXPECT_EQ(fault([](phnsw_slot &s) { s.head.residual = kInfinity; }), "");
    EXPECT_NE(fault([](phnsw_slot &s) { s.head.norm2 *= 1.001f; }), "");
    EXPECT_NE(fault([](phnsw_slot &s) { s.head.scale *= 1.001f; }), "");
    EXPECT_NE(fault([](phnsw_slot &s) { s.head.sum++; }), "");
    EXPECT_EQ(fault([=](phnsw_slot &s) { s.code[3] = bits == 8 ? 0x80 : 0x70; }), "code has a coordinate out of range");
    EXPECT_EQ(fault([=](phnsw_slot &s) { s.code[bits == 8 ? 41 : 21] = 1; }), "padding of the code is not zero");
    for (std::uint32_t i = 0; i < (bits == 8 ? 41u : 20u); i++) {
      EXPECT_NE(fault([=](phnsw_slot &s) { s.code[i] ^= 0x01; }), "") << i;
    }
  }
}

TEST(CodecEqual, ComparesCodesAndScale) {
  const phnsw_codec_params p = choose(PHNSW_L2, 12);
  const CodecHandle codec = make_codec(p);
  Slot a(p);
  std::vector<float> v(12, 1.0f);
  v[3] = 2.0f;
  phnsw_error error;
  ASSERT_EQ(phnsw_codec_encode(codec.get(), v.data(), a.get(), &error), PHNSW_OK);
  Slot b = a;
  b->head.residual *= 2;
  b->count = 7;
  EXPECT_TRUE(phnsw_codec_equal(codec.get(), a.get(), b.get()));
  b->head.scale *= 2;
  EXPECT_FALSE(phnsw_codec_equal(codec.get(), a.get(), b.get()));
  b = a;
  b->code[11] ^= 1;
  EXPECT_FALSE(phnsw_codec_equal(codec.get(), a.get(), b.get()));
}

}  // namespace
