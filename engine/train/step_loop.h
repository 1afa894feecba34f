// Runs steps one after another: takes batches from the loader, starts each step as soon as the
// device accepts it, and returns results in order.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "engine/train/corrupt.h"
#include "engine/train/rank_report.h"
#include "engine/train/setup.h"

namespace syncnorm {

/// Returns the batch in the form that an executor takes.
inline BatchView view_of(const Batch& batch) {
  return {batch.images, batch.labels.data(), batch.sample_ids.data(),
          batch.pixels, batch.maps,          batch.masks};
}

/// A finished step. Its batch stays valid until the next step is started.
struct StepDone {
  enum class Outcome {
    good,
    unusable,    // a rank's batch contains an image that must stop the run
    not_finite,  // loss or gradient; nothing was updated
  };
  Outcome outcome = Outcome::good;
  StepEvent event;  // only if good
  StepState state;
  const Batch* batch = nullptr;
  Executor* executor = nullptr;
  double loss = 0.0;    // mean over the global batch
  bool stop = false;    // a rank was asked to stop
  bool probed = false;  // setup.probes remembers the state before it
};

class StepLoop {
 public:
  StepLoop(Setup& setup, CorruptImages& corrupt);
  StepLoop(const StepLoop&) = delete;
  StepLoop& operator=(const StepLoop&) = delete;

  RankReport& rank_report() { return rank_report_; }

  /// Starts loading the batches of steps [first, last).
  void load(std::int64_t first, std::int64_t last);
  const Batch& current_batch() const { return loader_->current(); }

  /// Starts `step`, counted from 0. At most most_in_flight() steps may be in flight.
  void start(std::int64_t step);
  int in_flight() const { return static_cast<int>(in_flight_.size()); }
  int most_in_flight() const { return setup_.steps->most_in_flight(); }
  /// Returns true if the newest step is sampled or probed; it must then finish before another
  /// starts.
  bool newest_is_looked_at() const { return in_flight_.back().sampled || in_flight_.back().probed; }

  /// Finishes the oldest step in flight. A step whose outcome is not good stays in flight until
  /// abandon().
  StepDone finish();
  /// Waits for all steps in flight and discards them.
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
  Buffer batch_memory_;  // of loader_, if a device copies from it; pinned
  std::unique_ptr<Loader> loader_;
  std::vector<StepInFlight> in_flight_;  // oldest first
  Clock::time_point finished_;           // time of the last finish
};

}  // namespace syncnorm
