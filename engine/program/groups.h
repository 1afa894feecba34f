// Which replicas share normalization statistics, seen from one rank.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace syncnorm {

/// One group of replicas of which this rank hosts some.
struct LocalGroup {
  Interval members;              // all of its replicas, global indices
  Interval local;                // those hosted here, global indices
  Communicator* comm = nullptr;  // of the ranks that host the group
  std::vector<Interval> blocks;  // leaves of each of those ranks, counted from members.begin
};

/// All groups of `size` consecutive replicas that touch this rank, ascending. A group inside one
/// rank communicates with nobody. Collective over `world`: every rank makes it at the same point.
class StatisticsGroups {
 public:
  StatisticsGroups(Communicator& world, const Placement& placement, int size);

  const std::vector<LocalGroup>& groups() const { return groups_; }
  int size() const { return size_; }

 private:
  int size_;
  std::unique_ptr<Communicator> self_;
  std::vector<std::unique_ptr<Communicator>> owned_;
  std::vector<LocalGroup> groups_;
};

}  // namespace syncnorm
