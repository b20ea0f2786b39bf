// peer.hpp: what the peers share: reading vectors, and the loop that serves and measures searches.
//
// A peer is called   NAME BASE ROWS DIMS METRIC M EF_CONSTRUCTION THREADS QUERIES
//
// BASE and QUERIES are files of float32 rows; METRIC is l2, ip or cosine (vectors are normalised
// here, before the clock starts).  It builds with THREADS threads, prints a JSON object with the
// time, then serves commands from stdin, an answer of one line each:
//
//    search K EF SECONDS ANSWERS  one thread; one pass over the queries warms up and fills ANSWERS (per query a count
//                                 and the ids, int32), then SECONDS are measured; "histogram" is that of
//                                 pg/query_client.c
#ifndef PHNSW_BENCH_PEER_HPP
#define PHNSW_BENCH_PEER_HPP

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace peer {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Rows of a file, mapped: a library that copies them into its index does not hold them twice.
struct Rows {
  float *values;
  size_t count;
  float *data() const { return values; }
};

inline Rows read_rows(const char *path, size_t rows_max, size_t dims, bool normalise) {
  struct stat about {};
  const int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &about) != 0) {
    std::perror(path);
    std::exit(1);
  }
  const size_t count = std::min(rows_max, static_cast<size_t>(about.st_size) / (4 * dims));
  // Private: what is normalised is a copy of ours.
  void *map = mmap(nullptr, count * dims * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
  if (map == MAP_FAILED) {
    std::perror(path);
    std::exit(1);
  }
  Rows rows{static_cast<float *>(map), count};
  for (size_t i = 0; normalise && i < count; i++) {
    float *row = rows.data() + i * dims;
    double norm2 = 0;
    for (size_t j = 0; j < dims; j++) norm2 += double(row[j]) * row[j];
    const float factor = norm2 > 0 ? static_cast<float>(1 / std::sqrt(norm2)) : 0.0f;
    for (size_t j = 0; j < dims; j++) row[j] *= factor;
  }
  return rows;
}

// The command line.
struct Task {
  size_t rows, dims, m, ef_construction, threads;
  std::string metric;
  Rows base, queries;
};

inline Task read_task(int argc, char **argv) {
  if (argc != 9) {
    std::fprintf(stderr, "usage: %s BASE ROWS DIMS METRIC M EF_CONSTRUCTION THREADS QUERIES\n", argv[0]);
    std::exit(1);
  }
  const auto number = [&](int i) { return static_cast<size_t>(std::strtoul(argv[i], nullptr, 10)); };
  Task task{number(2), number(3), number(5), number(6), number(7), argv[4], {}, {}};
  task.base = read_rows(argv[1], task.rows, task.dims, task.metric == "cosine");
  task.queries = read_rows(argv[8], SIZE_MAX, task.dims, task.metric == "cosine");
  task.rows = task.base.count;
  return task;
}

inline void report_build(double seconds, size_t bytes) {
  std::printf("{\"seconds\":%.3f,\"index_bytes\":%zu}\n", seconds, bytes);
  std::fflush(stdout);
}

inline std::string histogram(const std::vector<float> &latencies) {
  std::map<int, size_t> counts;
  for (const float us : latencies) counts[us > 1 ? std::min(159, static_cast<int>(std::log10(us) * 20)) : 0]++;
  std::string text;
  for (const auto &[bucket, n] : counts)
    text += (text.empty() ? "" : " ") + std::to_string(bucket) + ":" + std::to_string(n);
  return text;
}

// Serves stdin.  search(query, k, ef, ids): appends the ids (int32) of the k nearest of one query.
template <class Search>
void serve(const Task &task, Search search) {
  const size_t count = task.queries.count;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, path;
    size_t k = 0, ef = 0;
    double seconds = 0;
    if (!(words >> command >> k >> ef >> seconds >> path) || command != "search") continue;

    FILE *file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) std::exit(1);
    std::vector<int32_t> ids;
    for (size_t q = 0; q < count; q++) {
      ids.assign(1, 0);
      search(task.queries.data() + q * task.dims, k, ef, ids);
      ids[0] = static_cast<int32_t>(ids.size() - 1);
      std::fwrite(ids.data(), 4, ids.size(), file);
    }
    std::fclose(file);

    std::vector<float> latencies;
    const double start = now();
    double last = start;
    for (size_t q = 0; last < start + seconds; q = (q + 1) % count) {
      ids.clear();
      search(task.queries.data() + q * task.dims, k, ef, ids);
      const double time = now();
      latencies.push_back(static_cast<float>((time - last) * 1e6));
      last = time;
    }
    std::sort(latencies.begin(), latencies.end());
    const size_t n = latencies.size();
    std::printf("{\"qps\":%.1f,\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,\"queries\":%zu,\"histogram\":\"%s\"}\n",
                double(n) / (last - start), latencies[n / 2], latencies[n * 95 / 100], latencies[n * 99 / 100], n,
                histogram(latencies).c_str());
    std::fflush(stdout);
  }
}

}  // namespace peer

#endif
