// What the commands share: the configuration, the data and the device of this rank.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/watchdog.h"
#include "engine/config/load.h"
#include "engine/data/dataset.h"
#include "kernels/device.h"
#include "launch/commands.h"

namespace syncnorm {

/// Loads and checks the experiment on every rank; mistakes are thrown once, for all.
LoadedExperiment load_on_all_ranks(const CommandLine& line, Communicator& comm);

Dataset load_data_on_all_ranks(const LoadedExperiment& loaded, Communicator& comm);

/// The device that the experiment asks for, for this rank.
std::unique_ptr<Device> make_device(const Experiment& experiment, Communicator& comm);

/// What reduces between such devices; null where the ranks' own communicator does, and for a single
/// rank unless `force`. Collective; ranks on one GPU take a detour that is right and slow.
std::unique_ptr<Communicator> make_device_communicator(Device& device, Communicator& comm,
                                                       bool force = false);

/// Watches this thread until the job's end. Collective.
std::unique_ptr<Watchdog> make_watchdog(const Experiment& experiment,
                                        const FlightRecorder& recorder, Communicator& comm);

/// Trains one experiment with the run log and the console attached; what `train` does and `compare`
/// repeats; `line` says how to resume, what to begin with and what to break. Throws as Trainer::run
/// does.
void train_experiment(const LoadedExperiment& loaded, const CommandLine& line, Communicator& comm);

}  // namespace syncnorm
