// The trainer: one experiment from start or checkpoint to its end, on all ranks together.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/load.h"
#include "engine/data/dataset.h"
#include "engine/data/loader.h"
#include "engine/data/sampler.h"
#include "engine/train/bench.h"
#include "engine/train/checkpoint.h"
#include "engine/train/checkpoint_writer.h"
#include "engine/train/evaluate.h"
#include "engine/train/layer_statistics.h"
#include "engine/train/observer.h"
#include "engine/train/precise.h"
#include "engine/train/probes.h"
#include "engine/train/resume.h"
#include "engine/train/run_lock.h"
#include "engine/train/state_files.h"
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
  // Of the same ranks, its collectives queued on the device (make_nccl_communicator): needed by
  // several ranks whose devices have memory of their own.
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

/// Runs `action`; an InputError that names a key or a layer gets the place in the file in front.
void with_places(const LoadedExperiment& loaded, const std::function<void()>& action);

/// Everything that can be checked before training, on one process: the model fits the data, ranks
/// fit replicas. Mistakes have their places in the file.
Graph checked_model(const LoadedExperiment& loaded, const Dataset& dataset);
void check_ranks(const LoadedExperiment& loaded, int ranks);

class Trainer {
 public:
  /// Compiles the programs. Collective; throws the same Error on every rank.
  Trainer(const LoadedExperiment& loaded, const Dataset& dataset, Device& device,
          Communicator& comm, TrainerOptions options);
  ~Trainer();

  /// Reads what run() would begin with, a checkpoint or weights, and throws as it would; nothing is
  /// written. Collective.
  void check_start();

  /// Trains to the end. Throws DivergedError, or Error with ExitCode::stopped after a checkpoint
  /// that a stop request asked for; both on every rank.
  EndEvent run();

  /// Measures steps of a fresh start; nothing is written. Collective.
  StepBench bench(const BenchOptions& options);

  /// Measures every instruction in `steps` steps of a fresh start, after some that are not counted;
  /// nothing is written. Requires a device with host memory. Collective.
  StepTimes time_instructions(int steps);
  /// What a step runs.
  const Program& program() const { return full_->program(); }

  /// The compiled step as text, and the memory it takes on this rank.
  std::string plan() const;

 private:
  void build_programs();
  void compare_ranks();
  void initialize();
  std::unique_ptr<Loader> make_loader(std::int64_t first_step, std::int64_t total_steps);
  std::int64_t start_or_resume();
  std::optional<ResumePoint> take_state();
  void restore(const Checkpoint& checkpoint);
  void start_from(const std::string& path);
  void take_run_folder();
  void start_step(std::int64_t step);
  StepEvent finish_step();
  void finish_steps(std::size_t left);
  StepEvent one_step(std::int64_t step);
  double timed_steps(std::int64_t& step, int count);
  bool looked_at(std::int64_t step) const;
  bool work_is_due(std::int64_t step) const;
  bool due(std::int64_t step, int every_epochs, int every_steps) const;
  void probe(const StepEvent& step, const StepState& state, const Batch& batch);
  static BatchView view(const Batch& batch) {
    return {batch.images, batch.labels.data(), batch.sample_ids.data(), batch.pixels, batch.maps};
  }
  void tell_rank_start();
  RankStepEvent rank_totals() const;
  void tell_rank_step(const StepEvent& event, const RankStepEvent& before, double gradient_norm);
  void after_step(std::int64_t step, bool stop);
  void record(FlightKind kind, const char* what, std::int64_t step);
  FaultEffect meet_fault(FaultPlace place, std::int64_t step);
  void flip_parameter();
  void evaluate(std::int64_t step);
  void evaluate_split(std::int64_t step, const std::string& split, const ImageSet& images,
                      std::span<const std::uint32_t> samples);
  Checkpoint snapshot(std::int64_t step, bool last);
  void save(std::int64_t step, bool last);
  void save_and_wait(std::int64_t step, bool last);
  std::string tell_checkpoints(const std::vector<CheckpointOutcome>& outcomes);
  void note_corrupt(const std::vector<CorruptImage>& images);
  [[noreturn]] void stop_on_corrupt(std::int64_t step, const Batch& batch);
  std::vector<CorruptImage> corrupt_on_all_ranks();
  void take_precise_statistics(std::int64_t step);
  [[noreturn]] void diverged(std::int64_t step, const Batch& batch, Executor& executor,
                             double loss);
  Communicator& device_comm() {
    return options_.device_communicator != nullptr ? *options_.device_communicator : comm_;
  }
  bool finite_again(const StepState& state, const BatchView& batch, Executor& executor);
  std::string where_forward(const StepState& state, const BatchView& batch, Executor& executor);
  std::string where_backward() const;
  void compare_parameters(std::int64_t step);
  EndEvent finish(std::int64_t step, const std::string& status, const std::string& message);
  std::int64_t epoch_of(std::int64_t updates) const;  // from 1, of the last of `updates` updates
  bool root() const { return comm_.rank() == 0; }
  template <class Event>
  void notify(void (Observer::*method)(const Event&), const Event& event) {
    if (!root()) return;
    for (Observer* observer : options_.observers) (observer->*method)(event);
  }

  LoadedExperiment loaded_;
  const Experiment& experiment_;
  const Dataset& dataset_;
  Device& device_;
  Communicator& comm_;
  TrainerOptions options_;

  Graph graph_;
  Placement placement_;
  Splits splits_;
  BatchPlan plan_;
  RunLength length_;
  Memory memory_;
  std::unique_ptr<StatisticsGroups> groups_;
  std::unique_ptr<Executor> full_, tail_;  // tail_: the last, smaller global batch
  std::unique_ptr<RunningStatistics> running_;
  std::unique_ptr<PreciseStatistics> precise_;  // norm.precise_samples
  std::unique_ptr<Probes> probes_;              // probes.every_steps
  std::unique_ptr<Evaluator> evaluator_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Steps> steps_;
  /// A step between start_step() and finish_step().
  struct Pending {
    StepState state;
    const Batch* batch;
    Executor* executor;
    double rate, data_seconds, reducing_before;
    RankStepEvent before;
    std::chrono::steady_clock::time_point begin;
    bool sampled, probed;
    std::span<const LayerSums> layers;
  };
  std::vector<Pending> pending_;                    // the oldest first
  std::chrono::steady_clock::time_point finished_;  // the last step
  Buffer image_memory_;                             // of loader_, where a device copies from it
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<LayerStatistics> layers_;  // with a rank observer
  bool sample_due_ = true;                   // from the first step on, then now and then
  CheckpointFolder checkpoints_;
  std::optional<RunLock> run_lock_;  // on rank 0, like what follows
  std::unique_ptr<CheckpointWriter> writer_;

  bool run_folder_taken_ = false;  // on every rank
  bool stop_agreed_ = false;
  std::map<std::string, std::string> corrupt_;  // path to reason, of this rank
  std::int64_t best_step_ = -1;
  double best_accuracy_ = -1.0;
  double validation_accuracy_ = -1.0;  // of the last evaluation
  std::int64_t saved_step_ = -1;
  EvalEvent last_test_;
  bool tested_ = false;
  std::int64_t evaluated_step_ = -1;
  double step_seconds_ = 0.0, reduction_seconds_ = 0.0, data_seconds_ = 0.0;
  double evaluation_seconds_ = 0.0, checkpoint_seconds_ = 0.0;
  std::vector<double> step_times_, recent_losses_;
  std::vector<std::int64_t> step_samples_;
};

}  // namespace syncnorm
