// The fixed-order tree, which defines the order in which the contributions of replicas are added.
//
// A block of m leaves splits at the largest power of two below m; a leaf is a replica. The bits of
// a sum thus depend only on the leaves. A contiguous block of leaves consists of maximal complete
// subtrees of that tree. Summing those locally and combining them in tree order elsewhere gives the
// same bits as summing all leaves in one place.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "comm/replicas.h"

namespace syncnorm {

/// A plan to add an ascending list of adjacent subtrees with a stack: input i is written to slot
/// slot[i], then the topmost two slots are merged merges[i] times (slot k += slot k+1).
struct FoldPlan {
  std::vector<int> slot;
  std::vector<int> merges;
  std::vector<Interval> subtrees;  // left on the stack: maximal complete subtrees, in order
  int slots = 0;                   // number of slots needed
};

/// Returns the plan for adjacent subtrees `inputs` of a tree over `leaves` leaves.
FoldPlan tree_fold(std::span<const Interval> inputs, int leaves);

/// Returns the plan for the single leaves of `block`.
FoldPlan tree_fold_leaves(Interval block, int leaves);

/// Returns the plan that adds the leaves of `block` one after another into one subtree, for
/// `reduction: fastest`: not the tree's order.
FoldPlan running_fold_leaves(Interval block);

/// The operation of a reduction on two values. The maximum is for non-negative values: ranks
/// without leaves contribute 0.
enum class Combine { sum, max };

/// Computes to = to + from, or the maximum, element by element; the only arithmetic of reductions.
void combine_into(Combine combine, float* to, const float* from, std::size_t count);
void combine_into(Combine combine, double* to, const double* from, std::size_t count);

}  // namespace syncnorm
