// The fixed-order tree: any contiguous split into blocks gives the bits of the recursive
// definition.
#include "comm/tree.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/comm/tree_oracle.h"

namespace syncnorm::test {
namespace {

using Leaves = std::vector<std::vector<float>>;

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

/// Carries a plan out as tree.h says: place inputs on the stack, merge its top places.
Leaves carry_out(const FoldPlan& plan, const Leaves& inputs) {
  EXPECT_EQ(plan.slot.size(), inputs.size());
  EXPECT_EQ(plan.merges.size(), inputs.size());
  Leaves stack(to_size(plan.slots));
  int height = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(plan.slot[i], height);
    EXPECT_LT(plan.slot[i], plan.slots);
    stack[to_size(height++)] = inputs[i];
    for (int m = 0; m < plan.merges[i]; ++m, --height) {
      EXPECT_GE(height, 2);
      combine_into(Combine::sum, stack[to_size(height - 2)].data(),
                   stack[to_size(height - 1)].data(), inputs[i].size());
    }
  }
  EXPECT_EQ(to_size(height), plan.subtrees.size());
  stack.resize(to_size(height));
  return stack;
}

/// Folds the leaves of each block on its own, then combines the subtrees of all.
std::vector<float> fold_in_blocks(const Leaves& leaves, const std::vector<Interval>& blocks) {
  const int count = static_cast<int>(leaves.size());
  std::vector<Interval> subtrees;
  Leaves sums;
  for (const Interval& block : blocks) {
    const FoldPlan plan = tree_fold_leaves(block, count);
    const Leaves own(leaves.begin() + block.begin, leaves.begin() + block.end);
    for (const auto& subtree : carry_out(plan, own)) sums.push_back(subtree);
    subtrees.insert(subtrees.end(), plan.subtrees.begin(), plan.subtrees.end());
  }
  const FoldPlan combine = tree_fold(subtrees, count);
  EXPECT_EQ(combine.subtrees, (std::vector<Interval>{{0, count}}));
  return carry_out(combine, sums).front();
}

std::string text(const std::vector<Interval>& blocks) {
  std::string out;
  for (const Interval& b : blocks)
    out += " [" + std::to_string(b.begin) + "," + std::to_string(b.end) + ")";
  return out;
}

TEST(Tree, AnySplitGivesTheBitsOfTheDefinition) {
  std::mt19937 engine(1);
  for (int m = 1; m <= 33; ++m) {
    const Leaves leaves = order_sensitive_leaves<float>(m, 13, static_cast<unsigned>(m));
    const auto expected = recursive_sum(leaves);
    const auto check = [&](const std::vector<Interval>& blocks) {
      EXPECT_TRUE(same_bits(fold_in_blocks(leaves, blocks), expected)) << m << ":" << text(blocks);
    };
    check({{0, m}});
    for (int a = 0; a <= m; ++a) {
      check({{0, a}, {a, m}});
      for (int b = a; b <= m; ++b) check({{0, a}, {a, b}, {b, m}});
    }
    for (int sample = 0; sample < 100; ++sample) check(random_blocks(m, 4 + sample % 2, engine));
    std::vector<Interval> single;
    for (int leaf = 0; leaf < m; ++leaf) single.push_back({leaf, leaf + 1});
    check(single);
  }
}

// The control: were the order irrelevant for these values, the test above would prove nothing.
TEST(Tree, ARunningSumHasOtherBits) {
  for (int m = 4; m <= 33; ++m) {
    const Leaves leaves = order_sensitive_leaves<float>(m, 13, static_cast<unsigned>(m));
    EXPECT_FALSE(same_bits(running_sum(leaves), recursive_sum(leaves))) << m;
  }
}

TEST(Tree, TheSubtreesOfABlockAreItsMaximalWholeSubtrees) {
  for (int m = 1; m <= 64; ++m)
    for (int begin = 0; begin <= m; ++begin)
      for (int end = begin; end <= m; ++end) {
        std::vector<Interval> expected;
        whole_subtrees({0, m}, {begin, end}, expected);
        const FoldPlan plan = tree_fold_leaves({begin, end}, m);
        EXPECT_EQ(plan.subtrees, expected) << "[" << begin << "," << end << ") of " << m;
        if (begin == end) continue;
        const double bound = 2.0 * std::log2(end - begin) + 1.0;
        EXPECT_LE(static_cast<double>(plan.subtrees.size()), bound);
        EXPECT_LE(static_cast<double>(plan.slots), bound + 1.0);
      }
}

TEST(Tree, AnAlignedBlockIsOneSubtree) {
  for (int replicas = 1; replicas <= 64; replicas *= 2)
    for (int ranks = 1; ranks <= replicas; ranks *= 2)
      for (int rank = 0; rank < ranks; ++rank) {
        const Interval block = Placement{replicas, ranks}.block(rank);
        EXPECT_EQ(tree_fold_leaves(block, replicas).subtrees, std::vector<Interval>{block});
      }
  EXPECT_EQ(tree_fold_leaves({8, 13}, 13).subtrees, (std::vector<Interval>{{8, 13}}));
}

TEST(Tree, AnEmptyBlockHasNoSubtree) {
  const FoldPlan plan = tree_fold_leaves({5, 5}, 9);
  EXPECT_TRUE(plan.subtrees.empty());
  EXPECT_TRUE(plan.slot.empty());
  EXPECT_EQ(plan.slots, 0);
}

TEST(Tree, TheRunningFoldAddsOneAfterAnother) {
  const Leaves leaves = order_sensitive_leaves<float>(9, 13, 3);
  const FoldPlan plan = running_fold_leaves({0, 9});
  EXPECT_EQ(plan.subtrees, (std::vector<Interval>{{0, 9}}));
  EXPECT_EQ(plan.slots, 2);
  EXPECT_TRUE(same_bits(carry_out(plan, leaves).front(), running_sum(leaves)));
  EXPECT_EQ(running_fold_leaves({4, 5}).slots, 1);
  EXPECT_TRUE(running_fold_leaves({4, 4}).subtrees.empty());
}

TEST(AddInto, AddsEveryElement) {
  for (const std::size_t count : {0u, 1u, 7u, 16u, 33u}) {
    std::vector<float> a(count, 1.0f), b(count, 2.0f);
    std::vector<double> c(count, 1.0), d(count, 2.0);
    combine_into(Combine::sum, a.data(), b.data(), count);
    combine_into(Combine::sum, c.data(), d.data(), count);
    EXPECT_EQ(a, std::vector<float>(count, 3.0f));
    EXPECT_EQ(c, std::vector<double>(count, 3.0));
  }
}

}  // namespace
}  // namespace syncnorm::test
