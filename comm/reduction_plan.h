// The messages and folds of one reduction, common to the reductions of the host (reduction.h) and
// those queued on a device (engine/program/queued_reduction.h).
#pragma once

#include <cstddef>
#include <vector>

#include "comm/tree.h"

namespace syncnorm {

enum class ReductionAlgorithm { tree, engine };

/// One message between two ranks, or one each way; ranges of the vector that is summed.
struct ExchangeRound {
  int peer = 0;
  std::size_t send_begin = 0, send_count = 0;  // 0 values: no message
  std::size_t receive_begin = 0, receive_count = 0;
  bool fold = true;  // add the received values; otherwise they replace the values there
};

/// Returns the rounds of the tree's sum over `ranks` ranks with one subtree each, in pairs,
/// neighbours first, so that two complete subtrees are added each time. Without `halving`, whole
/// vectors are exchanged in ⌈log2 N⌉ levels (recursive doubling); if the last subtree of a level
/// has fewer ranks than the one before, each of its ranks serves several of those. With `halving`,
/// for 2^k ranks, halves of halves are exchanged in k rounds, and returned in k more (Rabenseifner
/// 2004): 2(N−1)/N of the bytes.
std::vector<ExchangeRound> exchange_rounds(int rank, int ranks, std::size_t count, bool halving);

struct ReductionPlan {
  /// Makes the plan of rank `rank` of blocks.size(). `blocks[r]` are the leaves of rank r,
  /// ascending, adjacent and possibly empty; together they are all leaves. `count` values of
  /// `bytes_per_value` per leaf. Trees with more than `large_bytes` per subtree are sliced.
  ReductionPlan(const std::vector<Interval>& blocks, int rank, std::size_t count,
                std::size_t bytes_per_value, ReductionAlgorithm algorithm, std::size_t large_bytes);

  static constexpr std::size_t kLargeBytes = 65536;
  /// With at least this many ranks, a rank exchanges with log2(N) others instead of with all: a
  /// collective's N−1 messages then cost more than the rounds, though each waits for the previous
  /// one.
  static constexpr int kExchangeRanks = 16;

  FoldPlan local;    // for this rank's leaves
  FoldPlan combine;  // for all ranks' subtrees; tree only
  int subtrees = 0;  // of all ranks together
  bool sliced = false;
  bool in_pairs = false;  // exchange_rounds() give the tree's sum: every rank has one subtree, and
                          // for slices the ranks are 2^k
  std::vector<int> gather_counts;                              // not sliced: values per rank
  std::vector<int> send_counts, receive_counts, slice_counts;  // sliced
  int own_slice = 0;                                           // values of this rank's slice
};

}  // namespace syncnorm
