// Merge: many rows into an index that has nodes already; what stands behind the handle of the C interface.
//
//    load() every slot, add() every row      the backend's thread
//    start(), wait() ...                     the conductor and its team: find, link, attach
//    look_again() at every slot, assign() an id to every place, fill() the new slots, changes()
//                                            the backend's thread
//
// Between start() and the end of wait() the conductor owns everything but mutex_ and what it protects.  See README.md.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "capi/phnsw_merge.h"
#include "merge/graph.hpp"

namespace phnsw {

class Merge final : private SpillSource {
 public:
  // nodes: null, or what an earlier merge into the same index has left; it must outlive this one.
  static Status create(const Codec &codec, const phnsw_merge_params &params, MergeNodes *nodes,
                       std::unique_ptr<Merge> *merge);
  ~Merge() { join(); }

  [[nodiscard]] MergeGraph &graph() noexcept { return graph_; }
  Status start();
  // RUNNING: not yet.  Of a small merge the caller does its share meanwhile.
  Status wait(std::uint32_t milliseconds);
  void join() noexcept;

  // After wait() has returned OK.
  [[nodiscard]] phnsw_merge_row row(std::uint32_t row) const noexcept;
  void assign(std::uint32_t place, std::uint32_t id) noexcept { ids_[place] = id; }
  void fill(std::uint32_t place, phnsw_slot *slot) const noexcept;
  // Once, when all places have ids.
  const std::vector<phnsw_merge_change> &changes();
  // Marks the places that new nodes' lists lead to from the marked ones.
  void spread(std::uint8_t *reached) const;

 private:
  Merge(const Codec &codec, const phnsw_merge_params &params, MergeNodes *nodes)
      : params_(params),
        has_guest_(wants_guest(codec, params)),
        team_(params.threads, stop_, has_guest_ ? Team::Kind::kBriefWithGuest : Team::Kind::kBrief),
        arena_(~std::size_t{0}, *this),
        own_nodes_(nodes != nullptr ? nullptr : new MergeNodes(codec.params(), params.spill)),
        graph_(nodes != nullptr ? *nodes : *own_nodes_, codec, params.limit, params.ef_construction) {}

  static bool wants_guest(const Codec &codec, const phnsw_merge_params &params) noexcept;
  static void *main(void *merge) noexcept;
  void conduct() noexcept;
  Status run();
  // The caller has seen to it that the memory suffices: there is no file.
  Status extend(std::uint64_t, int *) override { return {PHNSW_OUT_OF_MEMORY, "out of memory"}; }
  // The id of a number of the graph's; PHNSW_NONE: not to be linked to.
  [[nodiscard]] std::uint32_t id_of(std::uint32_t point) const noexcept;

  const phnsw_merge_params params_;
  std::atomic<bool> stop_{false};
  Conductor conductor_;
  BuildProgress progress_;
  const bool has_guest_;  // of the team: the backend's thread, within wait()
  Team team_;
  Arena arena_;  // outlives what stands in it
  const std::unique_ptr<MergeNodes> own_nodes_;
  MergeGraph graph_;
  std::vector<ListChange> list_changes_;
  Array<std::uint32_t> ids_;
  std::vector<phnsw_merge_change> changes_;

  std::mutex mutex_;
  std::condition_variable to_backend_;
  // Protected by mutex_.
  bool over_ = false;
  Status outcome_;
};

}  // namespace phnsw
