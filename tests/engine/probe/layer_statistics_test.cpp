// The sums of a layer against what follows from the images, for a network that begins with a norm.
#include "engine/probe/layer_statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/program/program_fixture.h"

namespace syncnorm::test {
namespace {

std::string first_norm(const std::string& norm) {
  return "replicas: 4\nbatch_per_replica: 3\nsteps: 1\nnorm: " + norm +
         "\nmodel:\n  layers:\n    - {type: norm, name: bn1}\n    - {type: conv, out: 4, kernel: "
         "3}\n    - {type: norm, name: bn2}\n    - flatten\n    - {type: linear, out: 5}\n";
}

/// Mean and biased variance of a channel of the images in [begin, end).
struct Moments {
  double mean = 0.0, variance = 0.0;
};
Moments moments(const Workbench& setup, int begin, int end, int channel) {
  const int pixels = 64, channels = 3;
  Moments m;
  const double n = (end - begin) * pixels;
  const auto value = [&](int i) {
    return static_cast<double>(setup.images[static_cast<std::size_t>(i * channels + channel)]);
  };
  for (int i = begin * pixels; i < end * pixels; ++i) m.mean += value(i) / n;
  for (int i = begin * pixels; i < end * pixels; ++i)
    m.variance += (value(i) - m.mean) * (value(i) - m.mean) / n;
  return m;
}

class Layers : public ::testing::TestWithParam<std::pair<const char*, double>> {};

TEST_P(Layers, SumsAreThoseOfTheReplicas) {
  const auto [norm, effective] = GetParam();
  Workbench setup(first_norm(norm));
  LayerStatistics statistics(setup.executor->program(), 64);
  ASSERT_EQ(statistics.layers().size(), 2u);
  EXPECT_EQ(statistics.layers()[0].name, "bn1");
  EXPECT_EQ(statistics.layers()[1].channels, 4);
  statistics.begin(*setup.executor);
  const double loss = setup.run();
  const LayerSums sums = statistics.end(*setup.executor)[0];
  EXPECT_EQ(sums.replicas, 4.0);
  EXPECT_EQ(sums.count, 4.0 * 3 * 64);
  EXPECT_EQ(sums.effective_count, effective);
  EXPECT_EQ(sums.drift_terms, 0.0);
  for (std::size_t c = 0; c < 3; ++c) {
    double sum = 0.0, square = 0.0, means = 0.0, means2 = 0.0, variances = 0.0, variances2 = 0.0;
    for (int r = 0; r < 4; ++r) {
      const Moments m = moments(setup, 3 * r, 3 * r + 3, static_cast<int>(c));
      sum += 192 * m.mean;
      square += 192 * (m.variance + m.mean * m.mean);
      means += m.mean;
      means2 += m.mean * m.mean;
      variances += m.variance;
      variances2 += m.variance * m.variance;
    }
    EXPECT_NEAR(sums.sum[c], sum, 1e-4);
    EXPECT_NEAR(sums.square[c], square, 1e-3);
    EXPECT_NEAR(sums.means[c], means, 1e-6);
    EXPECT_NEAR(sums.means2[c], means2, 1e-6);
    EXPECT_NEAR(sums.variances[c], variances, 1e-5);
    EXPECT_NEAR(sums.variances2[c], variances2, 1e-5);
  }
  EXPECT_EQ(setup.run(), loss);  // the same bits without it
}

INSTANTIATE_TEST_SUITE_P(Norms, Layers,
                         ::testing::Values(std::pair{"syncbn", 4.0 * 192}, std::pair{"bn", 192.0},
                                           std::pair{"{kind: batch, synced_replicas: 2}",
                                                     2.0 * 192},
                                           std::pair{"{kind: momentum}", 4.0 * 192},
                                           std::pair{"{kind: mabn, synced_replicas: 1}", 192.0},
                                           std::pair{"{kind: evonorm_b0}", 4.0 * 192}));

TEST(LayerStatistics, DriftIsTheChangeOfTheNormalizingMeans) {
  Workbench setup(first_norm("syncbn"));
  LayerStatistics statistics(setup.executor->program(), 64);
  const auto sample = [&] {
    statistics.begin(*setup.executor);
    setup.run();
    return statistics.end(*setup.executor)[0];
  };
  sample();
  const LayerSums same = sample();
  EXPECT_EQ(same.drift, 0.0);
  EXPECT_EQ(same.drift_terms, 3.0);
  double expected = 0.0;
  for (int c = 0; c < 3; ++c) expected += 0.25 / moments(setup, 0, 12, c).variance;
  for (float& v : setup.images) v += 0.5f;
  EXPECT_NEAR(sample().drift, expected, 1e-4);
}

TEST(LayerStatistics, EmptyReplicasHaveNoStatistics) {
  Workbench setup(first_norm("bn"), {8, 8, 3}, 5, {3, 2, 0, 0});
  LayerStatistics statistics(setup.executor->program(), 64);
  statistics.begin(*setup.executor);
  setup.run();
  const LayerSums sums = statistics.end(*setup.executor)[0];
  EXPECT_EQ(sums.replicas, 2.0);
  EXPECT_EQ(sums.count, 5.0 * 64);
  EXPECT_EQ(sums.effective_count, 2.0 * 64);
}

TEST(LayerStatistics, ThereAreNoMoreThanWantedAndNoneOfOtherNorms) {
  EXPECT_EQ(LayerStatistics(Workbench(first_norm("syncbn")).executor->program(), 1).layers().size(),
            1u);
  EXPECT_EQ(LayerStatistics(Workbench(first_norm("syncbn")).executor->program(), 0).layers().size(),
            0u);
  EXPECT_EQ(
      LayerStatistics(Workbench(first_norm("{kind: group, groups: 1}")).executor->program(), 64)
          .layers()
          .size(),
      0u);
}

}  // namespace
}  // namespace syncnorm::test
