// C entries for instruction sets, exact distances, codecs and queries: forwarding only.
#include <cstring>

#include "capi/guard.hpp"
#include "capi/handles.hpp"
#include "capi/phnsw_codec.h"
#include "codec/coded_point.hpp"
#include "codec/cosine.hpp"
#include "codec/query.hpp"
#include "codec/validate.hpp"
#include "kernel/kernels.hpp"

using phnsw::Codec;
using phnsw::guard;
using phnsw::kernels;
using phnsw::Status;

struct phnsw_query {
  explicit phnsw_query(const Codec &codec) : query(codec) {}
  phnsw::Query query;
};

extern "C" {

const char *phnsw_simd_name(void) noexcept { return kernels().name; }

bool phnsw_simd_force(const char *name) noexcept { return phnsw::force_kernels(name); }

double phnsw_l2_squared(const float *a, const float *b, uint32_t n) noexcept { return kernels().l2_f32(a, b, n); }

double phnsw_inner_product(const float *a, const float *b, uint32_t n) noexcept { return kernels().ip_f32(a, b, n); }

double phnsw_cosine_distance(const float *a, const float *b, uint32_t n) noexcept {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  kernels().cosine_f32(a, b, n, &ab, &aa, &bb);
  return phnsw::cosine_distance(ab, aa, bb);
}

double phnsw_l1(const float *a, const float *b, uint32_t n) noexcept { return kernels().l1_f32(a, b, n); }

phnsw_status phnsw_codec_choose(phnsw_metric metric, uint32_t dims, uint32_t m, uint64_t rotation_seed,
                                phnsw_codec_params *params, phnsw_error *error) noexcept {
  return guard(error, [&] { return Codec::choose(metric, dims, m, rotation_seed, params); });
}

phnsw_status phnsw_codec_create(const phnsw_codec_params *params, const float *centre, phnsw_codec **codec,
                                phnsw_error *error) noexcept {
  *codec = nullptr;
  return guard(error, [&]() -> Status {
    auto made = std::make_unique<phnsw_codec>();
    if (Status status = Codec::create(*params, centre, &made->codec); !status.ok()) return status;
    *codec = made.release();
    return Status();
  });
}

void phnsw_codec_destroy(phnsw_codec *codec) noexcept { delete codec; }

phnsw_status phnsw_codec_encode(const phnsw_codec *codec, const float *vector, phnsw_slot *slot,
                                phnsw_error *error) noexcept {
  return guard(error, [&]() -> Status {
    const Codec &c = *codec->codec;
    phnsw::Array<float> scratch(c.scratch_floats());
    phnsw::Array<std::int8_t> codes(c.code_dims());
    phnsw_code_head head;
    if (!c.encode(vector, scratch.data(), &head, codes.data())) {
      return Status(PHNSW_NOT_INDEXED, "a zero vector has no direction");
    }
    slot->head = head;
    c.pack(codes.data(), slot->code);
    return Status();
  });
}

float phnsw_codec_distance(const phnsw_codec *codec, const phnsw_slot *a, const phnsw_slot *b) noexcept {
  const phnsw_codec_params &p = codec->codec->params();
  const std::int32_t dot = p.bits == 8 ? kernels().dot_s8s8(reinterpret_cast<const std::int8_t *>(a->code),
                                                            reinterpret_cast<const std::int8_t *>(b->code), p.code_dims)
                                       : kernels().dot_s4s4(a->code, b->code, p.code_dims);
  return phnsw::coded_distance(a->head, b->head, dot);
}

void phnsw_codec_distances(const phnsw_codec *codec, const phnsw_slot *from, const phnsw_slot *const *slots, uint32_t n,
                           float *distances) noexcept {
  phnsw::CodedPoint(*codec->codec, *from).distances(slots, n, distances);
}

bool phnsw_codec_any_nearer(const phnsw_codec *codec, const phnsw_slot *from, const phnsw_slot *const *slots,
                            uint32_t n, float than) noexcept {
  return phnsw::CodedPoint(*codec->codec, *from).any_nearer(slots, n, than);
}

bool phnsw_codec_equal(const phnsw_codec *codec, const phnsw_slot *a, const phnsw_slot *b) noexcept {
  const phnsw_codec_params &p = codec->codec->params();
  return a->head.scale == b->head.scale && a->head.sum == b->head.sum &&
         std::memcmp(a->code, b->code, phnsw_code_bytes(p.code_dims, p.bits)) == 0;
}

bool phnsw_codec_validate(const phnsw_codec *codec, const phnsw_slot *slot, const char **what) noexcept {
  const char *fault = phnsw::find_code_fault(*codec->codec, *slot);
  if (fault == nullptr) return true;
  *what = fault;
  return false;
}

phnsw_status phnsw_query_create(const phnsw_codec *codec, phnsw_query **query, phnsw_error *error) noexcept {
  *query = nullptr;
  return guard(error, [&] {
    *query = new phnsw_query(*codec->codec);
    return Status();
  });
}

void phnsw_query_destroy(phnsw_query *query) noexcept { delete query; }

void phnsw_query_set(phnsw_query *query, const float *vector, phnsw_query_purpose purpose) noexcept {
  query->query.set(vector, purpose);
}

phnsw_status phnsw_query_set_decoded(phnsw_query *query, const phnsw_slot *slot, bool *told,
                                     phnsw_error *error) noexcept {
  return guard(error, [&] {
    const Codec &codec = query->query.codec();
    phnsw::Array<std::int8_t> codes(codec.code_dims());
    phnsw::Array<float> vector(codec.scratch_floats());
    codec.unpack(slot->code, codes.data());
    *told = codec.decode(slot->head, codes.data(), vector.data());
    query->query.set(vector.data(), PHNSW_FOR_SEARCH);
    return Status();
  });
}

void phnsw_query_score(const phnsw_query *query, const phnsw_slot *const *slots, uint32_t n, float *scores) noexcept {
  query->query.score(slots, n, scores);
}

std::uint32_t phnsw_query_part(const phnsw_query *query) noexcept { return query->query.part(); }

std::uint32_t phnsw_query_score_within(const phnsw_query *query, const phnsw_slot *const *slots, std::uint32_t n,
                                       float limit, float *scores, std::uint32_t *within) noexcept {
  return query->query.score_within(slots, n, limit, scores, within);
}

float phnsw_query_offset(const phnsw_query *query) noexcept { return query->query.offset(); }

double phnsw_query_bound(const phnsw_query *query, const phnsw_slot *slot) noexcept {
  return query->query.bound(*slot);
}

}  // extern "C"
