// See checkpoint_writer.h.
#include "engine/state/checkpoint_writer.h"

#include <utility>

#include "base/clock.h"

namespace syncnorm {

CheckpointWriter::CheckpointWriter(CheckpointFolder folder)
    : folder_(std::move(folder)), thread_([this] { work(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CheckpointWriter::submit(Checkpoint checkpoint) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !next_.has_value(); });
  next_ = std::move(checkpoint);
  changed_.notify_all();
}

std::vector<CheckpointOutcome> CheckpointWriter::finished() {
  const std::lock_guard lock(mutex_);
  return std::exchange(outcomes_, {});
}

std::vector<CheckpointOutcome> CheckpointWriter::drain() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !next_.has_value(); });
  }
  return finished();
}

void CheckpointWriter::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return next_.has_value() || leaving_; });
    if (!next_.has_value()) return;
    lock.unlock();
    CheckpointOutcome outcome = write(*next_);  // no other thread touches it while it is set
    lock.lock();
    outcomes_.push_back(std::move(outcome));
    next_.reset();
    changed_.notify_all();
  }
}

/// Catches every error of the disk: training continues without this checkpoint.
CheckpointOutcome CheckpointWriter::write(const Checkpoint& checkpoint) {
  const auto begin = Clock::now();
  CheckpointOutcome outcome;
  outcome.step = checkpoint.step;
  try {
    const auto [folder, bytes] = folder_.save(checkpoint);
    outcome.path = folder.string();
    outcome.bytes = bytes;
  } catch (const std::exception& error) {
    outcome.problem = error.what();
  }
  outcome.seconds = seconds_since(begin);
  return outcome;
}

}  // namespace syncnorm
