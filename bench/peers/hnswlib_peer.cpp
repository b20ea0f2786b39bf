// hnswlib_peer: Debian's hnswlib, in memory, as the driver of bench/run.sh measures it; peer.hpp has the command line.
//
// Compiled -O3 -march=native -DNDEBUG, as its users do.
#include <hnswlib/hnswlib.h>

#include <atomic>
#include <memory>
#include <thread>

#include "peer.hpp"

int main(int argc, char **argv) {
  const peer::Task task = peer::read_task(argc, argv);

  std::unique_ptr<hnswlib::SpaceInterface<float>> space;
  if (task.metric == "l2") {
    space = std::make_unique<hnswlib::L2Space>(task.dims);
  } else {
    space = std::make_unique<hnswlib::InnerProductSpace>(task.dims);
  }
  const double start = peer::now();
  hnswlib::HierarchicalNSW<float> index(space.get(), task.rows, task.m, task.ef_construction);
  std::atomic<size_t> next{0};
  std::vector<std::thread> team;
  index.addPoint(task.base.data(), 0);
  next = 1;
  for (size_t t = 0; t < task.threads; t++) {
    team.emplace_back([&] {
      for (size_t i; (i = next.fetch_add(1)) < task.rows;) index.addPoint(task.base.data() + i * task.dims, i);
    });
  }
  for (auto &thread : team) thread.join();
  const double seconds = peer::now() - start;

  size_t bytes = task.rows * index.size_data_per_element_;
  for (size_t i = 0; i < task.rows; i++) {
    bytes += static_cast<size_t>(index.element_levels_[i]) * index.size_links_per_element_;
  }
  peer::report_build(seconds, bytes);

  peer::serve(task, [&](const float *query, size_t k, size_t ef, std::vector<int32_t> &ids) {
    index.setEf(ef);
    auto found = index.searchKnn(query, k);
    for (; !found.empty(); found.pop()) ids.push_back(static_cast<int32_t>(found.top().second));
  });
  return 0;
}
