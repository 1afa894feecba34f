// syncnorm plan: prints the compiled step of one rank that hosts all replicas.
#include <iostream>

#include "base/printable.h"
#include "engine/train/setup.h"
#include "launch/build_info.h"
#include "launch/commands.h"
#include "launch/session.h"

namespace syncnorm {

int run_plan(const CommandLine& line, Communicator& comm) {
  if (line.scale.ranks > 0) return run_plan_scale(line, comm);
  const LoadedExperiment loaded = load_on_all_ranks(line, comm);
  const std::unique_ptr<Device> device = make_device(loaded.experiment, comm);
  const Dataset dataset = load_data_on_all_ranks(loaded, comm);
  TrainerOptions options;
  options.version = kVersion;
  const Setup setup(loaded, dataset, *device, comm, options);
  std::cout << printable(setup.plan_text());
  return 0;
}

}  // namespace syncnorm
