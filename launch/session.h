// Setup that commands share: the configuration, the data and the device of this rank.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/watchdog.h"
#include "engine/config/load.h"
#include "engine/data/dataset.h"
#include "kernels/device.h"
#include "launch/commands.h"

namespace syncnorm {

/// Loads and checks the experiment on every rank. An error is thrown on all ranks alike.
LoadedExperiment load_on_all_ranks(const CommandLine& line, Communicator& comm);

Dataset load_data_on_all_ranks(const LoadedExperiment& loaded, Communicator& comm);

/// Makes the device that the experiment names, for this rank. Collective.
std::unique_ptr<Device> make_device(const Experiment& experiment, Communicator& comm);

/// Makes the communicator for reductions between GPUs; returns null for devices in host memory,
/// where `comm` itself reduces, and for a single rank unless `force`: then NCCL with one rank, or
/// copies on the device where NCCL is missing. Collective. Ranks that share a GPU communicate
/// correctly but slowly.
std::unique_ptr<Communicator> make_device_communicator(Device& device, Communicator& comm,
                                                       bool force = false);

/// Makes a watchdog that watches this thread until the job's end. Collective.
std::unique_ptr<Watchdog> make_watchdog(const Experiment& experiment,
                                        const FlightRecorder& recorder, Communicator& comm);

/// Trains one experiment with the run log and the console attached: once for `train`, for every run
/// in `compare`. `line` says what to resume, which weights to begin with and which faults to
/// inject. Throws as Trainer::run does.
void train_experiment(const LoadedExperiment& loaded, const CommandLine& line, Communicator& comm);

}  // namespace syncnorm
