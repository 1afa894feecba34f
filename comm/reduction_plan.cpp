// See reduction_plan.h.
#include "comm/reduction_plan.h"

#include <cassert>

namespace syncnorm {

ReductionPlan::ReductionPlan(const std::vector<Interval>& blocks, int rank, std::size_t count,
                             std::size_t bytes_per_value, ReductionAlgorithm algorithm,
                             std::size_t large_bytes) {
  const int leaves = blocks.back().end;
  const auto ranks = blocks.size();
  const Interval own = blocks[static_cast<std::size_t>(rank)];
  if (algorithm == ReductionAlgorithm::engine) {
    local = running_fold_leaves(own);
    return;
  }
  local = tree_fold_leaves(own, leaves);
  std::vector<Interval> all_nodes;
  std::vector<int> nodes_of_rank;
  for (const Interval& block : blocks) {
    const FoldPlan plan = tree_fold_leaves(block, leaves);
    all_nodes.insert(all_nodes.end(), plan.nodes.begin(), plan.nodes.end());
    nodes_of_rank.push_back(static_cast<int>(plan.nodes.size()));
  }
  combine = tree_fold(all_nodes, leaves);
  assert(combine.nodes.size() == 1);
  nodes = static_cast<int>(all_nodes.size());
  sliced = count * bytes_per_value > large_bytes && count >= ranks && ranks > 1;
  if (!sliced) {
    for (const int n : nodes_of_rank) gather_counts.push_back(n * static_cast<int>(count));
    return;
  }
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto edge = [&](std::size_t i) { return count * i / ranks; };
    slice_counts.push_back(static_cast<int>(edge(r + 1) - edge(r)));
  }
  own_slice = slice_counts[static_cast<std::size_t>(rank)];
  const int own_nodes = nodes_of_rank[static_cast<std::size_t>(rank)];
  for (std::size_t r = 0; r < ranks; ++r) {
    send_counts.push_back(own_nodes * slice_counts[r]);
    receive_counts.push_back(nodes_of_rank[r] * own_slice);
  }
}

}  // namespace syncnorm
