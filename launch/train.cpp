// syncnorm train: trains one experiment, or checks or prints its configuration.
#include <iostream>
#include <sstream>
#include <string>

#include <fmt/format.h>

#include "base/printable.h"
#include "comm/agreement.h"
#include "engine/config/locations.h"
#include "engine/model/norm_table.h"
#include "engine/model/zoo.h"
#include "engine/train/trainer.h"
#include "launch/build_info.h"
#include "launch/commands.h"
#include "launch/print_value.h"
#include "launch/session.h"

namespace syncnorm {
namespace {

/// Returns the lines as comments of YAML, below an empty line.
std::string commented(const std::string& lines) {
  std::string text;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);)
    text += (text.empty() ? "\n# " : "# ") + line + "\n";
  return text;
}

}  // namespace

int run_train(const CommandLine& line, Communicator& comm) {
  const LoadedExperiment loaded = load_on_all_ranks(line, comm);
  if (line.print_config) {
    std::string norms;
    if (!loaded.experiment.norm_rules.empty())
      agree(comm, [&] {
        with_locations(loaded,
                       [&] { norms = norm_table(build_model_without_data(loaded.experiment)); });
      });
    if (comm.rank() == 0) std::cout << printable(print_config(loaded)) << commented(norms);
    return 0;
  }
  if (!line.print.empty()) {
    std::string value;
    agree(comm, [&] { value = value_of(loaded, line.print); });
    if (comm.rank() == 0) std::cout << value << '\n';
    return 0;
  }
  if (line.dry_run) {
    const std::unique_ptr<Device> device = make_device(loaded.experiment, comm);
    const Dataset dataset = load_data_on_all_ranks(loaded, comm);
    TrainerOptions options;
    options.version = kVersion;
    options.resume = line.resume;
    options.init_from = line.init_from;
    Trainer(loaded, dataset, *device, comm, options).check_start();
    if (comm.rank() == 0)
      std::cout << summary(dataset) << "\n"
                << fmt::format("{}: no mistakes found; {} steps of {} samples on {} rank{}\n",
                               printable(line.file),
                               run_length(loaded.experiment,
                                          static_cast<std::int64_t>(dataset.train.size()) -
                                              loaded.experiment.data.validation)
                                   .total_steps,
                               loaded.experiment.global_batch(), comm.size(),
                               comm.size() == 1 ? "" : "s");
    return 0;
  }
  train_experiment(loaded, line, comm);
  return 0;
}

}  // namespace syncnorm
