#include "merge/merge.hpp"

#include <algorithm>
#include <chrono>
#include <new>

#include "merge/find.hpp"
#include "merge/link.hpp"

namespace phnsw {

// Fewer rows than one for so many nodes do without the walk, which costs a
// tenth of them by then, if all have links to them.
constexpr std::uint32_t kNodesPerWalkedRow = 100;
// Rows x ef_construction x bytes (of a code and beside it) for which the backend's thread, which cannot look
// at interrupts meanwhile, works with the team: a tenth of a second.
constexpr std::uint64_t kGuestEffort = std::uint64_t{64} << 20;
constexpr std::uint64_t kGuestEffortBeside = 256;

Status Merge::create(const Codec &codec, const phnsw_merge_params &params, MergeNodes *nodes,
                     std::unique_ptr<Merge> *merge) {
  if (params.threads < 1) return {PHNSW_BAD_ARGUMENT, "a merge needs at least one thread"};
  if (params.ef_construction < PHNSW_EFC_MIN || params.ef_construction > PHNSW_EFC_MAX) {
    return {PHNSW_BAD_ARGUMENT, "ef_construction is out of range"};
  }
  std::unique_ptr<Merge> made(new Merge(codec, params, nodes));
  if (nodes == nullptr) {
    if (const Status status = made->own_nodes_->reserve(params.limit + params.rows_max); !status.ok()) return status;
  }
  if (const Status status = made->graph_.allocate(params.rows_max); !status.ok()) return status;
  *merge = std::move(made);
  return {};
}

Status Merge::start() {
  if (conductor_.running()) return {PHNSW_BAD_ARGUMENT, "the merge has been started already"};
  if (graph_.live() == 0) return {PHNSW_BAD_ARGUMENT, "there is no live node to link to"};
  return conductor_.start(main, this);
}

bool Merge::wants_guest(const Codec &codec, const phnsw_merge_params &params) noexcept {
  const std::uint64_t effort_of_row =
      std::uint64_t{params.ef_construction} * (codec.params().code_dims + kGuestEffortBeside);
  return params.threads > 1 && params.rows_max * effort_of_row <= kGuestEffort;
}

Status Merge::wait(std::uint32_t milliseconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  if (has_guest_) team_.help(until);
  std::unique_lock<std::mutex> lock(mutex_);
  to_backend_.wait_until(lock, until, [this] { return over_; });
  return over_ ? outcome_ : Status(PHNSW_RUNNING, "the merge is running");
}

void Merge::join() noexcept {
  stop_.store(true);
  if (!conductor_.running()) return;
  conductor_.join();
  team_.await_workers();
}

// ---- the conductor's side -----------------------------------------------------------------------

void *Merge::main(void *merge) noexcept {
  static_cast<Merge *>(merge)->team_.lead([](void *self) { static_cast<Merge *>(self)->conduct(); }, merge);
  return nullptr;
}

void Merge::conduct() noexcept {
  Status status;
  try {
    status = run();
  } catch (const std::bad_alloc &) {
    status = {PHNSW_OUT_OF_MEMORY, "out of memory"};
  } catch (...) {
    status = {PHNSW_INTERNAL, "unexpected C++ exception in the merge"};
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  outcome_ = status;
  over_ = true;
  to_backend_.notify_all();
}

Status Merge::run() {
  BuildContext context{team_, arena_, progress_};
  graph_.join_duplicates();
  std::vector<std::uint32_t> order;
  Status status = find_nearest(context, graph_, &order);
  if (!status.ok()) return status;
  graph_.make_points(order);
  status = link_points(context, graph_, params_.seed, &list_changes_);
  if (!status.ok()) return status;
  std::uint32_t entry = params_.entry;
  if (entry >= graph_.limit() || graph_.is_free(entry)) {
    for (entry = 0; !graph_.is_live(entry); entry++) {
    }
  }
  if (graph_.places() != 0 &&
      (graph_.places() >= graph_.limit() / kNodesPerWalkedRow || !all_linked(graph_, list_changes_))) {
    status = attach_points(context, graph_, entry, &list_changes_);
  }
  ids_.reset(graph_.places());
  for (std::uint32_t &id : ids_) id = PHNSW_NONE;
  return status;
}

// ---- results ------------------------------------------------------------------------------------

phnsw_merge_row Merge::row(std::uint32_t row) const noexcept {
  const RowFate fate = graph_.fate(row);
  if (fate.joined == PHNSW_NONE) return {fate.place, PHNSW_NONE, 0, graph_.row_of(fate.place) == row};
  return {PHNSW_NONE, fate.joined, graph_.version(fate.joined), false};
}

std::uint32_t Merge::id_of(std::uint32_t point) const noexcept {
  if (point == PHNSW_NONE) return PHNSW_NONE;
  if (point >= graph_.limit()) return ids_[point - graph_.limit()];
  return graph_.is_live(point) ? point : PHNSW_NONE;
}

void Merge::fill(std::uint32_t place, phnsw_slot *slot) const noexcept {
  const std::uint32_t point = graph_.limit() + place;
  const Points points = graph_.points();
  const phnsw_codec_params &codec = graph_.codec().params();
  slot->head = points.rows.heads[point];
  graph_.codec().pack(points.rows.row(point), slot->code);
  std::uint32_t *links = phnsw_slot_links(slot, phnsw_code_bytes(codec.code_dims, codec.bits));
  slot->count = 0;
  for (std::uint32_t i = 0; i < graph_.lists.counts[point]; i++) {
    const std::uint32_t id = id_of(graph_.lists.list(point)[i]);
    // A slot that vacuum has freed while we looked for slots may be an old node here and a new one: once is enough.
    const bool named = std::find(links, links + slot->count, id) != links + slot->count;
    if (id != PHNSW_NONE && id != ids_[place] && !named) links[slot->count++] = id;
  }
}

void Merge::spread(std::uint8_t *reached) const {
  std::vector<std::uint32_t> queue;
  for (std::uint32_t place = 0; place < graph_.places(); place++) {
    if (reached[place] != 0 && ids_[place] != PHNSW_NONE) queue.push_back(place);
  }
  while (!queue.empty()) {
    const std::uint32_t point = graph_.limit() + queue.back();
    queue.pop_back();
    for (std::uint32_t i = 0; i < graph_.lists.counts[point]; i++) {
      const std::uint32_t other = graph_.lists.list(point)[i];
      if (other == PHNSW_NONE || other < graph_.limit()) continue;
      const std::uint32_t place = other - graph_.limit();
      if (reached[place] != 0 || ids_[place] == PHNSW_NONE) continue;
      reached[place] = 1;
      queue.push_back(place);
    }
  }
}

const std::vector<phnsw_merge_change> &Merge::changes() {
  changes_.clear();
  changes_.reserve(list_changes_.size());
  for (const ListChange &change : list_changes_) {
    const std::uint32_t added = id_of(change.added);
    if (added == PHNSW_NONE || !graph_.is_live(change.owner)) continue;
    // What gave way may be a new point.
    const std::uint32_t removed = change.removed == PHNSW_NONE || change.removed < graph_.limit()
                                      ? change.removed
                                      : ids_[change.removed - graph_.limit()];
    changes_.push_back({change.owner, graph_.version(change.owner), removed, added});
  }
  return changes_;
}

}  // namespace phnsw
