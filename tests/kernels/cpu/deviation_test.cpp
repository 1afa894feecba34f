// L1 and L∞ BatchNorm over several replicas, and frozen statistics, against f64 by the definition:
// outputs, gradients, ties of the largest deviation, running statistics, means far from zero.
#include <limits>

#include "tests/kernels/cpu/variant_test.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 5e-6;
const double kNormalFactor = std::sqrt(M_PI / 2.0);  // l1: s of normal values is their deviation
const std::pair<Deviation, double> kDeviations[] = {
    {Deviation::l1, 1.0}, {Deviation::l1, kNormalFactor}, {Deviation::linf, 1.0}};

class DeviationTest : public VariantTest {
 protected:
  /// Every channel of one pass; no kink may lie within the step of the oracle's difference.
  void compare(const VariantSetting& s, const VariantInputs& in, double tolerance = kTolerance) {
    const VariantOutputs out = pass(s, in);
    for (std::size_t c = 0; c < s.width(); ++c) {
      const ColumnNorm norm = oracle(s, in, c);
      const std::vector<double> x = column(in.x, c, s.width());
      const double mean = ColumnNorm::mean(x);
      ColumnNorm linear = norm;
      linear.relu = false;
      const std::vector<double> y = linear.forward(x);
      for (std::size_t i = 0; i < x.size(); ++i) {
        ASSERT_GT(std::abs(x[i] - mean), 4e-6) << "take another seed";
        if (s.relu) ASSERT_GT(std::abs(y[i]), 4e-6) << "take another seed";
      }
      expect_column(s, in, out, c, norm, tolerance);
    }
  }
};

TEST_P(DeviationTest, ForwardAndBackwardFollowTheDefinition) {
  unsigned seed = 1;
  for (const auto& [deviation, factor] : kDeviations)
    for (const int channels : {1, 3, 7, 9, 17, 33, 70})
      for (const bool relu : {false, true}) {
        SCOPED_TRACE(op_text(BatchFinalizeDeviation{1, channels, deviation, factor}));
        VariantSetting s{deviation, factor, relu};
        s.channels = channels;
        compare(s, variant_inputs(s, seed += 10));
      }
}

TEST_P(DeviationTest, SeveralReplicasMakeOneBatch) {
  unsigned seed = 1000;
  for (const auto& [deviation, factor] : kDeviations)
    for (const bool keep_g : {false, true}) {
      SCOPED_TRACE(op_text(BatchFinalizeDeviation{1, 9, deviation, factor}));
      VariantSetting s{deviation, factor, true, keep_g, {2, 0, 3, 1, 2}};
      s.channels = 9;
      compare(s, variant_inputs(s, seed += 10));
    }
}

// The loops work in blocks of 16 to 512 rows.
TEST_P(DeviationTest, RowsAcrossBlockBoundaries) {
  unsigned seed = 2000;
  for (const auto& [deviation, factor] : kDeviations)
    for (const int rows : {15, 513, 600}) {
      VariantSetting s{deviation, factor, false, false, {rows, 7}, 1, 3};
      compare(s, variant_inputs(s, seed += 10));
    }
}

TEST_P(DeviationTest, MeansFarFromZero) {
  unsigned seed = 3000;
  for (const auto& [deviation, factor] : kDeviations)
    for (const bool relu : {false, true}) {
      SCOPED_TRACE(op_text(BatchFinalizeDeviation{1, 17, deviation, factor}));
      VariantSetting s{deviation, factor, relu, false, {2, 3, 1}};
      s.channels = 17;
      compare(s, variant_inputs(s, seed += 10, 1e3f));
    }
}

