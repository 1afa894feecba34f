// What an experiment needs before its first step, on one rank: the samples and how they are dealt,
// the model, the compiled programs, the memory behind them, and those that work on it.
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
#include "engine/train/evaluate.h"
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
  FlightRecorder* recorder = nullptr;                 // told what this rank does, when not null
  Faults* faults = nullptr;                           // of this rank, when not null
  const std::atomic<bool>* stop_requested = nullptr;  // polled once a step, on every rank
  // A communicator of the same ranks whose collectives are queued on the device
  // (make_nccl_communicator). Several ranks need it where devices have memory of their own.
  Communicator* device_communicator = nullptr;
  bool force_reductions = false;  // also where there is a single rank, on such a device
  bool record_steps = true;       // where the device can; the same on all ranks, or NCCL hangs
};

/// Steps and epochs of an experiment on `train_samples` samples.
struct RunLength {
  std::int64_t steps_per_epoch = 1;
  std::int64_t total_steps = 1;
};
RunLength run_length(const Experiment& experiment, std::int64_t train_samples);

/// Checks that need one process and no device: the model fits the data, ranks fit replicas.
/// Mistakes have their places in the file.
Graph checked_model(const LoadedExperiment& loaded, const Dataset& dataset);
void check_ranks(const LoadedExperiment& loaded, int ranks);

class Setup {
 public:
  /// Compiles the programs, and compares them and the ranks. Collective; throws the same Error on
  /// every rank. All references must outlive it.
  Setup(const LoadedExperiment& loaded, const Dataset& dataset, Device& device, Communicator& comm,
        TrainerOptions options);
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;

  /// Parameters and running statistics of a fresh start.
  void initialize();
  /// The compiled step as text, and the memory it takes on this rank.
  std::string plan_text() const;

  bool root() const { return comm.rank() == 0; }
  Communicator& device_comm() {
    return options.device_communicator != nullptr ? *options.device_communicator : comm;
  }
  /// Counted from 1: the epoch of the last of `updates` updates.
  std::int64_t epoch_of(std::int64_t updates) const;
  /// The executor of a batch: the last one of an epoch may be smaller.
  Executor& executor_of(const Batch& batch) const {
    return batch.global_samples < batching.global_batch() ? *tail : *full;
  }
  /// Tells the flight recorder, where there is one.
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
  std::unique_ptr<StatisticsGroups> groups;  // where statistics cross replicas
  std::unique_ptr<Executor> full, tail;      // tail: of the last, smaller global batch
  std::unique_ptr<RunningStatistics> running;
  std::unique_ptr<PreciseStatistics> precise;  // norm.precise_samples
  std::unique_ptr<Probes> probes;              // probes.every_steps
  std::unique_ptr<Evaluator> evaluator;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Steps> steps;
  std::vector<std::unique_ptr<ExecutionHook>> hooks;  // of the executors: faults, flight records

 private:
  void plan_samples();
  void build_programs();
  void prepare(Executor& executor);
  void build_workers();
  void compare_ranks();
};

}  // namespace syncnorm
