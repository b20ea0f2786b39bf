// hnswlib_peer: Debian's hnswlib, in memory, as the driver of bench/run.sh measures it.
//
// usage: hnswlib_peer BASE ROWS DIMS METRIC M EF_CONSTRUCTION THREADS QUERIES
//
// BASE and QUERIES are files of float32 rows; METRIC is l2, ip or cosine (vectors are normalised here, before the clock
// starts).  Builds with THREADS threads, prints a JSON object with the time, then serves commands from stdin, an answer
// of one line each:
//
//    search EF SECONDS ANSWERS    one thread; one pass over the queries warms up and fills ANSWERS (per query a count and
//                                 the ids, int32), then SECONDS are measured
//
// Compiled -O3 -march=native -DNDEBUG, as its users do.
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kNeighbours = 10;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<float> read_rows(const char *path, size_t rows_max, size_t dims, bool normalise) {
  FILE *file = std::fopen(path, "rb");
  if (file == nullptr) {
    std::perror(path);
    std::exit(1);
  }
  std::fseek(file, 0, SEEK_END);
  const size_t rows = std::min(rows_max, static_cast<size_t>(std::ftell(file)) / (4 * dims));
  std::fseek(file, 0, SEEK_SET);
  std::vector<float> values(rows * dims);
  if (std::fread(values.data(), 4, values.size(), file) != values.size()) std::exit(1);
  std::fclose(file);
  for (size_t i = 0; normalise && i < rows; i++) {
    float *row = &values[i * dims];
    double norm2 = 0;
    for (size_t j = 0; j < dims; j++) norm2 += double(row[j]) * row[j];
    const float factor = norm2 > 0 ? static_cast<float>(1 / std::sqrt(norm2)) : 0.0f;
    for (size_t j = 0; j < dims; j++) row[j] *= factor;
  }
  return values;
}

void search(hnswlib::HierarchicalNSW<float> &index, const std::vector<float> &queries, size_t dims, size_t ef,
            double seconds, const std::string &answers_path) {
  index.setEf(ef);
  const size_t count = queries.size() / dims;
  FILE *file = std::fopen(answers_path.c_str(), "wb");
  if (file == nullptr) std::exit(1);
  for (size_t q = 0; q < count; q++) {
    auto found = index.searchKnn(&queries[q * dims], kNeighbours);
    std::vector<int32_t> ids{static_cast<int32_t>(found.size())};
    for (; !found.empty(); found.pop()) ids.push_back(static_cast<int32_t>(found.top().second));
    std::fwrite(ids.data(), 4, ids.size(), file);
  }
  std::fclose(file);

  std::vector<float> latencies;
  const double start = now();
  double last = start;
  for (size_t q = 0; last < start + seconds; q = (q + 1) % count) {
    index.searchKnn(&queries[q * dims], kNeighbours);
    const double time = now();
    latencies.push_back(static_cast<float>((time - last) * 1e6));
    last = time;
  }
  std::sort(latencies.begin(), latencies.end());
  const size_t n = latencies.size();
  std::printf("{\"qps\":%.1f,\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,\"queries\":%zu}\n", double(n) / (last - start),
              latencies[n / 2], latencies[n * 95 / 100], latencies[n * 99 / 100], n);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 9) {
    std::fprintf(stderr, "usage: %s BASE ROWS DIMS METRIC M EF_CONSTRUCTION THREADS QUERIES\n", argv[0]);
    return 1;
  }
  const size_t dims = std::strtoul(argv[3], nullptr, 10);
  const std::string metric = argv[4];
  const size_t m = std::strtoul(argv[5], nullptr, 10), ef_construction = std::strtoul(argv[6], nullptr, 10);
  const size_t threads = std::strtoul(argv[7], nullptr, 10);
  const std::vector<float> base = read_rows(argv[1], std::strtoul(argv[2], nullptr, 10), dims, metric == "cosine");
  const std::vector<float> queries = read_rows(argv[8], SIZE_MAX, dims, metric == "cosine");
  const size_t rows = base.size() / dims;

  std::unique_ptr<hnswlib::SpaceInterface<float>> space;
  if (metric == "l2") {
    space = std::make_unique<hnswlib::L2Space>(dims);
  } else {
    space = std::make_unique<hnswlib::InnerProductSpace>(dims);
  }
  const double start = now();
  hnswlib::HierarchicalNSW<float> index(space.get(), rows, m, ef_construction);
  std::atomic<size_t> next{0};
  std::vector<std::thread> team;
  index.addPoint(base.data(), 0);
  next = 1;
  for (size_t t = 0; t < threads; t++) {
    team.emplace_back([&] {
      for (size_t i; (i = next.fetch_add(1)) < rows;) index.addPoint(&base[i * dims], i);
    });
  }
  for (auto &thread : team) thread.join();
  const double seconds = now() - start;

  size_t bytes = rows * index.size_data_per_element_;
  for (size_t i = 0; i < rows; i++) bytes += static_cast<size_t>(index.element_levels_[i]) * index.size_links_per_element_;
  std::printf("{\"seconds\":%.3f,\"index_bytes\":%zu}\n", seconds, bytes);
  std::fflush(stdout);

  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, answers;
    size_t ef = 0;
    double duration = 0;
    if (words >> command >> ef >> duration >> answers && command == "search") {
      search(index, queries, dims, ef, duration, answers);
    }
  }
  return 0;
}