// ±4 three times among eight values, in two replicas: each is a third of the maximum.
TEST_P(DeviationTest, TiesShareTheGradientOfTheLargestDeviation) {
  VariantSetting s{Deviation::linf, 1.0, false, false, {4, 0, 4}, 1, 1};
  VariantInputs in = variant_inputs(s, 4000);
  in.x = {4.0f, -4.0f, -1.0f, -1.0f, 4.0f, -1.0f, -1.0f, 0.0f};
  const VariantOutputs out = pass(s, in);
  EXPECT_EQ(out.deviation, std::vector<double>{4.0});
  EXPECT_EQ(out.maxima, (std::vector<double>{3.0, 1.0}));  // how many, and their signs
  ColumnNorm norm = oracle(s, in, 0);
  norm.largest = {0, 1, 4};
  expect_column(s, in, out, 0, norm, 1e-6);
  // Shared equally: what the three get beyond the gradient of a constant s is of one size.
  norm.largest = {0};
  const auto alone = norm.input_gradient(column(in.x, 0, 1), column(in.dy, 0, 1));
  EXPECT_GT(std::abs(alone[0] - static_cast<double>(out.dx[0])), 1e-2)
      << "the tie must make a difference";
}

TEST_P(DeviationTest, RunningVarianceIsTheSquaredDeviation) {
  for (const auto& [deviation, factor] : kDeviations) {
    VariantSetting s{deviation, factor, false, false, {2, 1}};
    s.channels = 3;
    s.momentum = 0.25;
    const VariantInputs in = variant_inputs(s, 5000);
    const VariantOutputs out = pass(s, in);
    for (std::size_t c = 0; c < 3; ++c) {
      const std::vector<double> x = column(in.x, c, 3);
      EXPECT_NEAR(out.running_var[c], 0.75 * 2.0 + 0.25 * oracle(s, in, c).square(x), 1e-6);
      EXPECT_NEAR(out.running_mean[c], 0.75 * 0.5 + 0.25 * ColumnNorm::mean(x), 1e-6);
    }
    s.state.update_running = false;
    EXPECT_EQ(pass(s, in).running_var, in.running_var);
    EXPECT_EQ(pass(s, in).running_mean, in.running_mean);
  }
}

// A group without samples, or with one value, keeps its running pair as it was.
TEST_P(DeviationTest, FewerThanTwoValuesLeaveRunningStatistics) {
  for (const auto& [deviation, factor] : kDeviations)
    for (const int count : {0, 1}) {
      VariantSetting s{deviation, factor, false, false, {0, count}, 1, 2};
      const VariantInputs in = variant_inputs(s, 5100);
      const VariantOutputs out = pass(s, in);
      EXPECT_EQ(out.running_var, in.running_var);
      EXPECT_EQ(out.running_mean, in.running_mean);
      for (const float y : out.y) EXPECT_TRUE(std::isfinite(y));
    }
}

TEST_P(DeviationTest, NormalValuesHaveTheirStandardDeviation) {
  VariantSetting s{Deviation::l1, kNormalFactor, false, false, {20000}, 1, 1};
  s.momentum = 1.0;
  VariantInputs in = variant_inputs(s, 6000);
  EXPECT_NEAR(pass(s, in).running_var[0], 1.69, 0.04);  // 1.3², four standard errors
  s.factor = 1.0;
  EXPECT_NEAR(pass(s, in).running_var[0], 1.69 * 2.0 / M_PI, 0.04);
}

TEST_P(DeviationTest, ConstantsGiveBetaAndAFiniteGradient) {
  for (const auto& [deviation, factor] : kDeviations)
    for (const float value : {0.0f, 3.0f, -1e4f}) {
      VariantSetting s{deviation, factor, false, false, {3, 1}};
      s.channels = 3;
      VariantInputs in = variant_inputs(s, 7000);
      std::fill(in.x.begin(), in.x.end(), value);
      const VariantOutputs out = pass(s, in);
      for (std::size_t c = 0; c < 3; ++c) {
        const std::vector<double> dy = column(in.dy, c, 3);
        const double scale = static_cast<double>(in.gamma[c]) / std::sqrt(s.eps);
        for (std::size_t i = 0; i < dy.size(); ++i) {
          EXPECT_EQ(out.y[i * 3 + c], in.beta[c]);
          EXPECT_NEAR(out.dx[i * 3 + c], scale * (dy[i] - ColumnNorm::mean(dy)),
                      1e-6 * std::abs(scale));
        }
      }
    }
}

