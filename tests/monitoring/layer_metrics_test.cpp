// Readings from sums over replicas on several ranks against the definitions, replica by replica.
#include "monitoring/layer_metrics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace syncnorm::test {
namespace {

struct Replica {
  double n;
  std::vector<double> mean, variance;  // per channel
};

const std::vector<Replica> kReplicas = {{4.0, {1.0, -2.0}, {0.5, 2.0}},
                                        {4.0, {1.5, -1.0}, {0.25, 3.0}},
                                        {4.0, {0.25, -2.5}, {1.0, 1.5}}};

/// What a rank with these replicas publishes, each normalizing by itself.
std::vector<double> block(std::int64_t step, std::span<const Replica> replicas, double drift,
                          double terms) {
  LayerSums sums;
  std::vector<double> v[6];
  for (auto& values : v) values.resize(2);
  for (const Replica& r : replicas) {
    sums.replicas += 1.0;
    sums.count += r.n;
    sums.effective_count = r.n;
    for (std::size_t c = 0; c < 2; ++c) {
      v[0][c] += r.n * r.mean[c];
      v[1][c] += r.n * (r.variance[c] + r.mean[c] * r.mean[c]);
      v[2][c] += r.mean[c];
      v[3][c] += r.mean[c] * r.mean[c];
      v[4][c] += r.variance[c];
      v[5][c] += r.variance[c] * r.variance[c];
    }
  }
  sums.drift = drift;
  sums.drift_terms = terms;
  sums.sum = v[0];
  sums.square = v[1];
  sums.means = v[2];
  sums.means2 = v[3];
  sums.variances = v[4];
  sums.variances2 = v[5];
  const LayerInfo layer{"bn1", 2};
  std::vector<double> packed(layer_block_size({&layer, 1}));
  pack_layers(step, {&sums, 1}, packed);
  return packed;
}

TEST(LayerMetrics, SpreadIsThatOfTheReplicasAroundAll) {
  const LayerInfo layer{"bn1", 2};
  const std::span<const Replica> all = kReplicas;
  const auto readings = read_layers(
      {&layer, 1}, {block(50, all.first(1), 0.02, 2.0), block(50, all.last(2), 0.06, 2.0)});
  ASSERT_TRUE(readings);
  const LayerReading& got = readings->at(0);
  double mean_spread = 0.0, variance_spread = 0.0, total = 0.0, squares = 0.0;
  for (std::size_t c = 0; c < 2; ++c) {
    double mean = 0.0, square = 0.0;
    for (const Replica& r : kReplicas) {
      mean += r.mean[c] / 3.0;
      square += (r.variance[c] + r.mean[c] * r.mean[c]) / 3.0;
    }
    const double variance = square - mean * mean;
    for (const Replica& r : kReplicas) {
      mean_spread += (r.mean[c] - mean) * (r.mean[c] - mean) / variance / 6.0;
      variance_spread += std::pow((r.variance[c] - variance) / variance, 2.0) / 6.0;
    }
    total += mean / 2.0;
    squares += square / 2.0;
  }
  EXPECT_EQ(got.name, "bn1");
  EXPECT_NEAR(got.mean, total, 1e-12);
  EXPECT_NEAR(got.deviation, std::sqrt(squares - total * total), 1e-12);
  EXPECT_NEAR(got.mean_spread, std::sqrt(mean_spread), 1e-12);
  EXPECT_NEAR(got.variance_spread, std::sqrt(variance_spread), 1e-12);
  EXPECT_EQ(got.effective_count, 4.0);
  EXPECT_NEAR(got.drift, std::sqrt(0.08 / 4.0), 1e-12);
}

TEST(LayerMetrics, BlocksOfDifferentStepsAreNotMixed) {
  const LayerInfo layer{"bn1", 2};
  const std::span<const Replica> all = kReplicas;
  EXPECT_FALSE(
      read_layers({&layer, 1}, {block(50, all.first(1), 0, 0), block(100, all.last(2), 0, 0)}));
  EXPECT_FALSE(read_layers({&layer, 1}, {}));
}

TEST(LayerMetrics, WhatIsNotKnownIsNotANumber) {
  const LayerInfo layer{"bn1", 2};
  const auto first = read_layers({&layer, 1}, {block(1, kReplicas, 0.0, 0.0)});
  ASSERT_TRUE(first);
  EXPECT_TRUE(std::isnan(first->at(0).drift));
  EXPECT_FALSE(std::isnan(first->at(0).mean_spread));
  EXPECT_TRUE(std::isnan(unknown_layers({&layer, 1}).at(0).mean));
}

TEST(LayerMetrics, AChannelThatIsConstantEverywhereHasNoScale) {
  const LayerInfo layer{"bn1", 2};
  std::vector<Replica> dead = kReplicas;
  for (Replica& r : dead) {
    r.mean[1] = 0.0;
    r.variance[1] = 0.0;
  }
  const auto got = read_layers({&layer, 1}, {block(1, dead, 0.0, 0.0)});
  ASSERT_TRUE(got);
  EXPECT_TRUE(std::isfinite(got->at(0).mean_spread));
  EXPECT_GT(got->at(0).mean_spread, 0.0);
}

}  // namespace
}  // namespace syncnorm::test
