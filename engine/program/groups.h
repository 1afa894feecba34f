// The groups of replicas that share normalization statistics, as one rank sees them.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace syncnorm {

/// One group of replicas of which this rank hosts some.
struct LocalGroup {
  Interval members;              // all replicas of the group, global indices
  Interval local;                // those on this rank, global indices
  Communicator* comm = nullptr;  // the ranks that host the group
  std::vector<Interval> blocks;  // leaves of each of those ranks, relative to members.begin
};

/// All groups of `size` consecutive replicas that have a replica on this rank, ascending. A group
/// within one rank does not communicate, unless `forced`: then it has a communicator like `world`.
/// The constructor is collective over `world`.
class StatisticsGroups {
 public:
  StatisticsGroups(Communicator& world, const Placement& placement, int size, bool forced = false);

  const std::vector<LocalGroup>& groups() const { return groups_; }
  int size() const { return size_; }

 private:
  int size_;
  std::unique_ptr<Communicator> self_;
  std::vector<std::unique_ptr<Communicator>> owned_;
  std::vector<LocalGroup> groups_;
};

}  // namespace syncnorm
