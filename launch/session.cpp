// See session.h.
#include "launch/session.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <set>

#include <fmt/format.h>

#include "base/error.h"
#include "base/printable.h"
#include "comm/agreement.h"
#include "comm/nccl/nccl.h"
#include "comm/node.h"
#include "engine/train/trainer.h"
#include "launch/build_info.h"
#include "launch/signals.h"
#include "launch/terminal.h"
#include "monitoring/console.h"
#include "monitoring/metrics.h"
#include "monitoring/run_log.h"
#include "monitoring/tensorboard.h"

namespace syncnorm {
namespace {

/// Until the ranks have met, no watchdog runs: the process ends when they do not meet in time.
constexpr unsigned kMeetingSeconds = 300;
constexpr const char* kNotMet = "syncnorm: the other ranks did not come within 300 s\n";

constexpr double kPatience = 30.0;  // seconds for publishing the outcome, besides metrics.linger

}  // namespace

LoadedExperiment load_on_all_ranks(const CommandLine& line, Communicator& comm) {
  const ExitDeadline meeting(kMeetingSeconds, kNotMet);
  LoadedExperiment loaded;
  agree(comm, [&] { loaded = load_experiment(line.file, line.overrides); });
  return loaded;
}

Dataset load_data_on_all_ranks(const LoadedExperiment& loaded, Communicator& comm) {
  Dataset dataset;
  const Experiment& experiment = loaded.experiment;
  agree(comm, [&] {
    dataset = load_dataset(experiment.data, experiment.seed, experiment.global_batch());
  });
  if (comm.rank() == 0)
    for (const std::string& note : dataset.notes) std::cerr << "syncnorm: " + note + "\n";
  return dataset;
}

std::unique_ptr<Device> make_device(const Experiment& experiment, Communicator& comm) {
  std::unique_ptr<Device> device;
  const int local = local_rank(comm);
  agree(comm, [&] {
    device = experiment.device == DeviceKind::cpu ? make_cpu_device() : make_cuda_device(local);
    device->use_storage(activation_storage(experiment.precision),
                        experiment.precision == Precision::bf16_emulated);
  });
  check_units(comm.all_gather_text(device->unit()), experiment.allow_shared_gpu);
  return device;
}

std::unique_ptr<Communicator> make_device_communicator(Device& device, Communicator& comm,
                                                       bool force) {
  if (device.host_memory() || (comm.size() == 1 && !force)) return nullptr;
  compare_fingerprints(comm, {{"device", device.description()}});
  const std::vector<std::string> units = comm.all_gather_text(device.unit());
  if (std::set(units.begin(), units.end()).size() < units.size()) {
    // NCCL refuses ranks of one host that share a GPU, but not ranks of different hosts.
    setenv("NCCL_HOSTID", fmt::format("syncnorm-{}", comm.rank()).c_str(), 1);
    setenv("NCCL_SOCKET_IFNAME", "lo", 0);
  }
  try {
    agree(comm, require_nccl);
  } catch (const Error&) {
    if (comm.size() > 1) throw;
    return make_self_communicator(
        [&device](void* to, const void* from, std::size_t bytes) { device.copy(to, from, bytes); });
  }
  return make_nccl_communicator(comm, device.native_queue(Queue::communication));
}

std::unique_ptr<Watchdog> make_watchdog(const Experiment& experiment,
                                        const FlightRecorder& recorder, Communicator& comm) {
  const ExitDeadline meeting(kMeetingSeconds, kNotMet);
  return std::make_unique<Watchdog>(comm, recorder, experiment.fault.deadline,
                                    experiment.metrics.linger + kPatience,
                                    std::filesystem::path(experiment.run_dir) / "flight");
}

void train_experiment(const LoadedExperiment& loaded, const CommandLine& line, Communicator& comm) {
  std::unique_ptr<Faults> faults;
  agree(comm, [&] { faults = make_faults(line.faults, comm.rank()); });
  FlightRecorder recorder;
  const std::unique_ptr<Watchdog> watchdog = make_watchdog(loaded.experiment, recorder, comm);
  recorder.record(FlightKind::mark, recorder.name("loading data"), 0);
  const std::unique_ptr<Device> device = make_device(loaded.experiment, comm);
  const std::unique_ptr<Communicator> device_comm = make_device_communicator(*device, comm);
  const Dataset dataset = load_data_on_all_ranks(loaded, comm);
  const auto warn = [](const std::string& warning) {
    std::cerr << "syncnorm: " << printable(warning) << std::endl;
  };
  RunLog log(warn);
  Console console(std::cout, can_redraw() ? terminal_columns : Console::Columns());
  TrainerOptions options;
  options.resume = line.resume;
  options.init_from = line.init_from;
  options.recorder = &recorder;
  options.faults = faults.get();
  options.version = kVersion;
  options.device_communicator = device_comm.get();
  options.record_steps = line.faults.empty();  // a fault acts inside a step, on one rank
  options.observers = {&log, &console};
  TensorBoard tensorboard(warn);
  if (loaded.experiment.metrics.tensorboard) options.observers.push_back(&tensorboard);
  std::unique_ptr<Metrics> metrics;
  if (loaded.experiment.metrics.any()) {
    metrics = std::make_unique<Metrics>(
        loaded, comm,
        Labels{{"version", kVersion}, {"build_type", kBuildType}, {"compiler", kCompiler}}, warn);
    options.observers.push_back(metrics.get());
    options.rank_observer = metrics.get();
  }
  options.stop_requested = &stop_requested();
  try {
    Trainer(loaded, dataset, *device, comm, options).run();
  } catch (const PeerLostError& error) {
    watchdog->leave_record(error.what());
    throw;
  }
}

}  // namespace syncnorm
