// See reduction_bench.h.
#include "comm/bench/reduction_bench.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>

#include "base/clock.h"
#include "comm/reduction.h"

namespace syncnorm {
namespace {

/// Returns the largest of the ranks' values; also a barrier.
double largest_over_ranks(Communicator& comm, double value) {
  double largest = 0.0;
  for (const std::string& text : comm.all_gather_text(std::to_string(1e9 * value))) {
    double other = 0.0;
    std::from_chars(text.data(), text.data() + text.size(), other);
    largest = std::max(largest, 1e-9 * other);
  }
  return largest;
}

template <class T>
class Way {
 public:
  Way(Communicator& comm, const ReductionBenchOptions& options, ReductionWay way)
      : comm_(comm),
        reduction_(
            comm, blocks(comm.size(), options.leaves), options.bytes / sizeof(T),
            way == ReductionWay::engine ? ReductionAlgorithm::engine : ReductionAlgorithm::tree,
            "bench", Combine::sum, large_bytes(way),
            way == ReductionWay::paired ? 2 : std::numeric_limits<int>::max()),
        values_(reduction_.local_plan().subtrees.size() * reduction_.count(), T{1}),
        result_(reduction_.count()) {
    for (std::size_t n = 0; n < reduction_.local_plan().subtrees.size(); ++n)
      subtrees_.push_back(values_.data() + n * reduction_.count());
    run();
    constexpr double kSpan = 3e-4;  // seconds
    const double once = largest_over_ranks(comm_, timed(1));
    calls_ = static_cast<int>(std::clamp(kSpan / std::max(once, 1e-7), 1.0, 100.0));
  }

  /// Returns the seconds of one reduction on the slowest rank.
  double seconds() {
    largest_over_ranks(comm_, 0.0);  // all ranks start together
    run();                           // separates the barrier from the measurement
    return largest_over_ranks(comm_, timed(calls_));
  }
  int subtrees() const { return static_cast<int>(subtrees_.size()); }

 private:
  static std::size_t large_bytes(ReductionWay way) {
    if (way == ReductionWay::paired) return ReductionPlan::kLargeBytes;
    return way == ReductionWay::sliced ? 0 : std::numeric_limits<std::size_t>::max();
  }
  static std::vector<Interval> blocks(int ranks, int leaves) {
    std::vector<Interval> all;
    for (int r = 0; r < ranks; ++r) all.push_back({r * leaves, (r + 1) * leaves});
    return all;
  }

  void run() {
    reduction_.start(subtrees_, result_.data());
    reduction_.wait();
  }
  double timed(int calls) {
    const auto begin = Clock::now();
    for (int i = 0; i < calls; ++i) run();
    return seconds_since(begin) / calls;
  }

  Communicator& comm_;
  Reduction<T> reduction_;
  std::vector<T> values_, result_;
  std::vector<const T*> subtrees_;
  int calls_ = 1;
};

template <class T>
ReductionWaysBench bench_values(Communicator& comm, const ReductionBenchOptions& options) {
  std::vector<std::unique_ptr<Way<T>>> ways;
  for (const ReductionWay way : kReductionWays)
    ways.push_back(std::make_unique<Way<T>>(comm, options, way));
  ReductionWaysBench bench;
  bench.subtrees = ways[0]->subtrees();
  for (int round = 0; round < options.rounds; ++round)
    for (std::size_t w = 0; w < ways.size(); ++w) bench.seconds[w].push_back(ways[w]->seconds());
  return bench;
}

}  // namespace

ReductionWaysBench bench_reduction(Communicator& comm, const ReductionBenchOptions& options) {
  return options.type == DataType::f32 ? bench_values<float>(comm, options)
                                       : bench_values<double>(comm, options);
}

}  // namespace syncnorm
