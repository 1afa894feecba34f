// The measurements of `syncnorm bench step`: the training step, the same step with every reduction
// waited for at once, and the step's convolutions and linear layers alone, alternating within one
// run.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/train/setup.h"

namespace syncnorm {

struct BenchOptions {
  int rounds = 20;            // of each kind of step, alternating
  int steps_per_round = 5;    // reported values are medians over rounds
  int warmup = 5;             // steps before the first round
  bool instructions = false;  // also measure every instruction, in separate rounds
  bool limit = false;         // also run the convolutions and linear layers alone
};

/// One reduction of the step. Seconds are per step: each rank's median, averaged over ranks.
struct ReductionBench {
  ReductionKind kind = ReductionKind::loss;
  std::string name;
  std::size_t bytes = 0;      // sent by rank 0
  double in_flight = 0.0;     // from its start until it was seen to be complete
  double exposed = 0.0;       // spent in starting and waiting, with overlap
  double unoverlapped = 0.0;  // the same when waited for at its start

  /// Returns the share of the reduction's time that overlap hides; 0 if it takes no time.
  double hidden() const { return unoverlapped > 0.0 ? 1.0 - exposed / unoverlapped : 0.0; }
};

/// All instructions of one operation in one pass; seconds are per step, on rank 0.
struct OperationBench {
  std::string pass;  // "prepare", "forward", "backward", "update"
  std::string operation;
  int instructions = 0;
  double seconds = 0.0;
};

/// Results of bench_steps(); seconds are medians on rank 0.
struct StepBench {
  int ranks = 1;
  // Steps are queued on a device. The seconds of single reductions are then not measured, and those
  // of operations are of steps that wait for each instruction on the device.
  bool queued = false;
  int samples = 0;  // per step
  double step = 0.0, unoverlapped = 0.0;
  double limit = -1.0;                     // negative: not measured
  std::vector<OperationBench> operations;  // by first appearance; empty: not measured
  std::vector<ReductionBench> reductions;  // only those that communicate
};

/// Seconds per instruction of the training program, medians over steps.
struct StepTimes {
  std::vector<double> instructions;  // over all local replicas
  double update = 0.0;               // the rest of the step: optimizer, loader
};

/// Measures steps from a fresh start; writes nothing. Collective.
StepBench bench_steps(Setup& setup, const BenchOptions& options);

/// Measures every instruction in `steps` steps from a fresh start, after some warm-up; writes
/// nothing. Requires a device with host memory. Collective.
StepTimes time_instructions(Setup& setup, int steps);

/// Returns the median (for an even count the mean of the middle two); 0 for none.
double median(std::vector<double> values);

/// Returns the sums over the reductions of one kind.
ReductionBench total_of(const StepBench& bench, ReductionKind kind);

}  // namespace syncnorm
