// The reductions of a program on one rank: the sums over replicas that a step starts, makes
// progress and waits for, and what each of them cost.
//
// Where a device has memory of its own, reductions are queued on it; elsewhere the host carries
// them out. The constructor of Reductions asks once; StepReduction is the seam.
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

/// Where the device says how far its communication queue is: in the host's memory, so that it can
/// be read while the device hangs.
struct ReductionMarks {
  std::int32_t started = 0, finished = 0;  // number of the reduction, from 1, of the last one
};

/// This rank's leaves of one reduction, or the subtrees they were folded into (gradients), and
/// where the sum goes; in the device's memory. `result` may be `leaves`. Leaves are overwritten.
struct ReductionBuffers {
  void* leaves = nullptr;
  std::size_t stride = 0;  // from one to the next, bytes
  void* result = nullptr;
};

/// One sum over the leaves of a tree, every step, in the tree's order of additions.
class StepReduction {
 public:
  virtual ~StepReduction() = default;
  /// What the buffers holds is computed by what was run, or queued, before. Neither leaves nor
  /// result may be touched until wait().
  virtual void start(const ReductionBuffers& buffers) = 0;
  /// Whether it is complete; makes progress. A queued one progresses by itself: true.
  virtual bool test() = 0;
  /// What is run, or queued, from now on finds the result.
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

/// Cost of one reduction of the program on this rank, since construction. In flight: from its
/// start until it was seen to be complete (not measured where it is queued); exposed: spent in
/// starting and waiting.
struct ReductionTiming {
  double in_flight = 0.0, exposed = 0.0;
};

class Reductions {
 public:
  struct Options {
    ReductionAlgorithm algorithm = ReductionAlgorithm::tree;
    bool forced = false;  // queued: send even where there is only one rank
    bool queued = false;  // on the device; else the host carries them out
  };

  /// None, for a program that only this rank runs.
  Reductions() = default;
  /// `groups` may be null where no statistics cross replicas. Collective over `comm`. All must
  /// outlive it.
  Reductions(const Program& program, Device& device, Communicator& comm, const Placement& placement,
             const StatisticsGroups* groups, const Options& options);

  /// How this rank's replicas fold their gradients before start().
  const FoldPlan& gradient_plan() const { return gradient_plan_; }

  /// Starts a reduction for every local group of replicas; buffers(g) is that of group g.
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
  /// Lets what is in flight go on.
  void progress();

  /// false: every reduction is waited for where it starts, to measure what overlap is worth. All
  /// ranks must agree.
  void set_overlap(bool overlap) { overlap_ = overlap; }
  bool overlaps() const { return overlap_; }

  const ReductionTimes& times() const { return times_; }
  const std::vector<ReductionTiming>& timings() const { return timings_; }  // by index
  std::size_t bytes_sent(int index) const;

  /// Queued ones: how far the device is, null elsewhere; see StepReduction for the others.
  const volatile ReductionMarks* marks() const;
  void check() const;
  void give_up() const;

 private:
  struct Entry {
    ReductionKind kind = ReductionKind::loss;
    std::vector<std::unique_ptr<StepReduction>> by_group;  // a single one of gradients and losses
    int in_flight = 0;                                     // of the above
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
  Buffer marks_;  // ReductionMarks of a device with queues
};

}  // namespace syncnorm
