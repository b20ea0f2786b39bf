// The whole algorithm in memory: insert, search, stream, delete, vacuum, insert again, against exact search.
#include "arena_index.hpp"

#include <numeric>

namespace {

using phnsw::Rng;
using phnsw_test::ArenaIndex;
using phnsw_test::Vector;

constexpr std::uint32_t kDims = 32;
constexpr std::uint32_t kRows = 5000;

float gaussian(Rng &rng) {
  return static_cast<float>(std::sqrt(-2 * std::log(rng.unit())) * std::cos(6.283185307179586 * rng.unit()));
}

// Points around 50 centres; queries come from the same clusters.
struct Clusters {
  explicit Clusters(std::uint64_t seed) : rng(seed), centres(50, Vector(kDims)) {
    for (Vector &centre : centres) {
      for (float &value : centre) value = gaussian(rng);
    }
  }
  Vector draw() {
    Vector vector = centres[rng.below(static_cast<std::uint32_t>(centres.size()))];
    for (float &value : vector) value += 0.3f * gaussian(rng);
    return vector;
  }
  Rng rng;
  std::vector<Vector> centres;
};

double squared_distance(const Vector &a, const Vector &b) {
  double sum = 0;
  for (std::uint32_t i = 0; i < kDims; i++) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return sum;
}

class ArenaIndexTest : public testing::Test {
 protected:
  ArenaIndexTest() : index_(PHNSW_L2, kDims, 16, 64), clusters_(51) {
    for (std::uint32_t row = 0; row < kRows; row++) insert_row();
  }

  void insert_row() {
    const Vector vector = clusters_.draw();
    const std::uint32_t node = index_.insert(vector, 0);
    if (node >= vectors_.size()) vectors_.resize(node + 1);
    vectors_[node] = vector;
  }

  std::vector<std::uint32_t> sort_exactly(std::vector<std::uint32_t> nodes, const Vector &query) const {
    std::sort(nodes.begin(), nodes.end(), [&](std::uint32_t a, std::uint32_t b) {
      return squared_distance(vectors_[a], query) < squared_distance(vectors_[b], query);
    });
    return nodes;
  }
  std::vector<std::uint32_t> live_nodes() const {
    std::vector<std::uint32_t> nodes;
    for (std::uint32_t id = 0; id < index_.size(); id++) {
      if (index_.live(id)) nodes.push_back(id);
    }
    return nodes;
  }

  // recall@10 of the window, in the exact order that the executor's recheck gives it.
  double recall(std::uint32_t ef) {
    std::uint32_t hits = 0;
    const std::uint32_t queries = 200;
    for (std::uint32_t q = 0; q < queries; q++) {
      const Vector query = clusters_.draw();
      std::vector<std::uint32_t> exact = live_nodes();
      std::nth_element(exact.begin(), exact.begin() + 10, exact.end(), [&](std::uint32_t a, std::uint32_t b) {
        return squared_distance(vectors_[a], query) < squared_distance(vectors_[b], query);
      });
      exact.resize(10);
      std::vector<std::uint32_t> found = sort_exactly(index_.search(query, ef), query);
      found.resize(std::min<std::size_t>(found.size(), 10));
      for (const std::uint32_t node : exact) hits += std::count(found.begin(), found.end(), node) == 1;
    }
    return hits / (10.0 * queries);
  }

  ArenaIndex index_;
  Clusters clusters_;
  std::vector<Vector> vectors_;
};

TEST_F(ArenaIndexTest, FindsTheNearestAlsoAfterDeletesAndReuse) {
  EXPECT_EQ(index_.check(), 0u);
  const double built = recall(100);
  EXPECT_GE(built, 0.99);
  EXPECT_GE(recall(20), 0.95);

  Rng rng(52);
  for (std::uint32_t id = 0; id < index_.size(); id++) {
    if (rng.below(3) == 0) index_.remove(id);
  }
  const double marked = recall(100);
  EXPECT_GE(marked, 0.99);
  index_.vacuum();
  EXPECT_LE(index_.check(), 3u);
  const double vacuumed = recall(100);
  EXPECT_GE(vacuumed, 0.99);
  EXPECT_GE(recall(20), 0.95);

  const std::uint32_t size = index_.size();
  for (std::uint32_t row = 0; row < kRows / 4; row++) insert_row();
  EXPECT_EQ(index_.size(), size) << "freed slots are reused";
  EXPECT_LE(index_.check(), 3u);
  const double refilled = recall(100);
  EXPECT_GE(refilled, 0.99);
  EXPECT_GE(recall(20), 0.95);
  RecordProperty("recall", std::to_string(built) + " " + std::to_string(marked) + " " + std::to_string(vacuumed) + " " +
                               std::to_string(refilled));
}

// The stream ends only when every live node has been returned, each once, and its order is nearly the exact one.
TEST_F(ArenaIndexTest, StreamIsCompleteAndNearlyInOrder) {
  const Vector query = clusters_.draw();
  std::vector<bool> returned(index_.size(), false);
  std::uint32_t count = 0;
  std::uint32_t inversions = 0;
  double previous = 0;
  index_.begin_stream(query, 40);
  for (std::uint32_t node = index_.next(); node != PHNSW_NONE; node = index_.next()) {
    ASSERT_FALSE(returned[node]);
    returned[node] = true;
    count++;
    const double distance = squared_distance(vectors_[node], query);
    inversions += distance < 0.95 * previous;
    previous = std::max(previous, distance);
  }
  EXPECT_EQ(count, live_nodes().size() - index_.check());
  EXPECT_LT(inversions, count / 100);
  RecordProperty("inversions", static_cast<int>(inversions));
}

TEST_F(ArenaIndexTest, EqualVectorsShareANode) {
  const std::uint32_t size = index_.size();
  for (std::uint32_t node = 0; node < 500; node++) {
    ASSERT_EQ(index_.insert(vectors_[node], 7), node);
    ASSERT_EQ(index_.duplicates(node), 1u);
  }
  EXPECT_EQ(index_.size(), size);
}

TEST_F(ArenaIndexTest, NothingIsLeftWhenAllAreDeleted) {
  for (std::uint32_t id = 0; id < index_.size(); id++) index_.remove(id);
  EXPECT_TRUE(index_.search(clusters_.draw(), 40).empty());
  index_.vacuum();
  EXPECT_EQ(index_.entry(), PHNSW_NONE);
  EXPECT_TRUE(index_.search(clusters_.draw(), 40).empty());
  for (std::uint32_t row = 0; row < 300; row++) insert_row();
  EXPECT_EQ(index_.check(), 0u);
  EXPECT_GE(recall(100), 0.99);
}

}  // namespace
