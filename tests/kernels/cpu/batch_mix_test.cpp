// BatchMix against f64 by its definition: mean and second moment are mixed, the variance follows.
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

constexpr std::size_t kChannels = 33;
constexpr double kEps = 1e-3, kPixels = 12.0;

class BatchMixTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    for (float& variance : variance_) variance = 0.1f + variance * variance;
    sums_[0] = kPixels;
    for (std::size_t c = 0; c < kChannels; ++c) {
      sums_[1 + c] = kPixels * sample_mean(c);
      sums_[1 + kChannels + c] = kPixels * (sample_variance(c) + sample_mean(c) * sample_mean(c));
    }
  }
  static double sample_mean(std::size_t c) { return 0.3 * static_cast<double>(c) - 4.0; }
  static double sample_variance(std::size_t c) {
    return c % 5 == 0 ? 0.0 : 0.2 * (1.0 + static_cast<double>(c));
  }

  struct Outcome {
    std::vector<float> mean, inv_std;
  };
  Outcome mix(double weight) {
    const Floats mean = floats(2 * kChannels), inv_std = floats(kChannels);
    StepState state;
    state.sample_weight = weight;
    run(BatchMix{1, kChannels, kEps},
        {Doubles(*device_, sums_), floats(mean_), floats(variance_), mean, inv_std}, state);
    return {mean.values(), inv_std.values()};
  }

  std::vector<float> mean_ = random_normal(kChannels, 1), variance_ = random_normal(kChannels, 2);
  std::vector<double> sums_ = std::vector<double>(2 * kChannels + 1);
};

TEST_P(BatchMixTest, MixesMomentsByTheWeight) {
  for (const double weight : {0.0, 0.05, 0.5, 1.0}) {
    SCOPED_TRACE(weight);
    const Outcome found = mix(weight);
    for (std::size_t c = 0; c < kChannels; ++c) {
      const double running = mean_[c], m = weight * sample_mean(c) + (1.0 - weight) * running;
      const double square =
          weight * (sample_variance(c) + sample_mean(c) * sample_mean(c)) +
          (1.0 - weight) * (static_cast<double>(variance_[c]) + running * running);
      EXPECT_NEAR(static_cast<double>(found.mean[c]) + found.mean[kChannels + c], m, 1e-12);
      const double inverse = 1.0 / std::sqrt(square - m * m + kEps);
      EXPECT_NEAR(found.inv_std[c], inverse, 1e-6 * inverse);
    }
  }
}

TEST_P(BatchMixTest, WithoutTheSampleItIsTheRunningStatisticsToTheBit) {
  const Floats mean = floats(2 * kChannels), inv_std = floats(kChannels);
  run(BatchFromRunning{1, kChannels, kEps}, {floats(mean_), floats(variance_), mean, inv_std});
  const Outcome found = mix(0.0);
  EXPECT_TRUE(same_bits(found.mean, mean.values()));
  EXPECT_TRUE(same_bits(found.inv_std, inv_std.values()));
}

TEST_P(BatchMixTest, ANanReachesTheOutput) {
  sums_[1 + 7] = NAN;
  const Outcome found = mix(0.5);
  EXPECT_TRUE(std::isnan(found.mean[7]));
  EXPECT_FALSE(std::isnan(found.mean[8]));
}

SYNCNORM_FOR_ALL_BACK_ENDS(BatchMixTest);

}  // namespace
}  // namespace syncnorm::test
