// What a step takes on more ranks than there are here: the compiled program's instructions with the
// times that they take on this machine, and reductions as comm/reduction.h does them, message by
// message, on a network of network.h.
//
// All ranks do the same at the same time, so one of them is followed: instructions run one after
// another, a reduction's next round starts when the rank has seen the end of the one before,
// between two instructions or in its wait. What this leaves out: ranks that are late, links that
// are shared with others, and the additions of a reduction.
#pragma once

#include <string>
#include <vector>

#include "comm/reduction_plan.h"
#include "engine/program/program.h"
#include "engine/scale/network.h"

namespace syncnorm {

/// A step of one rank.
struct StepSchedule {
  struct Item {
    InstructionKind kind = InstructionKind::compute;
    double seconds = 0.0;  // of computing, or of starting a reduction
    int reduction = -1;
  };
  struct Sum {
    ReductionKind kind = ReductionKind::loss;
    std::size_t count = 0;
    std::size_t bytes_per_value = 8;
  };
  std::vector<Item> items;
  std::vector<Sum> sums;
  double update = 0.0;  // seconds of the optimizer and everything else after the last instruction
  double computing() const;
};

/// The schedule of a rank with `replicas` replicas, from a program that was measured on one rank
/// with `measured` of them: `seconds[i]` for instruction i, `update` for the rest of the step.
StepSchedule schedule_of(const Program& program, const std::vector<double>& seconds, double update,
                         int measured, int replicas);

struct StepPrediction {
  double step = 0.0;        // seconds
  double statistics = 0.0;  // of which in starting and waiting for sums of statistics,
  double gradients = 0.0;   // and for all others
};

/// On `ranks` ranks; statistics are shared by `group` consecutive ones (1: not at all), which must
/// divide them.
StepPrediction predict(const StepSchedule& schedule, const Network& network, int ranks, int group,
                       ReductionAlgorithm algorithm);

/// The messages of one reduction as one rank sees them.
struct Messages {
  int count = 0;          // sent, and as many received
  double bytes = 0.0;     // of all of them
  double transfer = 0.0;  // seconds on the rank's link
  double latency = 0.0;   // of the slowest
};
/// Round by round, over `ranks` consecutive ranks with one subtree each.
std::vector<Messages> rounds_of(const StepSchedule::Sum& sum, const Network& network, int ranks,
                                ReductionAlgorithm algorithm);

}  // namespace syncnorm