TEST_P(DeviationTest, NothingHidesANanOrAnInfinity) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto& [deviation, factor] : kDeviations)
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity})
      for (const bool relu : {false, true})
        for (const std::size_t at : {0u, 15u, 40u, 104u}) {
          VariantSetting s{deviation, factor, relu, false, {1, 0, 2}};
          s.channels = 7;
          VariantInputs in = variant_inputs(s, 8000);
          in.x[at] = bad;
          const VariantOutputs out = pass(s, in);
          for (std::size_t i = 0; i < in.x.size(); ++i) {
            EXPECT_EQ(std::isnan(out.y[i]), i % 7 == at % 7) << i;
            EXPECT_EQ(std::isnan(out.dx[i]), i % 7 == at % 7) << i;
          }
          for (std::size_t c = 0; c < 7; ++c) {
            EXPECT_EQ(!std::isfinite(out.running_mean[c]), c == at % 7) << c;
            EXPECT_EQ(std::isnan(out.running_var[c]), c == at % 7) << c;
          }
        }
}

TEST_P(DeviationTest, ANanGradientReachesEveryGradientOfItsChannel) {
  for (const auto& [deviation, factor] : kDeviations) {
    VariantSetting s{deviation, factor, false, false, {1, 2}};
    s.channels = 7;
    VariantInputs in = variant_inputs(s, 8100);
    in.dy[8] = std::numeric_limits<float>::quiet_NaN();
    const VariantOutputs out = pass(s, in);
    for (std::size_t i = 0; i < in.x.size(); ++i) EXPECT_EQ(std::isnan(out.dx[i]), i % 7 == 1) << i;
    EXPECT_TRUE(std::isnan(out.dgamma[1]));
    EXPECT_FALSE(std::isnan(out.dgamma[0]));
  }
}

// With constant statistics dx = γ·inv_std·g, whatever x is and without any sum.
TEST_P(DeviationTest, FrozenStatisticsPassTheGradientOnScaled) {
  for (const int channels : {1, 7, 33})
    for (const bool relu : {false, true})
      for (const bool bare : {false, true}) {
        VariantSetting s{Deviation::l2, 1.0, relu};
        s.channels = channels;
        VariantInputs in = variant_inputs(s, 9000 + static_cast<unsigned>(channels));
        if (bare) {
          in.gamma.clear();
          in.beta.clear();
        }
        in.running_var = random_normal(s.width(), 9100, 3.0f, 0.3f);
        const Floats x = floats(in.x), dy = floats(in.dy), dx = floats(in.x.size());
        const Floats gamma = bare ? Floats() : floats(in.gamma);
        const Floats beta = bare ? Floats() : floats(in.beta);
        const Floats mean = floats(2 * s.width()), inv_std = floats(s.width());
        run(BatchFromRunning{1, channels, 1e-3},
            {floats(in.running_mean), floats(in.running_var), mean, inv_std});
        run(BatchInputGradient{6, 5, channels, relu, Deviation::l2, 1.0, true},
            {dy, x, mean, inv_std, gamma, beta, nullptr, nullptr, nullptr, nullptr, nullptr, dx});
        for (std::size_t i = 0; i < in.x.size(); ++i) {
          const std::size_t c = i % s.width();
          const double weight = bare ? 1.0 : static_cast<double>(in.gamma[c]);
          const double scale = weight / std::sqrt(static_cast<double>(in.running_var[c]) + 1e-3);
          const double y = scale * (in.x[i] - static_cast<double>(in.running_mean[c])) +
                           (bare ? 0.0 : static_cast<double>(in.beta[c]));
          ASSERT_GT(std::abs(y), 1e-6) << "take another seed";
          EXPECT_NEAR(dx[i], relu && y < 0.0 ? 0.0 : scale * in.dy[i], 1e-6) << i;
        }
      }
}

SYNCNORM_FOR_ALL_BACK_ENDS(DeviationTest);

}  // namespace
}  // namespace syncnorm::test
