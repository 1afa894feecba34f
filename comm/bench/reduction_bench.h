// The measurements of `syncnorm bench reduce`: one reduction with every algorithm, interleaved
// within one run.
#pragma once

#include <cstddef>
#include <iterator>
#include <vector>

#include "comm/communicator.h"

namespace syncnorm {

/// The algorithms. All except `engine`, the communicator's own all-reduce, give the tree's bits.
/// `paired` is the algorithm of many ranks: it exchanges small vectors whole and large ones by
/// halving, and gathers or slices where that is impossible because the ranks are not a power of
/// two.
enum class ReductionWay { gathered, sliced, paired, engine };
inline constexpr ReductionWay kReductionWays[] = {ReductionWay::gathered, ReductionWay::sliced,
                                                  ReductionWay::paired, ReductionWay::engine};

struct ReductionBenchOptions {
  DataType type = DataType::f64;
  std::size_t bytes = 64;  // per subtree: the message size if a rank's leaves are one subtree
  int leaves = 1;          // per rank, folded before the measurement
  int rounds = 20;
};

/// Seconds of one reduction from its start until its wait is over, per round, on the slowest rank;
/// indexed by ReductionWay. The same on every rank.
struct ReductionWaysBench {
  int subtrees = 1;  // sent by rank 0
  std::vector<double> seconds[std::size(kReductionWays)];
};

/// Measures every algorithm. Collective over `comm`, which must have two or more ranks.
ReductionWaysBench bench_reduction(Communicator& comm, const ReductionBenchOptions& options);

}  // namespace syncnorm
