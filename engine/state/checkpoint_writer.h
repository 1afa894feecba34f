// Checkpoints written beside training: a thread that takes one snapshot after the other.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/state/checkpoint.h"

namespace syncnorm {

struct CheckpointOutcome {
  std::int64_t step = 0;
  std::string path;  // folder
  std::int64_t bytes = 0;
  double seconds = 0.0;  // of writing
  std::string problem;   // why it was not written; empty: it was
};

class CheckpointWriter {
 public:
  explicit CheckpointWriter(CheckpointFolder folder);
  /// Ends when what was submitted is written.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Waits until the snapshot before is written, then returns at once.
  void submit(Checkpoint checkpoint);
  /// What has come of the snapshots since the last call, in order.
  std::vector<CheckpointOutcome> finished();
  /// The same, after all of them are written.
  std::vector<CheckpointOutcome> drain();

 private:
  void work();
  CheckpointOutcome write(const Checkpoint& checkpoint);

  CheckpointFolder folder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Checkpoint> next_;  // being written, too
  std::vector<CheckpointOutcome> outcomes_;
  bool leaving_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace syncnorm
