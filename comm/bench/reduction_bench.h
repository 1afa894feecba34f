// What `syncnorm bench reduce` measures: one reduction, done in every way that it can be, in turns
// within one run.
#pragma once

#include <cstddef>
#include <iterator>
#include <vector>

#include "comm/communicator.h"

namespace syncnorm {

/// All but the last give the tree's bits. `paired`: as many ranks do, small ones whole and large
/// ones in halves; gathered or sliced where ranks are not a power of two. `engine` is the
/// communicator's own all-reduce.
enum class ReductionWay { gathered, sliced, paired, engine };
inline constexpr ReductionWay kReductionWays[] = {ReductionWay::gathered, ReductionWay::sliced,
                                                  ReductionWay::paired, ReductionWay::engine};

struct ReductionBenchOptions {
  DataType type = DataType::f64;
  std::size_t bytes = 64;  // of a subtree: the message when a rank's leaves are one subtree
  int leaves = 1;          // per rank, folded before the clock starts
  int rounds = 20;
};

/// Seconds of one reduction from its start until it was waited for, by round, on the slowest rank;
/// indexed by ReductionWay. The same on every rank.
struct ReductionWaysBench {
  int subtrees = 1;  // that rank 0 sends
  std::vector<double> seconds[std::size(kReductionWays)];
};

/// Collective over `comm`, of two ranks or more.
ReductionWaysBench bench_reduction(Communicator& comm, const ReductionBenchOptions& options);

}  // namespace syncnorm
