// The scaled residual add against its formula in f64, with and without ReLU, a second gradient and
// a kept gradient; and what must not change a bit.
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

constexpr double kAlpha = 0.4;
constexpr float kGain = -1.3f;

/// An empty dy2 is absent.
struct Inputs {
  std::vector<float> x, residual, dy, dy2;
};

struct Outputs {
  std::vector<float> y, dx, dgain, g;
};

Inputs random_inputs(std::size_t n, unsigned seed, bool two_gradients) {
  Inputs in{
      random_normal(n, seed, 0.4f), random_normal(n, seed + 1), random_normal(n, seed + 2), {}};
  if (two_gradients) in.dy2 = random_normal(n, seed + 3);
  return in;
}

class ResidualTest : public KernelTest {
 protected:
  void TearDown() override { emulation::set_order(emulation::Order::forward); }

  Outputs both(int samples, int pixels, int channels, const Inputs& in, bool relu, bool keeps) {
    const std::size_t n = in.x.size();
    const Floats x = floats(in.x), gain = floats({kGain}), residual = floats(in.residual);
    const Floats dy = floats(in.dy), dy2 = in.dy2.empty() ? Floats() : floats(in.dy2);
    const Floats y = floats(n), dx = floats(n), dgain = floats(1u);
    const Floats g = keeps ? floats(n) : Floats();
    run(ScaledAddForward{samples, pixels, channels, kAlpha, relu}, {x, gain, residual, y});
    run(ScaledAddBackward{samples, pixels, channels, kAlpha, relu},
        {dy, dy2, x, gain, relu ? Argument(y) : Argument(nullptr), dx, dgain, g});
    return {y.values(), dx.values(), dgain.values(), g.values()};
  }
};

TEST_P(ResidualTest, TheFormulasOnAwkwardShapes) {
  unsigned seed = 1;
  for (const int channels : {1, 3, 8, 17, 64, 300})
    for (const int pixels : {1, 5, 300})
      for (const bool relu : {false, true})
        for (const bool two : {false, true}) {
          SCOPED_TRACE(op_text(ScaledAddBackward{2, pixels, channels, kAlpha, relu}));
          const std::size_t n =
              2 * static_cast<std::size_t>(pixels) * static_cast<std::size_t>(channels);
          const Inputs in = random_inputs(n, seed++, two);
          const Outputs out = both(2, pixels, channels, in, relu, relu || two);
          std::vector<double> y, dx, g, dgain = {0.0};
          double scale = 0.0;
          for (std::size_t i = 0; i < n; ++i) {
            y.push_back(in.residual[i] + kAlpha * static_cast<double>(kGain) * in.x[i]);
            g.push_back(in.dy[i] + (two ? static_cast<double>(in.dy2[i]) : 0.0));
            if (relu && y[i] <= 0.0) y[i] = g[i] = 0.0;
            dx.push_back(kAlpha * static_cast<double>(kGain) * g[i]);
            dgain[0] += kAlpha * g[i] * in.x[i];
            scale += std::abs(kAlpha * g[i] * in.x[i]);
          }
          EXPECT_TRUE(near_relative(out.y, y, 1e-6));
          EXPECT_TRUE(near_relative(out.dx, dx, 1e-6));
          EXPECT_NEAR(out.dgain[0], dgain[0], 1e-6 * scale);
          if (relu || two) {
            EXPECT_TRUE(near_relative(out.g, g, 1e-6));
          }
        }
}

TEST_P(ResidualTest, KeepingTheGradientChangesNothing) {
  const Inputs in = random_inputs(2 * 35 * 24, 7, false);
  const Outputs kept = both(2, 35, 24, in, false, true),
                not_kept = both(2, 35, 24, in, false, false);
  EXPECT_TRUE(same_bits(kept.dx, not_kept.dx));
  EXPECT_TRUE(same_bits(kept.dgain, not_kept.dgain));
  EXPECT_TRUE(same_bits(kept.g, in.dy));
}

TEST_P(ResidualTest, TheOrderOfThreadsChangesNoBit) {
  if (!emulated()) GTEST_SKIP() << "of the emulated device's threads";
  const Inputs in = random_inputs(1400 * 48, 9, true);
  const Outputs before = both(2, 700, 48, in, true, true);
  emulation::set_order(emulation::Order::backward);
  const Outputs after = both(2, 700, 48, in, true, true);
  EXPECT_TRUE(same_bits(after.dgain, before.dgain));
  EXPECT_TRUE(same_bits(after.dx, before.dx));
}

SYNCNORM_FOR_ALL_BACK_ENDS(ResidualTest);

}  // namespace
}  // namespace syncnorm::test
