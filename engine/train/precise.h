// PreciseBN (Wu & Johnson 2021): the running statistics taken anew, with the weights as they are,
// over a fixed set of training samples, instead of an average over the steps of training.
//
// The forward pass runs with the batch's own statistics, as in training; the sums of all batches
// (count, Σx, Σx² about zero, in f64) are added in order, so a group's pair is exactly the mean and
// the unbiased variance of everything it saw, whatever the number of ranks.
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
  /// Takes norm.precise_samples of `samples` (indices into the training images), rounded up to
  /// whole global batches, from the start of the first epoch's order, without augmentation.
  /// There must be one global batch at least (load_dataset checks that). Collective over `comm`.
  PreciseStatistics(const Graph& graph, ProgramOptions options, std::span<const std::size_t> layout,
                    const Dataset& dataset, const std::vector<std::uint32_t>& samples,
                    const Experiment& experiment, Device& device, Communicator& comm,
                    const Placement& placement, const StatisticsGroups* groups,
                    ReductionAlgorithm algorithm, Memory& memory, RunningStatistics& running);

  /// Replaces the running pairs of all groups. `step` (updates done) keys dropout. Collective.
  void run(std::int64_t step);
  /// What this rank met in run(); when `usable` is false, an image was to stop the run.
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
  Buffer images_;  // of EvalFeed
};

}  // namespace syncnorm
