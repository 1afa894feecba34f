// Who sends what to whom in one reduction, and how it is folded: what the reductions of the host
// (reduction.h) and those queued on a device (engine/program/queued_reduction.h) have in common.
#pragma once

#include <cstddef>
#include <vector>

#include "comm/tree.h"

namespace syncnorm {

enum class ReductionAlgorithm { tree, engine };

/// Messages between two ranks, both ways or one; values of the vector that is summed.
struct ExchangeRound {
  int peer = 0;
  std::size_t send_begin = 0, send_count = 0;  // of 0 values: no message
  std::size_t receive_begin = 0, receive_count = 0;
  bool fold = true;  // what is received is added to what is there; else it takes its place
};

/// The tree's sum over `ranks` ranks of one subtree each, in pairs. Neighbours first, so that what
/// is added is always two whole subtrees. Whole vectors in ⌈log2 N⌉ levels (recursive doubling);
/// where the last subtree of a level has fewer ranks than the one before, each of its ranks serves
/// several of that. Or, `halving`, of 2^k ranks, halves of halves in k rounds and back in k more
/// (Rabenseifner 2004): 2(N−1)/N of the bytes.
std::vector<ExchangeRound> exchange_rounds(int rank, int ranks, std::size_t count, bool halving);

struct ReductionPlan {
  /// For rank `rank` of blocks.size(): `blocks[r]` are the leaves of rank r, ascending and
  /// adjacent, possibly empty; together all leaves. `count` values of `bytes_per_value` per leaf.
  /// Trees with more than `large_bytes` per subtree are sliced.
  ReductionPlan(const std::vector<Interval>& blocks, int rank, std::size_t count,
                std::size_t bytes_per_value, ReductionAlgorithm algorithm, std::size_t large_bytes);

  static constexpr std::size_t kLargeBytes = 65536;
  /// From so many ranks on a rank exchanges with log2(N) others instead of with all: a collective's
  /// N−1 messages cost more than the rounds, each of which waits for the one before.
  static constexpr int kExchangeRanks = 16;

  FoldPlan local;    // of this rank's leaves
  FoldPlan combine;  // of all ranks' subtrees; for the tree
  int subtrees = 0;  // of all ranks
  bool sliced = false;
  bool in_pairs = false;  // exchange_rounds() give the tree's sum: every rank has a subtree of its
                          // own, and of slices there are 2^k
  std::vector<int> gather_counts;                              // not sliced: values of each rank
  std::vector<int> send_counts, receive_counts, slice_counts;  // sliced
  int own_slice = 0;                                           // values of this rank's slice
};

}  // namespace syncnorm
