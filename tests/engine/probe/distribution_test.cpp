// Distributions whose percentiles and divergences are known in closed form.
#include "engine/probe/distribution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace syncnorm {
namespace {

/// The quantiles of a normal distribution at (i + ½)/n, by bisection of its distribution function.
std::vector<double> normal_bins(double mean, double deviation, int n) {
  std::vector<double> bins(kDistributionBins, 0.0);
  for (int i = 0; i < n; ++i) {
    double low = -9.0, high = 9.0;
    for (int round = 0; round < 50; ++round) {
      const double middle = 0.5 * (low + high);
      const bool below = 0.5 * std::erfc(-middle / std::sqrt(2.0)) < (i + 0.5) / n;
      (below ? low : high) = middle;
    }
    bins[bin_of(static_cast<float>(mean + deviation * low))] += 1.0;
  }
  return bins;
}

TEST(Distribution, BinsAscendAndHoldTheirValues) {
  std::size_t last = 0;
  for (const float v : {-1e9f, -70000.0f, -3.0f, -1.0f, -0.99f, -1e-7f, 0.0f, 1e-9f, 1e-7f, 0.5f,
                        0.504f, 0.51f, 1.0f, 65535.0f}) {
    const std::size_t bin = bin_of(v);
    EXPECT_GE(bin, last) << v;
    last = bin;
    if (std::abs(v) > 65536.0f) continue;
    EXPECT_LE(bin_begin(bin), static_cast<double>(v));
    EXPECT_GE(bin_begin(bin + 1), static_cast<double>(v));
  }
  EXPECT_EQ(bin_of(std::numeric_limits<float>::quiet_NaN()), kBinsPerSign);
  EXPECT_EQ(bin_of(std::numeric_limits<float>::infinity()), kDistributionBins - 1);
  EXPECT_EQ(bin_of(-std::numeric_limits<float>::infinity()), 0u);
  EXPECT_EQ(bin_of(0.5f), bin_of(0.504f));
  EXPECT_NE(bin_of(0.5f), bin_of(0.51f));
}

TEST(Distribution, PercentilesOfANormalDistribution) {
  const std::vector<double> bins = normal_bins(2.0, 0.5, 20000);
  EXPECT_NEAR(percentile(bins, 0.50), 2.0, 0.005);
  EXPECT_NEAR(percentile(bins, 0.15), 2.0 - 0.5 * 1.036433, 0.005);
  EXPECT_NEAR(percentile(bins, 0.85), 2.0 + 0.5 * 1.036433, 0.005);
  EXPECT_TRUE(std::isnan(percentile(std::vector<double>(kDistributionBins), 0.5)));
}

TEST(Distribution, HalfZerosHaveAMedianOfZero) {
  std::vector<double> bins(kDistributionBins);
  bins[bin_of(0.0f)] = 6.0;
  bins[bin_of(1.0f)] = 4.0;
  EXPECT_EQ(percentile(bins, 0.5), 0.0);
  EXPECT_NEAR(percentile(bins, 0.8), 1.0, 0.016);
}

TEST(Distribution, HistogramKeepsEveryCount) {
  std::vector<double> bins(kDistributionBins);
  for (int i = 0; i < 1000; ++i) bins[bin_of(0.001f * static_cast<float>(i))] += 1.0;
  const std::vector<double> counts = histogram(bins, 0.0, 1.0, 4);
  double all = 0.0;
  for (const double c : counts) {
    EXPECT_NEAR(c, 250.0, 10.0);
    all += c;
  }
  EXPECT_NEAR(all, 1000.0, 1e-9);
}

TEST(Distribution, MomentsFromSums) {
  const Moments m = moments_of(4.0, 4.5, 5.375);  // 1, 1.5, 0.75, 1.25
  EXPECT_NEAR(m.mean, 1.125, 1e-15);
  EXPECT_NEAR(m.deviation, std::sqrt(0.078125), 1e-15);
}

// KL(N(μ,σ)‖N(μ',σ')) = ln(σ'/σ) + (σ² + (μ − μ')²)/(2σ'²) − ½.
TEST(Distribution, DivergenceOfNormalDistributions) {
  EXPECT_EQ(gaussian_divergence({1.0, 2.0}, {1.0, 2.0}), 0.0);
  EXPECT_NEAR(gaussian_divergence({0.0, 1.0}, {0.5, 1.0}), 0.125, 1e-15);
  EXPECT_NEAR(gaussian_divergence({0.0, 1.0}, {0.0, 2.0}), std::log(2.0) + 0.125 - 0.5, 1e-15);
  EXPECT_NEAR(gaussian_divergence({0.0, 2.0}, {0.0, 1.0}), -std::log(2.0) + 2.0 - 0.5, 1e-15);
  EXPECT_EQ(gaussian_divergence({3.0, 0.0}, {3.0, 0.0}), 0.0);
  EXPECT_TRUE(std::isinf(gaussian_divergence({3.0, 0.0}, {4.0, 0.0})));
}

// Over ranges of equal shares a divergence can only be smaller than the true one, and where the
// tails do not matter not by much.
TEST(Distribution, DivergenceOfHistograms) {
  const std::vector<double> standard = normal_bins(0.0, 1.0, 20000);
  EXPECT_EQ(histogram_divergence(standard, standard), 0.0);
  const auto expect_between = [&](double mean, double deviation, double least, double exact) {
    const double found = histogram_divergence(standard, normal_bins(mean, deviation, 20000));
    EXPECT_LT(found, exact);
    EXPECT_GT(found, least);
  };
  expect_between(0.5, 1.0, 0.94 * 0.125, 0.125);
  const double exact = std::log(2.0) + 0.125 - 0.5;  // much of it in the two outermost ranges
  expect_between(0.0, 2.0, 0.8 * exact, exact);
  const std::vector<double> apart = normal_bins(100.0, 1.0, 20000);
  EXPECT_TRUE(std::isfinite(histogram_divergence(standard, apart)));
  EXPECT_GT(histogram_divergence(standard, apart), 5.0);
}

}  // namespace
}  // namespace syncnorm
