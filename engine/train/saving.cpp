// What the trainer does with its run folder: taking it, and saving to it beside training.
#include <chrono>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/train/agreement.h"
#include "engine/train/trainer.h"

namespace syncnorm {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

void Trainer::take_run_folder() {
  create_run_folder(experiment_.run_dir);
  if (!run_lock_) run_lock_.emplace(experiment_.run_dir);
  writer_ = std::make_unique<CheckpointWriter>(checkpoints_);
}

Checkpoint Trainer::snapshot(std::int64_t step, bool last) {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.epoch = epoch_of(step);
  checkpoint.sample_position = step % length_.steps_per_epoch * plan_.global_batch();
  checkpoint.config = loaded_.yaml;
  checkpoint.data_fingerprint = dataset_.fingerprint;
  checkpoint.data_folder_fingerprint = dataset_.folder_fingerprint;
  checkpoint.best_step = best_step_;
  checkpoint.best_accuracy = best_accuracy_;
  checkpoint.last = last;
  return checkpoint;
}

/// Takes a snapshot; it is written beside training.
void Trainer::save(std::int64_t step, bool last) {
  const auto begin = Clock::now();
  compare_parameters(step);  // wrong ones must not be kept
  record(FlightKind::mark, "a checkpoint", step);
  running_->average();
  const std::vector<float> all = running_->gather_all();
  notify(&Observer::on_snapshot, SnapshotEvent{step});
  if (root()) {
    Checkpoint checkpoint = snapshot(step, last);
    checkpoint.files =
        state_to_files({graph_, full_->program(), memory_, *optimizer_, *running_}, step, all);
    writer_->submit(std::move(checkpoint));
  }
  saved_step_ = step;
  checkpoint_seconds_ += since(begin);
}

/// Before training ends: tries twice, and throws CheckpointError, on every rank.
void Trainer::save_and_wait(std::int64_t step, bool last) {
  std::string problem = "?";
  for (int attempt = 0; attempt < 2 && !problem.empty(); ++attempt) {
    save(step, last);
    const auto begin = Clock::now();
    problem = from_rank_0(comm_, root() ? tell_checkpoints(writer_->drain()) : "");
    checkpoint_seconds_ += since(begin);
  }
  if (!problem.empty())
    throw CheckpointError(problem +
                          "; the last step is not saved: make room, and go on from the "
                          "checkpoint before with --resume auto");
}

/// Returns why the last of them was not written; empty: it was.
std::string Trainer::tell_checkpoints(const std::vector<CheckpointOutcome>& outcomes) {
  for (const CheckpointOutcome& outcome : outcomes)
    if (outcome.problem.empty())
      notify(&Observer::on_checkpoint,
             CheckpointEvent{outcome.step, outcome.path, outcome.bytes, outcome.seconds});
    else
      notify(&Observer::on_checkpoint_failed, CheckpointFailedEvent{outcome.step, outcome.problem});
  return outcomes.empty() ? "" : outcomes.back().problem;
}

}  // namespace syncnorm
