// Saves a run: its folder and lock, and checkpoints, which are written concurrently with training.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/state/checkpoint.h"
#include "engine/state/checkpoint_writer.h"
#include "engine/state/run_lock.h"
#include "engine/train/run_record.h"
#include "engine/train/setup.h"

namespace syncnorm {

class Saver {
 public:
  Saver(Setup& setup, RunRecord& record);

  const CheckpointFolder& checkpoints() const { return checkpoints_; }
  std::int64_t saved_step() const { return saved_step_; }  // -1: none
  void restored(std::int64_t step) { saved_step_ = step; }

  /// On rank 0, if the folder exists: locks it and removes the remains of an interrupted save.
  void lock_used_folder();
  /// On rank 0: creates the folder if needed, and starts the writer.
  void take_folder();
  bool has_folder() const { return writer_ != nullptr; }

  /// Takes a snapshot of the state after `step`, which is written concurrently. Collective.
  void save(std::int64_t step, bool last);
  /// Saves before training ends: tries twice, then throws CheckpointError on every rank.
  /// Collective.
  void save_and_wait(std::int64_t step, bool last);
  /// On rank 0: report the checkpoints written since the last call; drain() first waits for all.
  void tell_finished() { tell(writer_->finished()); }
  void drain() { tell(writer_->drain()); }

 private:
  Checkpoint snapshot(std::int64_t step, bool last) const;
  std::string tell(const std::vector<CheckpointOutcome>& outcomes);

  Setup& setup_;
  RunRecord& record_;
  CheckpointFolder checkpoints_;
  std::int64_t saved_step_ = -1;
  std::optional<RunLock> lock_;               // rank 0
  std::unique_ptr<CheckpointWriter> writer_;  // rank 0
};

}  // namespace syncnorm
