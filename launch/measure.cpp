// See measure.h.
#include "launch/measure.h"

#include <limits>
#include <utility>

#include "base/error.h"
#include "engine/train/bench.h"
#include "launch/build_info.h"
#include "launch/session.h"

namespace syncnorm {

ReductionAlgorithm reduction_algorithm(const Experiment& experiment) {
  return experiment.reduction == ReductionMode::fastest ? ReductionAlgorithm::engine
                                                        : ReductionAlgorithm::tree;
}

StepSchedule measure_schedule(LoadedExperiment loaded, const ScaleLine& scale, Communicator& comm) {
  Experiment& experiment = loaded.experiment;
  if (experiment.device != DeviceKind::cpu)
    throw InputError(
        "--ranks measures kernels on device: cpu; for a faster one give device=cpu and --speed-up");
  // Two ranks' replicas on one rank, so that statistics are shared.
  experiment.replicas = 2 * scale.replicas_per_rank;
  experiment.norm.synced_replicas = experiment.norms_over_batch() ? experiment.replicas : 1;
  const std::unique_ptr<Device> device = make_device(experiment, comm);
  const Dataset dataset = load_data_on_all_ranks(loaded, comm);
  TrainerOptions options;
  options.version = kVersion;
  Setup setup(loaded, dataset, *device, comm, options);
  StepTimes times = time_instructions(setup, scale.steps);
  for (double& seconds : times.instructions) seconds /= scale.speed_up;
  return schedule_of(setup.full->program(), times.instructions, times.update / scale.speed_up,
                     experiment.replicas, scale.replicas_per_rank);
}

double predicted_step(const LoadedExperiment& loaded, const ScaleLine& scale, Communicator& comm) {
  const Experiment& experiment = loaded.experiment;
  int group = 1;  // number of ranks that share statistics
  if (experiment.norms_over_batch()) {
    const int together = experiment.norm.synced_replicas;
    group = together == experiment.replicas
                ? scale.ranks
                : (together + scale.replicas_per_rank - 1) / scale.replicas_per_rank;
  }
  if (scale.ranks % group != 0) return std::numeric_limits<double>::quiet_NaN();
  return predict(measure_schedule(loaded, scale, comm), parse_network(scale.network), scale.ranks,
                 group, reduction_algorithm(experiment))
      .step;
}

}  // namespace syncnorm
