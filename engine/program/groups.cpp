// Communicators of groups that span ranks are made in ascending order of groups. A rank shares at
// most its first group with lower ranks and its last with higher ranks, so this order cannot
// deadlock.
#include "engine/program/groups.h"

#include <algorithm>

namespace syncnorm {

StatisticsGroups::StatisticsGroups(Communicator& world, const Placement& placement, int size,
                                   bool forced)
    : size_(size), self_(make_self_communicator()) {
  const Interval own = placement.block(world.rank());
  for (int first = own.begin / size * size; first < own.end; first += size) {
    LocalGroup group;
    group.members = {first, first + size};
    group.local = {std::max(own.begin, first), std::min(own.end, first + size)};
    Interval ranks{-1, -1};
    for (int r = 0; r < placement.ranks; ++r) {
      const Interval block = placement.block(r);
      const Interval part{std::max(block.begin, first), std::min(block.end, first + size)};
      if (part.empty()) continue;
      if (ranks.begin < 0) ranks.begin = r;
      ranks.end = r + 1;
      group.blocks.push_back({part.begin - first, part.end - first});
    }
    if (ranks.size() == world.size()) {
      group.comm = &world;
    } else if (ranks.size() == 1 && !forced) {
      group.comm = self_.get();
    } else {
      owned_.push_back(world.subgroup(ranks));
      group.comm = owned_.back().get();
    }
    groups_.push_back(std::move(group));
  }
}

}  // namespace syncnorm
