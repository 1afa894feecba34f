// What the statistics of batch-normalization layers look like in a step: sums over the replicas of
// this rank, from which their spread, count and drift are computed by whoever watches.
//
// It reads what the step computes anyway and changes nothing.
#pragma once

#include <span>
#include <vector>

#include "engine/probe/results.h"
#include "engine/program/executor.h"

namespace syncnorm {

class LayerStatistics final : public ExecutionHook {
 public:
  /// The first `limit` batch-normalization layers of `program`; none when `limit` is 0 or the
  /// program takes no batch statistics.
  LayerStatistics(const Program& program, int limit);
  LayerStatistics(const LayerStatistics&) = delete;  // its sums point into it
  LayerStatistics& operator=(const LayerStatistics&) = delete;

  const std::vector<LayerInfo>& layers() const { return layers_; }

  /// Attaches it to `executor`, of this program, for one step.
  void begin(Executor& executor);
  /// Detaches, and gives one entry per layer; valid until the next begin().
  std::span<const LayerSums> end(Executor& executor);

  void ran(Executor& executor, std::size_t index, int replica) override;
  bool in_every_step() const override { return true; }

  /// The forward statistics of a step as they come: n, n·mean, M2 + n·mean² per channel. Of one
  /// local replica, before any reduction; of one local group, after it. `instruction`: its index.
  void replica_sums(std::size_t instruction, std::span<const double> sums);
  void group_sums(std::size_t instruction, std::span<const double> sums);

 private:
  /// The sums of LayerSums, and the normalizing mean of each local group in the last sample.
  struct Layer {
    std::vector<double> sum, square, means, means2, variances, variances2;
    std::vector<std::vector<double>> last;
    std::size_t groups_seen = 0;
  };
  /// -1: none.
  int layer_of(std::size_t instruction) const { return layer_by_instruction_[instruction]; }

  std::vector<LayerInfo> layers_;
  std::vector<int> layer_by_instruction_;
  std::vector<Layer> state_;
  std::vector<LayerSums> sums_;
};

}  // namespace syncnorm
