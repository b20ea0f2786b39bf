#include "build/finds.hpp"

#include "build/prune.hpp"

namespace phnsw {
namespace {

template <class T>
void make_room(Array<T> *array, std::size_t size) {
  if (array->size() < size) array->reset(size + size / 4);
}

}  // namespace

void Finds::begin(const std::uint32_t *ids, std::uint32_t n, std::uint32_t leaves, std::uint32_t neighbours) {
  ids_ = ids;
  n_ = n;
  each_ = leaves * neighbours;
  far_count_ = 0;
  make_room(&found_, std::size_t{n} * each_);
  make_room(&count_, n);
  make_room(&far_, std::size_t{n} * leaves);
  make_room(&sketch_, std::size_t{n} * Sketches::kLanes);
  make_room(&offers_, 2 * std::size_t{n} * (each_ + leaves));
  make_room(&end_, std::size_t{n} + 1);
  std::fill_n(count_.data(), n, std::uint8_t{0});
}

// Leaves each pair of which at least one has found the other in one list, and counts the offers that they make.
void Finds::join_pairs(std::uint32_t *offers) noexcept {
  for (std::uint32_t i = 0; i < n_; i++) {
    std::uint64_t *list = found_.data() + std::size_t{i} * each_;
    std::uint8_t left = 0;
    for (std::uint32_t x = 0; x < count_[i]; x++) {
      const std::uint32_t j = neighbour_index(list[x]);
      // Of the pairs that both have found, those of the smaller place stay:
      // nothing is missing there when it is looked for.
      if (i > j && has(j, i, count_[j])) continue;
      list[left++] = list[x];
      offers[i]++;
      offers[j]++;
    }
    count_[i] = left;
  }
}

void Finds::deliver(const Points &points, const Sketches &sketches, Reservoirs &reservoirs) noexcept {
  // Offers are sorted by the point they are for, so that each reservoir is visited once.
  std::uint32_t *end = end_.data();
  std::fill_n(end, n_ + 1, 0u);
  join_pairs(end + 1);
  for (std::uint32_t x = 0; x < far_count_; x++) {
    end[(far_[x] >> 32) + 1]++;
    end[(far_[x] & 0xFFFFFFFF) + 1]++;
  }
  for (std::uint32_t i = 1; i <= n_; i++) end[i] += end[i - 1];
  constexpr std::uint32_t kSketchesAhead = 8;
  for (std::uint32_t i = 0; i < n_; i++) {
    if (i + kSketchesAhead < n_) sketches.prefetch(ids_[i + kSketchesAhead]);
    sketches.load(ids_[i], &sketch_[i * std::size_t{Sketches::kLanes}]);
  }
  const auto offer = [&](std::uint32_t i, std::uint32_t j, float distance) {
    const float *own = &sketch_[i * std::size_t{Sketches::kLanes}],
                *other = &sketch_[j * std::size_t{Sketches::kLanes}];
    offers_[end[i]++] = reservoir_entry(distance, ids_[j], sketches.bucket(own, other, ids_[j]));
    offers_[end[j]++] = reservoir_entry(distance, ids_[i], sketches.bucket(other, own, ids_[i]));
  };
  for (std::uint32_t i = 0; i < n_; i++) {
    const std::uint64_t *list = found_.data() + std::size_t{i} * each_;
    for (std::uint32_t x = 0; x < count_[i]; x++) offer(i, neighbour_index(list[x]), neighbour_distance(list[x]));
  }
  for (std::uint32_t x = 0; x < far_count_; x++) {
    const std::uint32_t i = static_cast<std::uint32_t>(far_[x] >> 32), j = static_cast<std::uint32_t>(far_[x]);
    std::int32_t dot;
    gemm_.dots(points.rows.row(ids_[i]), points.rows, &ids_[j], 1, points.row_bytes(), &dot);
    offer(i, j, coded_distance(points, ids_[i], ids_[j], dot));
  }
  constexpr std::uint32_t kAhead = 4;
  for (std::uint32_t i = 0; i < n_; i++) {
    if (i + kAhead < n_) reservoirs.prefetch(ids_[i + kAhead]);
    const std::uint32_t begin = i == 0 ? 0 : end[i - 1];
    reservoirs.offer(ids_[i], &offers_[begin], end[i] - begin);
  }
}

}  // namespace phnsw
