// Running statistics of all groups of replicas: their mean for evaluation, all of them for
// checkpoints.
//
// Every rank holds the pairs of the groups that have a replica on it. The ranks of a group hold
// equal copies; the rank with the group's first replica contributes its copy.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/program/executor.h"

namespace syncnorm {

/// Writes the mean and unbiased variance of `totals` (count, Σx, Σx²: [2C+1]) into the slot of a
/// set.
void pair_from_totals(const RunningSlot& slot, std::span<const double> totals, float* set);

class RunningStatistics {
 public:
  /// `program` is the training program. Collective over `comm`.
  RunningStatistics(const Program& program, Communicator& comm, const Placement& placement,
                    Memory& memory);

  int groups() const { return groups_; }
  std::size_t floats() const { return floats_; }  // of one group's set

  /// Sets mean 0 and variance 1, as PyTorch does.
  void initialize();

  /// Sets memory.averaged to the unweighted mean over groups, in tree order. Collective.
  void average();

  /// Returns the sets of all groups, in order, on every rank: [groups][floats]. Collective.
  std::vector<float> gather_all();

  /// Copies this rank's groups from the sets of all groups.
  void scatter(const std::vector<float>& all);

  /// The same two for what norms keep of earlier updates: [groups][history_floats()].
  std::size_t history_floats() const { return history_floats_; }
  std::vector<float> gather_history();
  void scatter_history(const std::vector<float>& all);

  /// Copies the pairs in memory.averaged to every group.
  void spread_averaged();

  /// Copies to the device what was written to local_set().
  void push();

  /// The range of local groups, and the host address of one group's pairs: [floats].
  int first_local() const { return own_replicas_.begin / group_size_; }
  int last_local() const { return (own_replicas_.end - 1) / group_size_; }
  float* local_set(int group) const;

 private:
  std::vector<float> gather(Mirror& sets, std::size_t floats, const char* what);
  void scatter_to(Mirror& sets, std::size_t floats, const std::vector<float>& all) const;

  std::vector<RunningSlot> slots_;
  std::size_t floats_, history_floats_;
  bool frozen_;  // all are constants in memory.averaged, equal for all replicas
  int group_size_;
  int groups_;
  Communicator& comm_;
  Memory& memory_;
  Interval own_replicas_;
  std::vector<Interval> spoken_for_;  // the groups that each rank contributes
  std::unique_ptr<Reduction<double>> reduction_;
};

}  // namespace syncnorm
