// Running statistics over all groups of replicas: their mean for evaluation, all of them for
// checkpoints.
//
// Every rank holds the pairs of the groups it hosts a replica of; a group spanning ranks has equal
// copies, of which the rank with the group's first replica speaks for it.
#pragma once

#include <memory>
#include <vector>

#include "engine/program/executor.h"

namespace syncnorm {

class RunningStatistics {
 public:
  /// `program` is the training program. Collective over `comm`.
  RunningStatistics(const Program& program, Communicator& comm, const Placement& placement,
                    Memory& memory);

  int groups() const { return groups_; }
  std::size_t floats() const { return floats_; }  // of one group's set

  /// Mean 0 and variance 1 everywhere, as PyTorch starts.
  void initialize();

  /// memory.averaged = unweighted mean over groups, in tree order. Collective.
  void average();

  /// The sets of all groups, in order, on every rank: [groups][floats]. Collective.
  std::vector<float> gather_all();

  /// Takes this rank's groups out of the sets of all groups.
  void scatter(const std::vector<float>& all);

  /// Gives every group the pairs in memory.averaged.
  void spread_averaged();

  /// Takes what was written to local_set() to the device.
  void push();

  /// The local groups, and where the pairs of one lie on the host: [floats].
  int first_local() const { return own_replicas_.begin / group_size_; }
  int last_local() const { return (own_replicas_.end - 1) / group_size_; }
  float* local_set(int group) const;

 private:
  std::vector<RunningSlot> slots_;
  std::size_t floats_;
  bool frozen_;  // constants in memory.averaged, the same for all replicas
  int group_size_;
  int groups_;
  Communicator& comm_;
  Memory& memory_;
  Interval own_replicas_;
  std::vector<Interval> spoken_for_;  // groups by rank
  std::unique_ptr<Reduction<double>> reduction_;
};

}  // namespace syncnorm
