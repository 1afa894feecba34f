// Measures an experiment's step on this machine, to predict it on another one.
#pragma once

#include "comm/communicator.h"
#include "engine/config/load.h"
#include "engine/scale/predict.h"
#include "launch/commands.h"

namespace syncnorm {

ReductionAlgorithm reduction_algorithm(const Experiment& experiment);

/// Measures every instruction of a step and returns the schedule of a rank with
/// scale.replicas_per_rank replicas that all share batch norm's statistics. `comm` has a single
/// rank. Throws InputError for a device other than the CPU.
StepSchedule measure_schedule(LoadedExperiment loaded, const ScaleLine& scale, Communicator& comm);

/// Predicts the seconds of a step on scale.ranks ranks with scale.replicas_per_rank replicas each.
/// As many replicas share statistics as in the experiment, or all if all share there. Returns nan
/// where a group of ranks that share statistics does not divide scale.ranks.
double predicted_step(const LoadedExperiment& loaded, const ScaleLine& scale, Communicator& comm);

}  // namespace syncnorm
