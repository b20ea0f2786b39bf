// faiss_peer: Debian's faiss, IndexHNSWFlat in memory, as the driver of
// bench/run.sh measures it; peer.hpp has the command line.
//
// Compiled -O3 -march=native -DNDEBUG, linked with the system's BLAS (run.sh installs OpenBLAS).  The library itself is
// Debian's generic x86-64 build, which costs it some of the speed that a faiss built for the machine has.
#include <faiss/IndexHNSW.h>
#include <omp.h>

#include "peer.hpp"

int main(int argc, char **argv) {
  const peer::Task task = peer::read_task(argc, argv);

  const double start = peer::now();
  omp_set_num_threads(static_cast<int>(task.threads));
  faiss::IndexHNSWFlat index(static_cast<int>(task.dims), static_cast<int>(task.m),
                             task.metric == "l2" ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT);
  index.hnsw.efConstruction = static_cast<int>(task.ef_construction);
  index.add(static_cast<faiss::Index::idx_t>(task.rows), task.base.data());
  const double seconds = peer::now() - start;
  peer::report_build(seconds, task.rows * task.dims * sizeof(float) +
                                  index.hnsw.neighbors.size() * sizeof(faiss::HNSW::storage_idx_t) +
                                  task.rows * (sizeof(size_t) + sizeof(int)));

  omp_set_num_threads(1);
  std::vector<float> distances;
  std::vector<faiss::Index::idx_t> labels;
  peer::serve(task, [&](const float *query, size_t k, size_t ef, std::vector<int32_t> &ids) {
    distances.resize(k);
    labels.resize(k);
    index.hnsw.efSearch = static_cast<int>(ef);
    index.search(1, query, static_cast<faiss::Index::idx_t>(k), distances.data(), labels.data());
    for (const auto label : labels) {
      if (label >= 0) ids.push_back(static_cast<int32_t>(label));
    }
  });
  return 0;
}
