// The trainer: runs one experiment to its end, from a fresh start or a checkpoint, on all ranks.
#pragma once

#include <optional>
#include <string>

#include "engine/state/resume.h"
#include "engine/train/saver.h"
#include "engine/train/step_loop.h"

namespace syncnorm {

class Trainer {
 public:
  /// See Setup.
  Trainer(const LoadedExperiment& loaded, const Dataset& dataset, Device& device,
          Communicator& comm, TrainerOptions options);

  /// Reads the checkpoint or weights from which run() would start, and throws as run() would;
  /// writes nothing. Collective.
  void check_start();

  /// Trains to the end. Throws DivergedError, or Error with ExitCode::stopped after saving the
  /// checkpoint of a stop request; both on every rank.
  EndEvent run();

 private:
  std::int64_t start_or_resume();
  std::optional<ResumePoint> take_state();
  void restore(const Checkpoint& checkpoint);
  void take_average(const Checkpoint* checkpoint);
  void start_from(const std::string& path);
  StartEvent start_event(std::int64_t first_step);
  ResumeEvent resume_event(const ResumePoint& point) const;

  void finish_steps(std::size_t left);
  [[noreturn]] void fail(const StepDone& step);
  void probe(const StepDone& step);
  void after_step(std::int64_t step, bool stop);
  bool work_is_due(std::int64_t step) const;
  bool due(std::int64_t step, int every_epochs, int every_steps) const;

  void evaluate(std::int64_t step);
  void show_examples();
  EvalEvent event_of(const EvaluationColumn& column, std::int64_t step) const;
  void take_precise_statistics(std::int64_t step);
  EndEvent finish(std::int64_t step, const std::string& status, const std::string& message);

  Setup setup_;
  RunRecord record_;
  CorruptImages corrupt_;
  StepLoop loop_;
  Saver saver_;
  bool run_folder_taken_ = false;  // on every rank
  bool average_begins_ = false;    // the checkpoint to resume from has no averaged weights
  bool stop_agreed_ = false;
  std::int64_t evaluated_step_ = -1;
};

}  // namespace syncnorm
