// The fixed-order tree: the one order in which the contributions of replicas are added.
//
// A block of m leaves splits at the largest power of two below m; the leaf is the replica. The bits
// of a sum then depend on the leaves alone. A contiguous block of leaves holds some maximal whole
// subtrees of that tree; summing those locally and combining them in tree order elsewhere gives the
// same bits as summing all leaves in one place.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "comm/replicas.h"

namespace syncnorm {

/// How to add an ascending list of adjacent subtrees with a stack: input i is written to stack
/// place slot[i], then the topmost two places are merged merges[i] times (place k += place k+1).
struct FoldPlan {
  std::vector<int> slot;
  std::vector<int> merges;
  std::vector<Interval> subtrees;  // what is left on the stack: maximal whole subtrees, in order
  int slots = 0;                   // stack places needed
};

/// The plan for adjacent subtrees `inputs` (each a subtree of the tree) of a tree over `leaves`
/// leaves.
FoldPlan tree_fold(std::span<const Interval> inputs, int leaves);

/// The plan for the single leaves of `block`.
FoldPlan tree_fold_leaves(Interval block, int leaves);

/// The plan that adds the leaves of `block` one after another into one subtree: not the tree's
/// order, for `reduction: fastest`.
FoldPlan running_fold_leaves(Interval block);

/// What a reduction does with two values. The maximum is for values that are not negative: ranks
/// without leaves contribute 0.
enum class Combine { sum, max };

/// to = to + from, or the larger one, element by element; the only arithmetic of reductions.
void combine_into(Combine combine, float* to, const float* from, std::size_t count);
void combine_into(Combine combine, double* to, const double* from, std::size_t count);

}  // namespace syncnorm
