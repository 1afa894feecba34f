// The events of each rank's RankObserver: times and bytes by phase, as differences of the
// executors' totals, and at intervals the statistics of the norm layers.
#pragma once

#include <memory>
#include <span>

#include "engine/probe/layer_statistics.h"
#include "engine/train/setup.h"

namespace syncnorm {

class RankReport {
 public:
  explicit RankReport(const Setup& setup) : setup_(setup) {}

  bool watched() const { return setup_.options.rank_observer != nullptr; }
  /// Reports the start. Collective.
  void start();

  /// Used before a step: return the totals so far, and whether to sample the layers' statistics.
  RankStepEvent totals() const;
  bool sampled(std::int64_t step, bool full_batch);
  /// Enclose a sampled step.
  void begin_sample(Executor& executor) { layers_->begin(executor); }
  std::span<const LayerSums> end_sample(Executor& executor) { return layers_->end(executor); }

  /// Reports a finished step; `gradient_norm` is negative if not computed.
  void tell_step(const StepEvent& step, const Executor& executor, const RankStepEvent& before,
                 double gradient_norm) const;
  void tell_layers(std::int64_t step, std::span<const LayerSums> layers);

 private:
  const Setup& setup_;
  std::unique_ptr<LayerStatistics> layers_;
  bool sample_due_ = true;  // at the first step, then every metrics.every_steps
};

}  // namespace syncnorm
