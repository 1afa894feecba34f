// Builds fold plans: pushes subtrees on a stack and merges siblings as soon as both are complete.
#include "comm/tree.h"

#include <algorithm>
#include <cassert>

namespace syncnorm {
namespace {

/// Returns true if adjacent subtrees a and b are the children of one subtree of the tree over
/// `leaves`.
bool siblings(Interval a, Interval b, int leaves) {
  const int width = a.size();
  const bool power_of_two = (width & (width - 1)) == 0;
  // A left child has a power of two leaves; its sibling has as many, or ends with the last leaf.
  return power_of_two && a.begin % (2 * width) == 0 && a.end == b.begin &&
         b.end == std::min(a.begin + 2 * width, leaves);
}

}  // namespace

FoldPlan tree_fold(std::span<const Interval> inputs, int leaves) {
  FoldPlan plan;
  std::vector<Interval> stack;
  for (const Interval& input : inputs) {
    plan.slot.push_back(static_cast<int>(stack.size()));
    stack.push_back(input);
    plan.slots = std::max(plan.slots, static_cast<int>(stack.size()));
    int merges = 0;
    while (stack.size() >= 2 && siblings(stack[stack.size() - 2], stack.back(), leaves)) {
      stack[stack.size() - 2].end = stack.back().end;
      stack.pop_back();
      ++merges;
    }
    plan.merges.push_back(merges);
  }
  plan.subtrees = stack;
  return plan;
}

FoldPlan tree_fold_leaves(Interval block, int leaves) {
  std::vector<Interval> inputs;
  for (int leaf = block.begin; leaf < block.end; ++leaf) inputs.push_back({leaf, leaf + 1});
  return tree_fold(inputs, leaves);
}

FoldPlan running_fold_leaves(Interval block) {
  FoldPlan plan;
  for (int i = 0; i < block.size(); ++i) {
    plan.slot.push_back(i == 0 ? 0 : 1);
    plan.merges.push_back(i == 0 ? 0 : 1);
  }
  if (!block.empty()) plan.subtrees = {block};
  plan.slots = std::min(block.size(), 2);
  return plan;
}

namespace {

template <class T>
void combine_values(Combine combine, T* to, const T* from, std::size_t count) {
  if (combine == Combine::sum)
    for (std::size_t i = 0; i < count; ++i) to[i] += from[i];
  else
    for (std::size_t i = 0; i < count; ++i) to[i] = from[i] > to[i] ? from[i] : to[i];
}

}  // namespace

void combine_into(Combine combine, float* to, const float* from, std::size_t count) {
  combine_values(combine, to, from, count);
}
void combine_into(Combine combine, double* to, const double* from, std::size_t count) {
  combine_values(combine, to, from, count);
}

}  // namespace syncnorm
