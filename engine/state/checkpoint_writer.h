// Writes checkpoints concurrently with training: a thread writes one snapshot after another.
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
  double seconds = 0.0;  // for writing
  std::string problem;   // why it was not written; empty on success
};

class CheckpointWriter {
 public:
  explicit CheckpointWriter(CheckpointFolder folder);
  /// Waits until everything submitted is written.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Submits a snapshot; first waits until the previous one is written.
  void submit(Checkpoint checkpoint);
  /// Returns the outcomes of snapshots written since the last call, in order.
  std::vector<CheckpointOutcome> finished();
  /// Waits until all snapshots are written, then returns as finished().
  std::vector<CheckpointOutcome> drain();

 private:
  void work();
  CheckpointOutcome write(const Checkpoint& checkpoint);

  CheckpointFolder folder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Checkpoint> next_;  // waiting, or being written
  std::vector<CheckpointOutcome> outcomes_;
  bool leaving_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace syncnorm
