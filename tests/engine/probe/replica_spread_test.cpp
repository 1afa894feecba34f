// Replicas whose means and variances are known.
#include "engine/probe/replica_spread.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace syncnorm {
namespace {

/// n, n·mean and n·(variance + mean²) of one channel.
std::vector<double> moments(double n, double mean, double variance) {
  return {n, n * mean, n * (variance + mean * mean)};
}

TEST(ReplicaSpread, OfTwoReplicas) {
  std::vector<double> values(kReplicaVectors);
  const ReplicaSums sums = replica_sums_in(values.data(), 1);
  add_replica(moments(8, 1.0, 3.0), sums);
  add_replica(moments(8, 5.0, 7.0), sums);
  // μ = 3, σ² = 5 + 4: means are 2 away, of a deviation of 3; variances 6 and 2, of 9.
  const ReplicaSpread found = replica_spread(2.0, 16.0, sums);
  EXPECT_NEAR(found.mean, 2.0 / 3.0, 1e-12);
  EXPECT_NEAR(found.variance, std::sqrt((36.0 + 4.0) / 2.0) / 9.0, 1e-12);
}

TEST(ReplicaSpread, IsTheRootMeanSquareOverChannelsThatVary) {
  std::vector<double> values(kReplicaVectors * 3);
  const ReplicaSums sums = replica_sums_in(values.data(), 3);
  // Channels: apart by one deviation of √(1 + 1); the same; dead.
  add_replica(std::vector<double>{4, 4 * -1.0, 4 * 2.0, 0, 4 * 2.0, 4 * 5.0, 0}, sums);
  add_replica(std::vector<double>{4, 4 * 1.0, 4 * 2.0, 0, 4 * 2.0, 4 * 5.0, 0}, sums);
  const ReplicaSpread found = replica_spread(2.0, 8.0, sums);
  EXPECT_NEAR(found.mean, std::sqrt((1.0 / 2.0 + 0.0) / 2.0), 1e-12);
  EXPECT_NEAR(found.variance, std::sqrt((0.25 + 0.0) / 2.0), 1e-12);  // 1 of 2, and 1 of 1
}

TEST(ReplicaSpread, OfNothingThatVariesIsUnknown) {
  std::vector<double> values(kReplicaVectors);
  const ReplicaSums sums = replica_sums_in(values.data(), 1);
  add_replica(moments(8, 1.0, 0.0), sums);
  EXPECT_TRUE(std::isnan(replica_spread(1.0, 8.0, sums).mean));
}

}  // namespace
}  // namespace syncnorm
