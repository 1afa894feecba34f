// Who sends what to whom in one reduction, and how it is folded: what the reductions of the host
// (reduction.h) and those queued on a device (engine/program/queued_reduction.h) have in common.
#pragma once

#include <cstddef>
#include <vector>

#include "comm/tree.h"

namespace syncnorm {

enum class ReductionAlgorithm { tree, engine };

struct ReductionPlan {
  /// For rank `rank` of blocks.size(): `blocks[r]` are the leaves of rank r, ascending and
  /// adjacent, possibly empty; together all leaves. `count` values of `bytes_per_value` per leaf.
  /// Trees with more than `large_bytes` per node are sliced.
  ReductionPlan(const std::vector<Interval>& blocks, int rank, std::size_t count,
                std::size_t bytes_per_value, ReductionAlgorithm algorithm, std::size_t large_bytes);

  static constexpr std::size_t kLargeBytes = 65536;

  FoldPlan local;    // of this rank's leaves
  FoldPlan combine;  // of all ranks' nodes; for the tree
  int nodes = 0;     // of all ranks
  bool sliced = false;
  std::vector<int> gather_counts;                              // not sliced: values of each rank
  std::vector<int> send_counts, receive_counts, slice_counts;  // sliced
  int own_slice = 0;                                           // values of this rank's slice
};

}  // namespace syncnorm
