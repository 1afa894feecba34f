// Steps one after another: batches from the loader, a step started as soon as the device can take
// it, results in order.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "engine/train/corrupt.h"
#include "engine/train/rank_report.h"
#include "engine/train/setup.h"

namespace syncnorm {

/// The batch as an executor takes it.
inline BatchView view_of(const Batch& batch) {
  return {batch.images, batch.labels.data(), batch.sample_ids.data(), batch.pixels, batch.maps};
}

/// A step that is done. Its batch stays until the next step is started.
struct StepDone {
  enum class Outcome {
    good,
    unusable,    // a rank's batch holds an image that must stop the run
    not_finite,  // loss or gradient; nothing was updated
  };
  Outcome outcome = Outcome::good;
  StepEvent event;  // good
  StepState state;
  const Batch* batch = nullptr;
  Executor* executor = nullptr;
  double loss = 0.0;    // mean over the global batch
  bool stop = false;    // a rank was asked to stop
  bool probed = false;  // setup.probes remembers what was before it
};

class StepLoop {
 public:
  StepLoop(Setup& setup, CorruptImages& corrupt);
  StepLoop(const StepLoop&) = delete;
  StepLoop& operator=(const StepLoop&) = delete;

  RankReport& rank_report() { return rank_report_; }

  /// Loads the batches of steps [first, last) from now on.
  void load(std::int64_t first, std::int64_t last);
  const Batch& current_batch() const { return loader_->current(); }

  /// Starts `step`, counted from 0. At most most_in_flight() may be started and not finished.
  void start(std::int64_t step);
  int in_flight() const { return static_cast<int>(in_flight_.size()); }
  int most_in_flight() const { return setup_.steps->most_in_flight(); }
  /// Whether the newest step is sampled or probed, so that it must be finished before another
  /// starts.
  bool newest_is_looked_at() const { return in_flight_.back().sampled || in_flight_.back().probed; }

  /// The oldest step in flight. What is not good stays in flight until abandon().
  StepDone finish();
  /// Waits for all steps in flight and forgets them.
  void abandon();

 private:
  struct StepInFlight {
    StepState state;
    const Batch* batch;
    Executor* executor;
    double rate, data_seconds, reducing_before;
    RankStepEvent before;
    Clock::time_point begin;
    bool sampled, probed;
    std::span<const LayerSums> layers;
  };

  StepEvent event_of(const StepInFlight& step, const StepResult& result, double loss);
  void flip_parameter();

  Setup& setup_;
  CorruptImages& corrupt_;
  RankReport rank_report_;
  Buffer image_memory_;  // of loader_, where a device copies from it
  std::unique_ptr<Loader> loader_;
  std::vector<StepInFlight> in_flight_;  // the oldest first
  Clock::time_point finished_;           // the last step
};

}  // namespace syncnorm
