// Statistics of batch-normalization layers in a step: sums over this rank's replicas, from which
// observers compute spread, count and drift.
//
// It only reads values that the step computes anyway.
#pragma once

#include <span>
#include <vector>

#include "engine/probe/results.h"
#include "engine/program/executor.h"

namespace syncnorm {

class LayerStatistics final : public ExecutionHook {
 public:
  /// Selects the first `limit` batch-normalization layers of `program`; none if `limit` is 0 or the
  /// program computes no batch statistics.
  LayerStatistics(const Program& program, int limit);
  LayerStatistics(const LayerStatistics&) = delete;  // sums_ point into state_
  LayerStatistics& operator=(const LayerStatistics&) = delete;

  const std::vector<LayerInfo>& layers() const { return layers_; }

  /// Attaches this to `executor`, which runs the same program, for one step.
  void begin(Executor& executor);
  /// Detaches this and returns one entry per layer, valid until the next begin().
  std::span<const LayerSums> end(Executor& executor);

  void ran(Executor& executor, std::size_t index, int replica) override;
  bool in_every_step() const override { return true; }

  /// Add forward statistics of a step: n, n·mean and M2 + n·mean² per channel. replica_sums() takes
  /// those of a local replica before any reduction, group_sums() those of a local group after it.
  /// `instruction` is an index in the program.
  void replica_sums(std::size_t instruction, std::span<const double> sums);
  void group_sums(std::size_t instruction, std::span<const double> sums);

 private:
  /// The vectors of LayerSums, and the normalizing mean of each local group in the last sample.
  struct Layer {
    std::vector<double> sum, square, means, means2, variances, variances2;
    std::vector<std::vector<double>> last;
    std::size_t groups_seen = 0;
  };
  /// Returns the layer's index, or -1.
  int layer_of(std::size_t instruction) const { return layer_by_instruction_[instruction]; }

  std::vector<LayerInfo> layers_;
  std::vector<int> layer_by_instruction_;
  std::vector<Layer> state_;
  std::vector<LayerSums> sums_;
};

}  // namespace syncnorm
