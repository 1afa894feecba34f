// PreciseBN (Wu & Johnson 2021): recomputes the running statistics with the current weights over a
// fixed set of training samples, instead of averaging over the training steps.
//
// The forward pass uses batch statistics, as in training. The sums of all batches (count, Σx, Σx²
// about zero, in f64) are added in order, so a group's pair is exactly the mean and unbiased
// variance of everything it saw, for any number of ranks.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/config/experiment.h"
#include "engine/data/augment.h"
#include "engine/data/dataset.h"
#include "engine/data/eval_chunks.h"
#include "engine/data/sampler.h"
#include "engine/state/running.h"

namespace syncnorm {

class PreciseStatistics {
 public:
  /// Uses the first norm.precise_samples of `samples` (indices into the training images), rounded
  /// up to whole global batches, in the order of the first epoch, without augmentation. Requires at
  /// least one global batch (load_dataset checks this). Collective over `comm`.
  PreciseStatistics(const Graph& graph, ProgramOptions options, std::span<const std::size_t> layout,
                    const Dataset& dataset, const std::vector<std::uint32_t>& samples,
                    const Experiment& experiment, Device& device, Communicator& comm,
                    const Placement& placement, const StatisticsGroups* groups,
                    ReductionAlgorithm algorithm, Memory& memory, RunningStatistics& running);

  /// Replaces the running pairs of all groups. `step` (updates done) is the dropout key.
  /// Collective.
  void run(std::int64_t step);
  /// Returns the corrupt images that this rank met in run(); `usable` is false if one must stop the
  /// run.
  const CorruptFindings& found() const { return found_; }
  const Executor& executor() const { return *executor_; }
  void add_hook(ExecutionHook& hook) { executor_->add_hook(hook); }

 private:
  std::vector<EvalFeed::Samples> own_batches() const;
  void take_pairs();

  const Dataset& dataset_;
  NormalizationTable normalization_;
  std::uint64_t seed_;
  Batching batching_;
  std::int64_t batches_;
  Interval replicas_;
  int group_size_;
  std::vector<std::uint32_t> samples_, order_;
  CorruptFindings found_;
  Device& device_;
  RunningStatistics& running_;
  std::unique_ptr<Executor> executor_;
  Buffer images_;  // for EvalFeed
};

}  // namespace syncnorm
