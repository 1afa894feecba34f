// Saving a run: its folder and lock, and checkpoints written beside training.
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

  /// Rank 0, where the folder is there already: locks it and removes what an interrupted save left.
  void lock_used_folder();
  /// Rank 0: makes the folder where it is not there, and starts to write to it.
  void take_folder();
  bool has_folder() const { return writer_ != nullptr; }

  /// Takes a snapshot of the state after `step`; it is written beside training. Collective.
  void save(std::int64_t step, bool last);
  /// Before training ends: tries twice, and throws CheckpointError on every rank. Collective.
  void save_and_wait(std::int64_t step, bool last);
  /// Rank 0: tells of the checkpoints written since the last call, or of all once they are.
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
