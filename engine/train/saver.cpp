// See saver.h.
#include "engine/train/saver.h"

#include <filesystem>
#include <map>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"
#include "comm/agreement.h"
#include "engine/state/state_files.h"
#include "engine/train/divergence.h"

namespace syncnorm {
Saver::Saver(Setup& setup, RunRecord& record)
    : setup_(setup),
      record_(record),
      checkpoints_(std::filesystem::path(setup.experiment.run_dir) / "checkpoints",
                   setup.experiment.checkpoint.keep, setup.options.faults) {}

void Saver::lock_used_folder() {
  if (!std::filesystem::is_directory(setup_.experiment.run_dir)) return;
  lock_.emplace(setup_.experiment.run_dir);
  checkpoints_.clean();
}

void Saver::take_folder() {
  create_run_folder(setup_.experiment.run_dir);
  if (!lock_) lock_.emplace(setup_.experiment.run_dir);
  writer_ = std::make_unique<CheckpointWriter>(checkpoints_);
}

Checkpoint Saver::snapshot(std::int64_t step, bool last) const {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.epoch = setup_.epoch_of(step);
  checkpoint.sample_position =
      step % setup_.length.steps_per_epoch * setup_.batching.global_batch();
  checkpoint.config = setup_.loaded.yaml;
  checkpoint.data_fingerprint = setup_.dataset.fingerprint;
  checkpoint.data_folder_fingerprint = setup_.dataset.folder_fingerprint;
  checkpoint.input = describe_input(setup_.dataset);
  checkpoint.best_step = record_.best_step();
  checkpoint.best_score = record_.best_score();
  checkpoint.last = last;
  return checkpoint;
}

void Saver::save(std::int64_t step, bool last) {
  const auto begin = Clock::now();
  compare_parameters(setup_, step);  // wrong parameters must not be saved
  setup_.record(FlightKind::mark, "a checkpoint", step);
  setup_.running->average();
  const std::vector<float> all = setup_.running->gather_all();
  const std::vector<float> history = setup_.running->gather_history();
  setup_.notify(&Observer::on_snapshot, SnapshotEvent{step});
  std::map<std::string, std::string> files;
  const auto state = [&] {
    return TrainingState{setup_.graph, setup_.full->program(), setup_.memory,
                         setup_.optimizer->state(), *setup_.running};
  };
  if (setup_.root()) files = state_to_files(state(), step, all, history);
  if (setup_.average != nullptr) {
    const WithAverage exchanged(*setup_.average);
    setup_.running->average();
    std::vector<float> averages;
    if (setup_.average->has_running()) averages = setup_.running->gather_all();
    if (setup_.root()) add_average(state(), step, averages, files);
  }
  if (setup_.root()) {
    Checkpoint checkpoint = snapshot(step, last);
    checkpoint.files = std::move(files);
    writer_->submit(std::move(checkpoint));
  }
  saved_step_ = step;
  record_.add_checkpoint_seconds(seconds_since(begin));
}

void Saver::save_and_wait(std::int64_t step, bool last) {
  std::string problem = "?";
  for (int attempt = 0; attempt < 2 && !problem.empty(); ++attempt) {
    save(step, last);
    const auto begin = Clock::now();
    problem = from_rank_0(setup_.comm, setup_.root() ? tell(writer_->drain()) : "");
    record_.add_checkpoint_seconds(seconds_since(begin));
  }
  if (!problem.empty())
    throw CheckpointError(problem +
                          "; the last step is not saved: make room, and go on from the "
                          "checkpoint before with --resume auto");
}

/// Reports the outcomes; returns why the last checkpoint was not written, or "".
std::string Saver::tell(const std::vector<CheckpointOutcome>& outcomes) {
  for (const CheckpointOutcome& outcome : outcomes)
    if (outcome.problem.empty())
      setup_.notify(&Observer::on_checkpoint,
                    CheckpointEvent{outcome.step, outcome.path, outcome.bytes, outcome.seconds});
    else
      setup_.notify(&Observer::on_checkpoint_failed,
                    CheckpointFailedEvent{outcome.step, outcome.problem});
  return outcomes.empty() ? "" : outcomes.back().problem;
}

}  // namespace syncnorm
