// Momentum batch norm (Yong et al. 2020) over several replicas against f64 by the definition, with
// the moving pair of the update before as a constant, and the schedule of λ.
#include "kernels/moving_channel.h"
#include "tests/kernels/cpu/variant_test.h"

namespace syncnorm::test {
namespace {

class MomentumNormTest : public VariantTest {
 protected:
  static VariantInputs inputs(const VariantSetting& s, unsigned seed) {
    VariantInputs in = variant_inputs(s, seed);
    in.moving_mean = random_normal(s.width(), seed + 7, 0.9f, 0.5f);
    in.moving_var = random_normal(s.width(), seed + 8, 3.0f, 0.4f);
    return in;
  }
};

TEST_P(MomentumNormTest, ForwardAndBackwardFollowTheDefinition) {
  unsigned seed = 1;
  for (const int channels : {1, 7, 33, 70})
    for (const bool relu : {false, true})
      for (const bool keep_g : {false, true}) {
        VariantSetting s{Deviation::l2, 1.0, relu, keep_g, {2, 0, 3, 1}};
        s.channels = channels;
        s.schedule = MomentumSchedule{0.25, 5};
        s.state.step = 3;  // the fourth of five updates
        const double lambda = std::pow(0.25, 0.25) - 0.25;
        const VariantInputs in = inputs(s, seed += 10);
        const VariantOutputs out = pass(s, in);
        for (std::size_t c = 0; c < s.width(); ++c) {
          const std::vector<double> x = column(in.x, c, s.width());
          ColumnNorm norm = oracle(s, in, c);
          norm.lambda = lambda;
          norm.moving_mean = static_cast<double>(in.moving_mean[c]);
          norm.moving_var = static_cast<double>(in.moving_var[c]);
          expect_column(s, in, out, c, norm, 5e-6);
          EXPECT_NEAR(out.moving_mean[c], norm.used_mean(x), 1e-6);
          EXPECT_NEAR(out.moving_var[c], norm.used_square(x), 1e-6);
          const double n = static_cast<double>(x.size());
          EXPECT_NEAR(out.running_mean[c], 0.9 * 0.5 + 0.1 * ColumnNorm::mean(x), 1e-6);
          EXPECT_NEAR(out.running_var[c], 0.9 * 2.0 + 0.1 * norm.square(x) * n / (n - 1.0), 1e-6);
        }
      }
}

// λ is 0 in the first update, 1 − m/m0 from update T on, and ρ^(T/(T−1)·(T−t)) − ρ^T in between.
TEST_P(MomentumNormTest, LambdaRisesOverTheRamp) {
  for (const double share : {0.03125, 0.5}) {
    const int ramp = 9;
    const double rho = std::pow(share, 1.0 / ramp);
    double before = -1.0;
    for (int t = 1; t <= ramp; ++t) {
      const double lambda = momentum_at({share, ramp}, t - 1);
      EXPECT_NEAR(lambda, std::pow(rho, ramp / (ramp - 1.0) * (ramp - t)) - std::pow(rho, ramp),
                  1e-12);
      EXPECT_GT(lambda, before);
      before = lambda;
    }
    EXPECT_EQ(momentum_at({share, ramp}, 0), 0.0);
    EXPECT_EQ(momentum_at({share, ramp}, 1000000), 1.0 - share);
    EXPECT_EQ(momentum_at({share, 1}, 1), 1.0 - share);
  }
}

TEST_P(MomentumNormTest, WithoutMomentumItIsBatchNormToTheBit) {
  for (const bool relu : {false, true}) {
    VariantSetting plain{Deviation::l2, 1.0, relu, false, {2, 0, 3}};
    plain.channels = 33;
    plain.state.step = 4;
    VariantSetting whole = plain, first = plain, later = plain;
    whole.schedule = MomentumSchedule{1.0, 7};  // as many images as in an ideal set
    first.schedule = later.schedule = MomentumSchedule{0.5, 7};
    first.state.step = 0;
    const VariantInputs in = inputs(plain, 700);
    const VariantOutputs a = pass(plain, in);
    for (const VariantSetting& same : {whole, first}) {
      const VariantOutputs b = pass(same, in);
      EXPECT_TRUE(same_bits(a.y, b.y));
      EXPECT_TRUE(same_bits(a.dx, b.dx));
      EXPECT_TRUE(same_bits(a.dgamma, b.dgamma));
      EXPECT_TRUE(same_bits(a.dbeta, b.dbeta));
      EXPECT_TRUE(same_bits(a.running_mean, b.running_mean));
      EXPECT_TRUE(same_bits(a.running_var, b.running_var));
    }
    EXPECT_FALSE(same_bits(pass(later, in).y, a.y));
  }
}

TEST_P(MomentumNormTest, WithoutAnUpdateThePairsStay) {
  VariantSetting s{Deviation::l2, 1.0, false, false, {2, 1}};
  s.channels = 7;
  s.schedule = MomentumSchedule{0.5, 2};
  s.state.step = 5;
  const VariantInputs in = inputs(s, 900);
  const std::vector<float> y = pass(s, in).y;
  s.state.update_running = false;
  const VariantOutputs out = pass(s, in);
  EXPECT_TRUE(same_bits(out.y, y));
  EXPECT_TRUE(same_bits(out.moving_mean, in.moving_mean));
  EXPECT_TRUE(same_bits(out.moving_var, in.moving_var));
  EXPECT_TRUE(same_bits(out.running_mean, in.running_mean));
  EXPECT_TRUE(same_bits(out.running_var, in.running_var));
}

TEST_P(MomentumNormTest, ANanReachesTheOutput) {
  VariantSetting s{Deviation::l2, 1.0, false, false, {2, 1}};
  s.channels = 7;
  s.schedule = MomentumSchedule{0.5, 2};
  s.state.step = 5;
  VariantInputs in = inputs(s, 800);
  in.x[9] = NAN;
  const VariantOutputs out = pass(s, in);
  for (std::size_t i = 0; i < in.x.size(); ++i) {
    EXPECT_EQ(std::isnan(out.y[i]), i % 7 == 2) << i;
    EXPECT_EQ(std::isnan(out.dx[i]), i % 7 == 2) << i;
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(MomentumNormTest);

}  // namespace
}  // namespace syncnorm::test
