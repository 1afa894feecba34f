// Predicts the time of a step on more ranks than are available: the instructions of the compiled
// program with their times on this machine, and reductions as comm/reduction.h does them, message
// by message, on a network of network.h.
//
// All ranks do the same at the same time, so only one is simulated. Instructions run one after
// another. The next round of a reduction starts when the rank notices the end of the previous one,
// between two instructions or in its wait. Not modelled: late ranks, links shared with other jobs,
// and the additions of a reduction.
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
    double seconds = 0.0;  // for computing, or for starting a reduction
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

/// Returns the schedule of a rank with `replicas` replicas, from measurements on one rank with
/// `measured` replicas: `seconds[i]` for instruction i, `update` for the rest of the step.
StepSchedule schedule_of(const Program& program, const std::vector<double>& seconds, double update,
                         int measured, int replicas);

struct StepPrediction {
  double step = 0.0;        // seconds
  double statistics = 0.0;  // of which starting and waiting for statistics reductions,
  double gradients = 0.0;   // and for all other reductions
};

/// Predicts a step on `ranks` ranks. `group` consecutive ranks share statistics (1: none); it must
/// divide `ranks`.
StepPrediction predict(const StepSchedule& schedule, const Network& network, int ranks, int group,
                       ReductionAlgorithm algorithm);

/// The messages of one round of a reduction on one rank.
struct Messages {
  int count = 0;          // sent, and as many received
  double bytes = 0.0;     // of all messages together
  double transfer = 0.0;  // seconds on the rank's link
  double latency = 0.0;   // of the slowest message
};
/// Returns the rounds of a reduction over `ranks` consecutive ranks with one subtree each.
std::vector<Messages> rounds_of(const StepSchedule::Sum& sum, const Network& network, int ranks,
                                ReductionAlgorithm algorithm);

}  // namespace syncnorm
