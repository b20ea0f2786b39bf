#include "build/partition.hpp"

#include <algorithm>
#include <deque>
#include <numeric>

#include "base/rng.hpp"
#include "build/prune.hpp"
#include "codec/codec.hpp"
#include "kernel/kernels.hpp"

namespace phnsw {
namespace {

constexpr std::uint32_t kLeadersMax = 1000;
constexpr std::uint32_t kPointsPerLeader = 200;  // on the first level
constexpr std::uint32_t kDepthMax = 8;
// Parts from here on are carved by the whole team, so that no thread is left alone with one.
constexpr std::uint32_t kTeamPart = 1u << 15;
constexpr std::uint32_t kSliceRows = 8192;
// Parts smaller than 1/32 of a leaf are merged until they fill a quarter of one.
constexpr std::uint32_t kSmallShare = 32, kMergedShare = 4;

}  // namespace

Status Partition::shorten() {
  const std::uint32_t dims = params_.carve_dims;
  if (dims >= points_.dims) return {};
  if (const Status status = carved_heads_.allocate(context_.arena, points_.n); !status.ok()) return status;
  carved_ = {{points_.rows.codes, carved_heads_.data(), points_.rows.stride}, points_.n, dims};
  Array<std::uint8_t> ones(dims);
  std::fill_n(ones.data(), dims, std::uint8_t{1});
  constexpr std::uint32_t kBlock = 1024;
  return context_.team.for_each((points_.n + kBlock - 1) / kBlock, [&](std::size_t block, unsigned) {
    const std::uint32_t begin = static_cast<std::uint32_t>(block) * kBlock, end = std::min(points_.n, begin + kBlock);
    for (std::uint32_t i = begin; i < end; i++) {
      const std::int8_t *code = points_.rows.row(i);
      const float scale = points_.rows.heads[i].scale;
      const float norm2 = coded_norm2(scale, kernels().dot_s8s8(code, code, dims));
      carved_heads_[i] = {scale, norm2, kernels().dot_u8s8(ones.data(), code, dims), 0.0f};
    }
  });
}

std::uint32_t Partition::leader_count(const Part &part, std::uint32_t *fanout) const noexcept {
  const std::uint32_t wanted = part.depth == 0 ? params_.fanout_top : part.depth == 1 ? params_.fanout_below : 1;
  // At the top few leaders, whose parts are then carved anew: the more ways points are brought together, the better the
  // candidates.  Below, parts that are half a leaf on average.
  const std::uint64_t leaders = part.depth == 0 ? std::max(part.n / kPointsPerLeader, 2 * wanted)
                                                : std::uint64_t{wanted} * part.n * 2 / params_.leaf_points + 2;
  const std::uint32_t most = std::min(kLeadersMax, params_.leaf_points);
  const std::uint32_t count = static_cast<std::uint32_t>(std::min<std::uint64_t>(leaders, most));
  *fanout = std::min(wanted, std::max(1u, count / 2));
  return count;
}

void Partition::pack_leaders(const Part &part, const std::uint32_t *places, std::uint32_t leaders,
                             GemmPanels *panels) const {
  // One from each stretch of the part: distinct without bookkeeping.
  std::vector<std::uint32_t> ids(leaders);
  Rng rng(part.seed);
  for (std::uint32_t i = 0; i < leaders; i++) {
    const std::uint32_t begin = static_cast<std::uint32_t>(std::uint64_t{part.n} * i / leaders);
    const std::uint32_t end = static_cast<std::uint32_t>(std::uint64_t{part.n} * (i + 1) / leaders);
    const std::uint32_t row = begin + rng.below(end - begin);
    ids[i] = part.ids != nullptr ? part.ids[row] : row;
    if (places != nullptr) ids[i] = places[ids[i]];
  }
  if (part.depth == 0) tour(&ids);
  gemm_.pack(carved_.rows, ids.data(), 0, leaders, carved_.groups(), panels);
}

void Partition::tour(std::vector<std::uint32_t> *ids) const {
  const std::uint32_t n = static_cast<std::uint32_t>(ids->size());
  std::vector<std::int32_t> dots(n);
  for (std::uint32_t i = 0; i + 2 < n && !context_.team.stopped(); i++) {
    std::uint32_t *rest = ids->data() + i + 1;
    gemm_.dots(points_.rows.row((*ids)[i]), points_.rows, rest, n - i - 1, points_.row_bytes(), dots.data());
    std::uint64_t nearest = kNoNeighbour;
    for (std::uint32_t k = 0; k < n - i - 1; k++) {
      nearest = std::min(nearest, neighbour_key(coded_distance(points_, (*ids)[i], rest[k], dots[k]), k));
    }
    if (nearest != kNoNeighbour) std::swap(rest[0], rest[neighbour_index(nearest)]);
  }
}

std::uint32_t Partition::rows_per_step(std::uint32_t leaders) const noexcept {
  const std::uint64_t per_row = std::uint64_t{leaders} * carved_.groups() * 4;
  const std::uint64_t rows =
      std::min<std::uint64_t>(kMultiplyAddsPerStep / per_row, std::min(512u, params_.leaf_points));
  return std::max<std::uint32_t>(static_cast<std::uint32_t>(rows) / gemm_.rows, 1) * gemm_.rows;
}

void Partition::assign(const Part &part, const std::uint32_t *places, std::uint32_t begin, std::uint32_t end,
                       const GemmPanels &leaders, std::uint32_t fanout, LeafWorkspace &work,
                       std::uint16_t *assigned) const noexcept {
  const std::uint32_t rows = rows_per_step(leaders.n);
  const std::uint32_t k = fanout <= 2 ? fanout : fanout <= 4 ? 4 : 8;
  for (std::uint32_t row = begin; row < end; row += rows) {
    if (context_.team.stopped()) return;
    const std::uint32_t n = std::min(rows, end - row);
    const std::uint32_t *ids = part.ids;
    std::uint32_t first = row;
    if (places != nullptr) {
      for (std::uint32_t i = 0; i < n; i++) work.ids[i] = places[part.ids[row + i]];
      ids = work.ids.data();
      first = 0;
    }
    gemm_.few_nearest(k, carved_.rows, ids, first, first + n, leaders, carved_.groups(), work.scratch.data(),
                      work.keys.data());
    for (std::uint32_t i = 0; i < n; i++) {
      for (std::uint32_t x = 0; x < fanout; x++) {
        // Nothing is infinitely far from everything; should it be, any leader will do.
        const std::uint32_t key = work.keys[i * k + x];
        assigned[std::size_t{row + i} * fanout + x] =
            static_cast<std::uint16_t>(short_key_valid(key) ? short_key_index(key) : (i + x) % leaders.n);
      }
    }
  }
}

void Partition::children(const Part &part, const std::uint32_t *members, const std::vector<std::uint32_t> &begin,
                         std::vector<Part> *parts, Merged *merged) const {
  const std::uint32_t small = std::max(params_.leaf_points / kSmallShare, 2u);
  const std::uint32_t enough = std::max(params_.leaf_points / kMergedShare, 4u);
  std::vector<std::uint32_t> pending;
  const auto flush = [&] {
    std::sort(pending.begin(), pending.end());
    pending.erase(std::unique(pending.begin(), pending.end()), pending.end());
    merged->push_back(std::move(pending));
    pending = {};
    const std::vector<std::uint32_t> &ids = merged->back();
    parts->push_back({ids.data(), static_cast<std::uint32_t>(ids.size()), kDepthMax, 0});
  };
  for (std::size_t i = 0; i + 1 < begin.size(); i++) {
    const std::uint32_t *ids = members + begin[i];
    const std::uint32_t n = begin[i + 1] - begin[i];
    const std::uint64_t seed = mix64(part.seed + i + 1);
    if (n == 0) continue;
    if (n < small) {
      pending.insert(pending.end(), ids, ids + n);
      if (pending.size() >= enough) flush();
    } else if (n > params_.leaf_points && n >= part.n - part.n / 20) {
      // Carving does not separate these points (their distances are all alike): cut them as they come.
      parts->push_back({ids, n, kDepthMax, seed});
    } else {
      parts->push_back({ids, n, part.depth + 1, seed});
    }
  }
  if (pending.size() > 1) flush();
}

void Partition::process_item(const Part &part, LeafWorkspace &work) {
  Array<std::uint32_t> places(part.n);
  std::iota(places.data(), places.data() + part.n, 0u);
  // Each of its points is in one leaf, or in several where carving still shares points.
  work.finds.begin(part.ids, part.n, part.depth <= 1 ? params_.fanout_below : 1, params_.leaf_neighbours);
  process({places.data(), part.n, part.depth, part.seed}, work);
  if (!context_.team.stopped()) work.finds.deliver(points_, sketches_, reservoirs_);
}

void Partition::process(const Part &part, LeafWorkspace &work) {
  if (context_.team.stopped()) return;
  if (part.n <= params_.leaf_points) {
    leaves_.process(part.ids, part.n, params_, work);
  } else if (part.depth >= kDepthMax) {
    for (std::uint32_t at = 0; at < part.n; at += params_.leaf_points) {
      leaves_.process(part.ids + at, std::min(params_.leaf_points, part.n - at), params_, work);
    }
  } else {
    carve(part, work);
  }
}

void Partition::carve(const Part &part, LeafWorkspace &work) {
  std::uint32_t fanout;
  const std::uint32_t leaders = leader_count(part, &fanout);
  std::vector<std::uint32_t> begin(leaders + 2);
  Array<std::uint32_t> members(std::size_t{part.n} * fanout);
  {
    Array<std::uint16_t> assigned(std::size_t{part.n} * fanout);
    pack_leaders(part, work.finds.ids(), leaders, &work.panels);
    assign(part, work.finds.ids(), 0, part.n, work.panels, fanout, work, assigned.data());
    if (context_.team.stopped()) return;
    // begin[k + 1] runs from the start to the end of group k.
    for (const std::uint16_t leader : assigned) begin[leader + 2]++;
    for (std::size_t i = 2; i < begin.size(); i++) begin[i] += begin[i - 1];
    for (std::size_t i = 0; i < assigned.size(); i++) members[begin[assigned[i] + 1u]++] = part.ids[i / fanout];
    begin.pop_back();
  }
  std::vector<Part> parts;
  Merged merged;
  children(part, members.data(), begin, &parts, &merged);
  for (const Part &child : parts) process(child, work);
}

Status Partition::carve_with_team(const Part &part, ArenaArray<std::uint32_t> *members,
                                  std::vector<std::uint32_t> *begin) {
  std::uint32_t fanout;
  const std::uint32_t leaders = leader_count(part, &fanout);
  LeafWorkspace packed;
  packed.allocate(gemm_, carved_.groups(), leaders);
  pack_leaders(part, nullptr, leaders, &packed.panels);
  ArenaArray<std::uint16_t> assigned;
  if (const Status status = assigned.allocate(context_.arena, std::size_t{part.n} * fanout); !status.ok())
    return status;
  const std::uint32_t step = rows_per_step(leaders);
  Status status = context_.team.for_each((part.n + step - 1) / step, [&](std::size_t item, unsigned worker) {
    const std::uint32_t row = static_cast<std::uint32_t>(item) * step;
    assign(part, nullptr, row, std::min(part.n, row + step), packed.panels, fanout, work_[worker], assigned.data());
    if (part.depth == 0) context_.progress.add(std::min(step, part.n - row));
  });
  if (!status.ok()) return status;
  if (part.depth == 0) {
    status = home_order_.allocate(context_.arena, part.n);
    if (!status.ok()) return status;
    status = group_by_key(context_.team, assigned.data(), fanout, 1, nullptr, part.n, leaders, home_order_.data(),
                          &home_begin_);
    if (!status.ok()) return status;
  }
  status = members->allocate(context_.arena, std::size_t{part.n} * fanout);
  if (!status.ok()) return status;
  return group_by_key(context_.team, assigned.data(), fanout, fanout, part.ids, part.n, leaders, members->data(),
                      begin);
}

Status Partition::run() {
  if (const Status status = shorten(); !status.ok()) return status;
  work_.resize(context_.team.threads());
  for (LeafWorkspace &work : work_) work.allocate(gemm_, points_.groups(), params_.leaf_points);

  std::deque<ArenaArray<std::uint32_t>> members;  // addresses stay
  Merged merged;
  std::vector<Part> large{{nullptr, points_.n, 0, params_.seed}}, parts;
  while (!large.empty()) {
    const Part part = large.back();
    large.pop_back();
    members.emplace_back();
    std::vector<std::uint32_t> begin;
    if (const Status status = carve_with_team(part, &members.back(), &begin); !status.ok()) return status;
    std::vector<Part> found;
    children(part, members.back().data(), begin, &found, &merged);
    for (const Part &child : found) {
      (child.n > kTeamPart && child.depth < kDepthMax ? large : parts).push_back(child);
    }
  }
  std::uint64_t total = 0;
  for (const Part &part : parts) total += part.n;
  if (context_.progress.phase() == PHNSW_PHASE_PARTITION) context_.progress.begin(PHNSW_PHASE_LEAVES, total);
  const Status status = context_.team.for_each(parts.size(), [&](std::size_t item, unsigned worker) {
    process_item(parts[item], work_[worker]);
    context_.progress.add(parts[item].n);
  });
  work_.clear();
  return status;
}

Status group_by_key(Team &team, const std::uint16_t *keys, std::uint32_t stride, std::uint32_t used,
                    const std::uint32_t *ids, std::uint32_t n, std::uint32_t groups, std::uint32_t *members,
                    std::vector<std::uint32_t> *begin) {
  const std::uint32_t slices = (n + kSliceRows - 1) / kSliceRows;
  // place[slice * groups + group]: first a count, then where the slice's next member of the group goes.
  Array<std::uint32_t> place;
  place.reset_zero(std::size_t{slices} * groups);
  const auto each = [&](std::size_t slice, auto &&body) {
    const std::uint32_t end = std::min<std::uint32_t>(n, static_cast<std::uint32_t>(slice + 1) * kSliceRows);
    for (std::uint32_t i = static_cast<std::uint32_t>(slice) * kSliceRows; i < end; i++) {
      for (std::uint32_t x = 0; x < used; x++) body(i, place[slice * groups + keys[std::size_t{i} * stride + x]]);
    }
  };
  Status status = team.for_each(
      slices, [&](std::size_t slice, unsigned) { each(slice, [](std::uint32_t, std::uint32_t &count) { count++; }); });
  if (!status.ok()) return status;
  begin->assign(groups + 1, 0);
  std::uint32_t at = 0;
  for (std::uint32_t group = 0; group < groups; group++) {
    (*begin)[group] = at;
    for (std::uint32_t slice = 0; slice < slices; slice++) {
      std::uint32_t &count = place[std::size_t{slice} * groups + group];
      const std::uint32_t first = at;
      at += count;
      count = first;
    }
  }
  (*begin)[groups] = at;
  return team.for_each(slices, [&](std::size_t slice, unsigned) {
    each(slice, [&](std::uint32_t i, std::uint32_t &next) { members[next++] = ids != nullptr ? ids[i] : i; });
  });
}

}  // namespace phnsw
