// The step of an experiment as it is here, for predictions of what it would be elsewhere.
#pragma once

#include "comm/communicator.h"
#include "engine/config/load.h"
#include "engine/scale/predict.h"
#include "launch/commands.h"

namespace syncnorm {

ReductionAlgorithm reduction_algorithm(const Experiment& experiment);

/// Measures every instruction of a rank that hosts scale.replicas_per_rank replicas, statistics of
/// batch norm shared. `comm`: of a single rank. Throws InputError where the device's time cannot be
/// told.
StepSchedule measure_schedule(LoadedExperiment loaded, const ScaleLine& scale, Communicator& comm);

/// Seconds of a step of the experiment on scale.ranks ranks with scale.replicas_per_rank replicas
/// each; as many replicas share statistics as in the experiment, or all. nan where those do not
/// divide the ranks.
double predicted_step(const LoadedExperiment& loaded, const ScaleLine& scale, Communicator& comm);

}  // namespace syncnorm
