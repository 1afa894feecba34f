// What `syncnorm bench step` measures: the step as it is trained, the same step with every
// reduction waited for at once, and the step's convolutions alone, in turns within one run.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/train/setup.h"

namespace syncnorm {

struct BenchOptions {
  int rounds = 20;            // of each kind of step, in turns
  int steps_per_round = 5;    // what is quoted are medians over rounds
  int warmup = 5;             // steps before the first round
  bool instructions = false;  // also measure every instruction, in rounds of their own
  bool limit = false;         // also run the convolutions and linear layers alone
};

/// One reduction of the step; seconds are per step, the mean over ranks of each rank's median.
struct ReductionBench {
  ReductionKind kind = ReductionKind::loss;
  std::string name;
  std::size_t bytes = 0;      // that rank 0 sends
  double in_flight = 0.0;     // from its start until it was seen to be complete
  double exposed = 0.0;       // spent in starting and waiting, with overlap
  double unoverlapped = 0.0;  // the same when it is waited for where it starts

  /// Share of the reduction's time that costs nothing; 0 when it takes no time.
  double hidden() const { return unoverlapped > 0.0 ? 1.0 - exposed / unoverlapped : 0.0; }
};

/// All instructions of one kind of operation in one pass; seconds are per step, on rank 0.
struct OperationBench {
  std::string pass;  // "prepare", "forward", "backward", "update"
  std::string operation;
  int instructions = 0;
  double seconds = 0.0;
};

/// Seconds are medians on rank 0.
struct StepBench {
  int ranks = 1;
  int samples = 0;  // of a step
  double step = 0.0, unoverlapped = 0.0;
  double limit = -1.0;                     // negative: not measured
  std::vector<OperationBench> operations;  // in order of first appearance; empty: not measured
  std::vector<ReductionBench> reductions;  // those that communicate
};

/// What each instruction of the training program takes; seconds, medians over steps.
struct StepTimes {
  std::vector<double> instructions;  // over all local replicas
  double update = 0.0;               // the rest of the step: optimizer, loader
};

/// Measures steps of a fresh start; nothing is written. Collective.
StepBench bench_steps(Setup& setup, const BenchOptions& options);

/// Measures every instruction in `steps` steps of a fresh start, after some that are not counted;
/// nothing is written. Requires a device with host memory. Collective.
StepTimes time_instructions(Setup& setup, int steps);

/// The middle value, or the mean of the two in the middle; 0 of none.
double median(std::vector<double> values);

/// Sums over the reductions of one kind.
ReductionBench total_of(const StepBench& bench, ReductionKind kind);

}  // namespace syncnorm
