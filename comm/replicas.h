// Placement: assigns replicas to ranks.
//
// Replicas belong to the experiment, ranks to the launch. Every rank hosts one contiguous block,
// and blocks are as even as possible. Nothing else in syncnorm may depend on the number of ranks.
#pragma once

#include <cassert>
#include <vector>

namespace syncnorm {

/// Half-open range [begin, end) of replica (or leaf) indices.
struct Interval {
  int begin = 0;
  int end = 0;
  int size() const { return end - begin; }
  bool empty() const { return begin >= end; }
  bool operator==(const Interval&) const = default;
};

/// Requires 1 ≤ ranks ≤ replicas.
struct Placement {
  int replicas = 1;
  int ranks = 1;

  Interval block(int rank) const {
    assert(ranks >= 1 && ranks <= replicas && rank >= 0 && rank < ranks);
    const auto first = [this](long long r) { return static_cast<int>(r * replicas / ranks); };
    return {first(rank), first(rank + 1)};
  }
  std::vector<Interval> blocks() const {
    std::vector<Interval> all;
    for (int r = 0; r < ranks; ++r) all.push_back(block(r));
    return all;
  }
};

}  // namespace syncnorm
