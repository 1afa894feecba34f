// Batch renormalization (Ioffe 2017) over several replicas against f64 by the definition, with r
// and d taken from the running pair before its update and treated as constants, and the schedule
// of their limits.
#include "kernels/norm_math.h"
#include "tests/kernels/cpu/variant_test.h"

namespace syncnorm::test {
namespace {

double clipped(double value, double low, double high) {
  return std::max(low, std::min(value, high));
}

class RenormalizationTest : public VariantTest {};

TEST_P(RenormalizationTest, ForwardAndBackwardFollowTheDefinition) {
  unsigned seed = 1;
  for (const int channels : {1, 7, 33, 70})
    for (const bool relu : {false, true})
      for (const bool keep_g : {false, true}) {
        VariantSetting s{Deviation::l2, 1.0, relu, keep_g, {2, 0, 3, 1}};
        s.channels = channels;
        s.renormalization = {true, 1.3, 0.2, 0, 0};
        s.state.step = 1;
        VariantInputs in = variant_inputs(s, seed += 10);
        in.running_mean = random_normal(s.width(), seed + 5, 0.7f, 0.4f);
        in.running_var = random_normal(s.width(), seed + 6, 2.2f, 0.5f);
        const VariantOutputs out = pass(s, in);
        int inside = 0, clipped_ones = 0;
        for (std::size_t c = 0; c < s.width(); ++c) {
          const std::vector<double> x = column(in.x, c, s.width());
          ColumnNorm norm = oracle(s, in, c);
          const double running_std = std::sqrt(static_cast<double>(in.running_var[c]) + s.eps);
          const double r = std::sqrt(norm.square(x) + s.eps) / running_std;
          const double d =
              (ColumnNorm::mean(x) - static_cast<double>(in.running_mean[c])) / running_std;
          norm.r = clipped(r, 1.0 / 1.3, 1.3);
          norm.d = clipped(d, -0.2, 0.2);
          (norm.d == d ? inside : clipped_ones) += 1;
          EXPECT_NEAR(out.correction[c], norm.r, 1e-6);
          EXPECT_NEAR(out.correction[s.width() + c], norm.d, 1e-6);
          expect_column(s, in, out, c, norm, 5e-6);
          // The pair itself follows the batch as in plain BatchNorm.
          const double n = static_cast<double>(x.size());
          EXPECT_NEAR(out.running_mean[c], 0.9 * in.running_mean[c] + 0.1 * ColumnNorm::mean(x),
                      1e-6);
          EXPECT_NEAR(out.running_var[c],
                      0.9 * in.running_var[c] + 0.1 * norm.square(x) * n / (n - 1.0), 1e-6);
        }
        if (channels < 30) continue;
        EXPECT_GT(inside, 3);
        EXPECT_GT(clipped_ones, 3);
      }
}

// Where nothing is clipped, x̂·r + d is x normalized by the running pair.
TEST_P(RenormalizationTest, UnclippedItNormalizesByTheRunningPair) {
  VariantSetting s{Deviation::l2, 1.0, false, false, {3, 3}};
  s.channels = 9;
  s.renormalization = {true, 100.0, 100.0, 0, 0};
  s.state.step = 1;
  const VariantInputs in = variant_inputs(s, 500);
  const VariantOutputs out = pass(s, in);
  for (std::size_t i = 0; i < in.x.size(); ++i) {
    const std::size_t c = i % 9;
    EXPECT_NEAR(out.y[i], in.gamma[c] * (in.x[i] - 0.5) / std::sqrt(2.0 + s.eps) + in.beta[c],
                1e-5);
  }
}

// In the first `start` updates the limits are 1 and 0; over `ramp` updates they grow to r_max and
// d_max.
TEST_P(RenormalizationTest, TheLimitsGrowFromStartOverTheRamp) {
  struct Row {
    std::uint64_t step;
    int start, ramp;
    double share;
  };
  for (const Row& row : {Row{0, 10, 20, 0.0},
                         {10, 10, 20, 0.0},
                         {11, 10, 20, 0.05},
                         {20, 10, 20, 0.5},
                         {30, 10, 20, 1.0},
                         {1000000, 10, 20, 1.0},
                         {9, 10, 0, 0.0},
                         {10, 10, 0, 1.0},
                         {0, 0, 0, 1.0}}) {
    SCOPED_TRACE("step " + std::to_string(row.step));
    // Three channels of batch deviation 100, 0.01 and 1 beside a running one of 1, their means
    // 1000 above, 1000 below and at the running one's.
    const double n = 4.0, mean[] = {1000.0, -1000.0, 0.0}, var[] = {1e4, 1e-4, 1.0};
    std::vector<double> sums = {n};
    for (const double m : mean) sums.push_back(n * m);
    for (int c = 0; c < 3; ++c) sums.push_back(n * var[c] + n * mean[c] * mean[c]);
    const Floats mean_out = floats(6), inv_std = floats(3), correction = floats(6);
    const Floats running_mean = floats(std::vector<float>(3, 0.0f));
    const Floats running_var = floats(std::vector<float>(3, 1.0f));
    StepState state;
    state.step = row.step;
    run(BatchFinalize{1, 3, 1e-12, 0.1, {true, 3.0, 5.0, row.start, row.ramp}},
        {Doubles(*device_, sums), mean_out, inv_std, running_mean, running_var, correction}, state);
    const double r = 1.0 + 2.0 * row.share, d = 5.0 * row.share;
    EXPECT_FLOAT_EQ(correction[0], static_cast<float>(r));
    EXPECT_FLOAT_EQ(correction[1], static_cast<float>(1.0 / r));
    EXPECT_FLOAT_EQ(correction[2], 1.0f);
    EXPECT_FLOAT_EQ(correction[3], static_cast<float>(d));
    EXPECT_FLOAT_EQ(correction[4], static_cast<float>(-d));
    EXPECT_EQ(correction[5], 0.0f);
  }
}

TEST_P(RenormalizationTest, BeforeStartItIsBatchNormToTheBit) {
  for (const bool relu : {false, true}) {
    VariantSetting plain{Deviation::l2, 1.0, relu, false, {2, 0, 3}};
    plain.channels = 33;
    VariantSetting renormalized = plain;
    renormalized.renormalization = {true, 3.0, 5.0, 100, 10};
    renormalized.state.step = 100;
    const VariantInputs in = variant_inputs(plain, 700);
    const VariantOutputs a = pass(plain, in), b = pass(renormalized, in);
    EXPECT_TRUE(same_bits(a.y, b.y));
    EXPECT_TRUE(same_bits(a.dx, b.dx));
    EXPECT_TRUE(same_bits(a.dgamma, b.dgamma));
    EXPECT_TRUE(same_bits(a.dbeta, b.dbeta));
    EXPECT_TRUE(same_bits(a.running_mean, b.running_mean));
    EXPECT_TRUE(same_bits(a.running_var, b.running_var));
    renormalized.state.step = 105;
    EXPECT_FALSE(same_bits(pass(renormalized, in).y, a.y));
  }
}

TEST_P(RenormalizationTest, ANanReachesTheOutput) {
  VariantSetting s{Deviation::l2, 1.0, false, false, {2, 1}};
  s.channels = 7;
  s.renormalization = {true, 3.0, 5.0, 0, 0};
  s.state.step = 1;
  VariantInputs in = variant_inputs(s, 800);
  in.x[9] = NAN;
  const VariantOutputs out = pass(s, in);
  for (std::size_t i = 0; i < in.x.size(); ++i) {
    EXPECT_EQ(std::isnan(out.y[i]), i % 7 == 2) << i;
    EXPECT_EQ(std::isnan(out.dx[i]), i % 7 == 2) << i;
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(RenormalizationTest);

}  // namespace
}  // namespace syncnorm::test
