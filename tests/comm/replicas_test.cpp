// Placement of replicas on ranks: contiguous, as even as possible, covering all.
#include "comm/replicas.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace syncnorm {
namespace {

TEST(Placement, IsContiguousEvenAndComplete) {
  for (int replicas = 1; replicas <= 40; ++replicas)
    for (int ranks = 1; ranks <= replicas; ++ranks) {
      const Placement placement{replicas, ranks};
      int next = 0, smallest = replicas, largest = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const Interval block = placement.block(rank);
        EXPECT_EQ(block.begin, next);
        next = block.end;
        smallest = std::min(smallest, block.size());
        largest = std::max(largest, block.size());
      }
      EXPECT_EQ(next, replicas);
      EXPECT_GE(smallest, 1);
      EXPECT_LE(largest - smallest, 1) << replicas << " replicas on " << ranks << " ranks";
    }
}

TEST(Placement, DoesNotOverflow) {
  const Placement placement{1 << 30, 1 << 20};
  EXPECT_EQ(placement.block((1 << 20) - 1).end, 1 << 30);
  EXPECT_EQ(placement.block(1 << 19).begin, 1 << 29);
}

TEST(Interval, KnowsWhenItIsEmpty) {
  EXPECT_TRUE((Interval{3, 3}).empty());
  EXPECT_FALSE((Interval{3, 4}).empty());
  EXPECT_EQ((Interval{3, 7}).size(), 4);
}

}  // namespace
}  // namespace syncnorm
