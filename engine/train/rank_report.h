// What every rank tells its RankObserver of a step: times and bytes by phase, as differences of the
// executors' totals, and now and then the statistics of the norm layers.
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
  /// Tells of the start. Collective.
  void start();

  /// Before a step: the totals so far, and whether its layers' statistics are sampled.
  RankStepEvent totals() const;
  bool sampled(std::int64_t step, bool full_batch);
  /// Around a step that is sampled.
  void begin_sample(Executor& executor) { layers_->begin(executor); }
  std::span<const LayerSums> end_sample(Executor& executor) { return layers_->end(executor); }

  /// After a step; `gradient_norm` is negative where it was not computed.
  void tell_step(const StepEvent& step, const Executor& executor, const RankStepEvent& before,
                 double gradient_norm) const;
  void tell_layers(std::int64_t step, std::span<const LayerSums> layers);

 private:
  const Setup& setup_;
  std::unique_ptr<LayerStatistics> layers_;
  bool sample_due_ = true;  // from the first step on, then every metrics.every_steps
};

}  // namespace syncnorm
