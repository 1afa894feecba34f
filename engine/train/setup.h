// Everything that an experiment needs before its first step, on one rank: the samples and their
// assignment to ranks, the model, the compiled programs, their memory, and the objects that use it.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine/config/load.h"
#include "engine/data/dataset.h"
#include "engine/data/loader.h"
#include "engine/data/sampler.h"
#include "engine/fault/faults.h"
#include "engine/probe/probes.h"
#include "engine/state/running.h"
#include "engine/train/evaluation.h"
#include "engine/train/observer.h"
#include "engine/train/optimizer.h"
#include "engine/train/precise.h"
#include "engine/train/steps.h"

namespace syncnorm {

struct TrainerOptions {
  std::string resume;     // "", "auto" or a checkpoint folder
  std::string init_from;  // weights of a fresh start: "", a checkpoint folder or .safetensors file
  std::string version = "unknown";
  std::vector<Observer*> observers;                   // called on rank 0
  RankObserver* rank_observer = nullptr;              // called on this rank, when not null
  FlightRecorder* recorder = nullptr;                 // records what this rank does, when not null
  Faults* faults = nullptr;                           // of this rank, when not null
  const std::atomic<bool>* stop_requested = nullptr;  // polled once a step, on every rank
  // A communicator of the same ranks whose collectives are queued on the device
  // (make_nccl_communicator). Required for several ranks on devices with their own memory.
  Communicator* device_communicator = nullptr;
  bool force_reductions = false;  // on such a device: see ProgramOptions
  bool record_steps = true;       // if the device can; must be the same on all ranks, or NCCL hangs
};

/// Number of steps of an experiment on `train_samples` samples.
struct RunLength {
  std::int64_t steps_per_epoch = 1;
  std::int64_t total_steps = 1;
};
RunLength run_length(const Experiment& experiment, std::int64_t train_samples);

/// Check, in one process and without a device, that the model and the loss fit the data and the
/// ranks fit the replicas. Errors have their location in the file.
Graph checked_model(const LoadedExperiment& loaded, const Dataset& dataset);
/// Returns the model for the images of an evaluation, which may be larger than those of training;
/// its parameters are the same.
Graph evaluation_model(const LoadedExperiment& loaded, const Dataset& dataset);
void check_ranks(const LoadedExperiment& loaded, int ranks);

class Setup {
 public:
  /// Compiles the programs, and compares them and the configuration between ranks. Collective;
  /// throws the same Error on every rank. All references must outlive this.
  Setup(const LoadedExperiment& loaded, const Dataset& dataset, Device& device, Communicator& comm,
        TrainerOptions options);
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;

  /// Sets parameters and running statistics for a fresh start.
  void initialize();
  /// Returns the compiled step as text, with its memory on this rank.
  std::string plan_text() const;

  bool root() const { return comm.rank() == 0; }
  Communicator& device_comm() {
    return options.device_communicator != nullptr ? *options.device_communicator : comm;
  }
  /// Returns the epoch of the last of `updates` updates, from 1.
  std::int64_t epoch_of(std::int64_t updates) const;
  /// Returns the executor for a batch: the last one of an epoch may be smaller.
  Executor& executor_of(const Batch& batch) const {
    return batch.global_samples < batching.global_batch() ? *tail : *full;
  }
  /// Writes to the flight recorder, if there is one.
  void record(FlightKind kind, const char* what, std::int64_t step) const;
  FaultEffect meet_fault(FaultPlace place, std::int64_t step) const;
  template <class Event>
  void notify(void (Observer::*method)(const Event&), const Event& event) const {
    if (!root()) return;
    for (Observer* observer : options.observers) (observer->*method)(event);
  }

  const LoadedExperiment loaded;
  const Experiment& experiment;
  const Dataset& dataset;
  Device& device;
  Communicator& comm;
  const TrainerOptions options;

  Graph graph;
  Placement placement;
  Splits splits;
  Batching batching;
  RunLength length;
  Memory memory;
  std::unique_ptr<StatisticsGroups> groups;  // if statistics cross replicas
  std::unique_ptr<Executor> full, tail;      // tail: for the last, smaller global batch
  std::unique_ptr<RunningStatistics> running;
  std::unique_ptr<PreciseStatistics> precise;  // norm.precise_samples
  std::unique_ptr<Probes> probes;              // probes.every_steps
  std::unique_ptr<Evaluation> evaluation;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<WeightAverage> average;  // ema.decay
  std::unique_ptr<Steps> steps;
  std::vector<std::unique_ptr<ExecutionHook>> hooks;  // of the executors: faults, flight recorder

 private:
  void plan_samples();
  void build_programs();
  void prepare(Executor& executor);
  void build_workers();
  void compare_ranks();
};

}  // namespace syncnorm
