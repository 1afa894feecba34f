// The definition of the fixed-order tree, word for word: a block of m leaves splits at the largest
// power of two below m. The oracle for everything that sums in that order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "comm/replicas.h"

namespace syncnorm::test {

/// Where a block of m ≥ 2 leaves splits.
inline int tree_split(int m) {
  int split = 1;
  while (2 * split < m) split *= 2;
  return split;
}

/// The sum of leaves [begin, end), each a vector of values.
template <class T>
std::vector<T> recursive_sum(const std::vector<std::vector<T>>& leaves, int begin, int end) {
  if (end - begin == 1) return leaves[static_cast<std::size_t>(begin)];
  const int middle = begin + tree_split(end - begin);
  std::vector<T> left = recursive_sum(leaves, begin, middle);
  const std::vector<T> right = recursive_sum(leaves, middle, end);
  for (std::size_t i = 0; i < left.size(); ++i) left[i] += right[i];
  return left;
}

template <class T>
std::vector<T> recursive_sum(const std::vector<std::vector<T>>& leaves) {
  return recursive_sum(leaves, 0, static_cast<int>(leaves.size()));
}

/// One after another: what the tree is not.
template <class T>
std::vector<T> running_sum(const std::vector<std::vector<T>>& leaves) {
  std::vector<T> sum = leaves[0];
  for (std::size_t leaf = 1; leaf < leaves.size(); ++leaf)
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += leaves[leaf][i];
  return sum;
}

/// The maximal subtrees of the tree over `subtree` that lie within `block`, in order.
inline void whole_subtrees(Interval subtree, Interval block, std::vector<Interval>& out) {
  if (subtree.end <= block.begin || subtree.begin >= block.end) return;
  if (subtree.begin >= block.begin && subtree.end <= block.end) {
    out.push_back(subtree);
    return;
  }
  const int middle = subtree.begin + tree_split(subtree.size());
  whole_subtrees({subtree.begin, middle}, block, out);
  whole_subtrees({middle, subtree.end}, block, out);
}

/// Leaves of values whose sum depends on the order: signs and magnitudes vary widely. A function of
/// (seed, leaf) alone, so every rank can make the leaves of all.
template <class T>
std::vector<std::vector<T>> order_sensitive_leaves(int leaves, std::size_t count, unsigned seed) {
  std::vector<std::vector<T>> values(static_cast<std::size_t>(leaves));
  for (std::size_t leaf = 0; leaf < values.size(); ++leaf) {
    std::mt19937 engine(seed * 1009u + static_cast<unsigned>(leaf));
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> exponent(-6.0, 6.0);
    for (std::size_t i = 0; i < count; ++i)
      values[leaf].push_back(static_cast<T>(normal(engine) * std::exp2(exponent(engine))));
  }
  return values;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// Cuts [0, leaves) into `parts` adjacent blocks at random places; blocks may be empty.
inline std::vector<Interval> random_blocks(int leaves, int parts, std::mt19937& engine) {
  std::vector<int> cuts = {0, leaves};
  for (int i = 1; i < parts; ++i)
    cuts.push_back(static_cast<int>(engine() % static_cast<unsigned>(leaves + 1)));
  std::sort(cuts.begin(), cuts.end());
  std::vector<Interval> blocks;
  for (std::size_t i = 1; i < cuts.size(); ++i) blocks.push_back({cuts[i - 1], cuts[i]});
  return blocks;
}

}  // namespace syncnorm::test
