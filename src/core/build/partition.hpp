// Partition: overlapping parts of near points by randomised ball carving, each handed to the leaves.
//
// Leaders are drawn from the points; each point joins the parts of its nearest few leaders; a part that is too large is
// carved again.  Which points form a part depends on the points, their order and the seed only: the threads of the team
// merely share the work.  Used by the conductor.
#pragma once

#include <vector>

#include "build/leaf.hpp"

namespace phnsw {

class Partition {
 public:
  Partition(BuildContext &context, const Points &points, const GraphParams &params, Reservoirs &reservoirs) noexcept
      : context_(context),
        points_(points),
        params_(params),
        reservoirs_(reservoirs),
        carved_(points),
        sketches_(points),
        leaves_(context.team, points),
        gemm_(gemm_kernels()) {}

  // Carves all points and processes every leaf.
  Status run();

  // After run(): all points, those with the same nearest leader of the first level together; where each such group
  // begins, and n.
  [[nodiscard]] ArenaArray<std::uint32_t> &home_order() noexcept { return home_order_; }
  [[nodiscard]] std::vector<std::uint32_t> &home_begin() noexcept { return home_begin_; }

 private:
  struct Part {
    const std::uint32_t *ids;  // null: all points; within an item of work, places in it (Finds)
    std::uint32_t n;
    std::uint32_t depth;
    std::uint64_t seed;
  };
  using Merged = std::vector<std::vector<std::uint32_t>>;

  // What the points are carved by: their first params_.carve_dims coordinates.
  Status shorten();
  [[nodiscard]] std::uint32_t leader_count(const Part &part, std::uint32_t *fanout) const noexcept;
  // places: the part's ids are places in this.
  void pack_leaders(const Part &part, const std::uint32_t *places, std::uint32_t leaders, GemmPanels *panels) const;
  // Brings leaders into an order in which neighbours follow each other, from one to the nearest not yet visited: what
  // is done part by part then finds in the cache what the part before left there.
  void tour(std::vector<std::uint32_t> *ids) const;
  [[nodiscard]] std::uint32_t rows_per_step(std::uint32_t leaders) const noexcept;
  void assign(const Part &part, const std::uint32_t *places, std::uint32_t begin, std::uint32_t end,
              const GemmPanels &leaders, std::uint32_t fanout, LeafWorkspace &work,
              std::uint16_t *assigned) const noexcept;
  void children(const Part &part, const std::uint32_t *members, const std::vector<std::uint32_t> &begin,
                std::vector<Part> *parts, Merged *merged) const;
  // An item of work: a part whose ids are those of points, carved to its leaves by one worker.
  void process_item(const Part &part, LeafWorkspace &work);
  void process(const Part &part, LeafWorkspace &work);
  void carve(const Part &part, LeafWorkspace &work);
  Status carve_with_team(const Part &part, ArenaArray<std::uint32_t> *members, std::vector<std::uint32_t> *begin);

  BuildContext &context_;
  const Points &points_;
  const GraphParams &params_;
  Reservoirs &reservoirs_;
  ArenaArray<phnsw_code_head> carved_heads_;  // unless those are all coordinates
  Points carved_;
  const Sketches sketches_;
  Leaves leaves_;
  const GemmKernels &gemm_;
  std::vector<LeafWorkspace> work_;  // one per worker
  ArenaArray<std::uint32_t> home_order_;
  std::vector<std::uint32_t> home_begin_;
};

// Points grouped by key: a stable counting sort on the team.  keys[i * stride + x], x < used, names a group of row i's
// id (ids null: i itself); members has room for n * used ids, begin gets groups + 1 entries.
Status group_by_key(Team &team, const std::uint16_t *keys, std::uint32_t stride, std::uint32_t used,
                    const std::uint32_t *ids, std::uint32_t n, std::uint32_t groups, std::uint32_t *members,
                    std::vector<std::uint32_t> *begin);

}  // namespace phnsw
