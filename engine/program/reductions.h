// The reductions of a program on one rank: sums over replicas that a step starts, drives and waits
// for, and their costs.
//
// Reductions are queued on a device with its own memory; otherwise the host computes them. The
// constructor of Reductions chooses once; StepReduction is the common interface.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "comm/reduction.h"
#include "engine/program/groups.h"
#include "engine/program/program.h"
#include "kernels/device.h"

namespace syncnorm {

/// The progress of a device's communication queue. It lies in host memory, so that it can be read
/// while the device hangs.
struct ReductionMarks {
  std::int32_t started = 0, finished = 0;  // number of the last reduction, from 1
};

/// The device addresses of one reduction: this rank's leaves, or the subtrees into which they were
/// folded (gradients), and the result. `result` may equal `leaves`. Leaves are overwritten.
struct ReductionBuffers {
  void* leaves = nullptr;
  std::size_t stride = 0;  // from one to the next, bytes
  void* result = nullptr;
};

/// A sum over the leaves of a tree, repeated every step, in the tree's order of additions.
class StepReduction {
 public:
  virtual ~StepReduction() = default;
  /// Starts the sum of what previously run or queued work writes into the buffers. Neither leaves
  /// nor result may be touched until wait().
  virtual void start(const ReductionBuffers& buffers) = 0;
  /// Drives progress and returns true if complete. A queued reduction needs no driving: true.
  virtual bool test() = 0;
  /// Waits: work that is run or queued from now on sees the result.
  virtual void wait() = 0;
  /// Bytes that this rank sends.
  virtual std::size_t bytes_sent() const = 0;
  /// Throws PeerLostError when the communicator has failed.
  virtual void check() {}
  /// See Communicator::give_up().
  virtual void give_up() {}
};

/// Seconds that a rank spent starting and waiting for reductions, by phase, since construction.
struct ReductionTimes {
  double statistics_forward = 0.0, statistics_backward = 0.0, gradient = 0.0, loss = 0.0;
  double total() const { return statistics_forward + statistics_backward + gradient + loss; }
};

/// Seconds that one reduction of the program cost on this rank, since construction. `in_flight` is
/// from its start until it was seen to be complete (not measured for queued ones); `exposed` is
/// spent in starting and waiting.
struct ReductionTiming {
  double in_flight = 0.0, exposed = 0.0;
};

class Reductions {
 public:
  struct Options {
    ReductionAlgorithm algorithm = ReductionAlgorithm::tree;
    bool forced = false;  // queued: send even with only one rank
    bool queued = false;  // on the device; otherwise the host computes them
  };

  /// No reductions, for a program that only this rank runs.
  Reductions() = default;
  /// `groups` may be null if no statistics cross replicas. Collective over `comm`. All references
  /// must outlive this.
  Reductions(const Program& program, Device& device, Communicator& comm, const Placement& placement,
             const StatisticsGroups* groups, const Options& options);

  /// Returns the plan by which this rank's replicas fold their gradients before start().
  const FoldPlan& gradient_plan() const { return gradient_plan_; }

  /// Starts a reduction for every local group of replicas; buffers(g) returns the buffers of group
  /// g.
  template <class Buffers>
  void start(int index, const Buffers& buffers) {
    const auto begin = Clock::now();
    Entry& entry = entries_[static_cast<std::size_t>(index)];
    entry.started = begin;
    for (std::size_t g = 0; g < entry.by_group.size(); ++g)
      start_one(index, *entry.by_group[g], buffers(static_cast<int>(g)));
    add_exposed(index, begin);
    if (!overlap_) wait(index);
  }
  void wait(int index);
  /// Drives the reductions in flight.
  void progress();

  /// false: waits for every reduction right after its start, to measure the benefit of overlap. All
  /// ranks must agree.
  void set_overlap(bool overlap) { overlap_ = overlap; }
  bool overlaps() const { return overlap_; }

  const ReductionTimes& times() const { return times_; }
  const std::vector<ReductionTiming>& timings() const { return timings_; }  // by index
  std::size_t bytes_sent(int index) const;

  /// Returns the progress of queued reductions, or null; check() and give_up() are as in
  /// StepReduction.
  const volatile ReductionMarks* marks() const;
  void check() const;
  void give_up() const;

 private:
  struct Entry {
    ReductionKind kind = ReductionKind::loss;
    std::vector<std::unique_ptr<StepReduction>> by_group;  // one entry for gradients and losses
    int in_flight = 0;                                     // number of them
    Clock::time_point started;
  };
  struct InFlight {
    StepReduction* reduction;
    int index;
  };

  void start_one(int index, StepReduction& reduction, const ReductionBuffers& buffers);
  void landed(int index);
  void add_exposed(int index, Clock::time_point begin);
  double& time_of(ReductionKind kind);

  bool queued_ = false;
  bool overlap_ = true;
  FoldPlan gradient_plan_;
  std::vector<Entry> entries_;  // by index
  std::vector<InFlight> in_flight_;
  std::vector<ReductionTiming> timings_;
  ReductionTimes times_;
  Buffer marks_;  // ReductionMarks, for a device with queues
};

}  // namespace syncnorm
