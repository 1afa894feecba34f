// Layer norm over channels against the f64 oracle, in which every pixel is a sample of one pixel,
// and what must not change a bit: the way in which the ReLU mask is found, the kept gradient, the
// neighbours of a row, the order of threads.
#include "tests/kernels/cpu/norm_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

constexpr double kEps = 1e-5;

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

NormInputs random_inputs(int rows, int channels, unsigned seed, bool residual = false) {
  const std::size_t n = to_size(rows) * to_size(channels);
  NormInputs in;
  in.x = random_normal(n, seed, 0.7f, 1.3f);
  in.gamma = random_normal(to_size(channels), seed + 1, 1.0f, 0.4f);
  in.beta = random_normal(to_size(channels), seed + 2);
  if (residual) in.residual = random_normal(n, seed + 3);
  in.dy = random_normal(n, seed + 4);
  return in;
}

class ChannelNormTest : public NormTest {
 protected:
  void TearDown() override { emulation::set_order(emulation::Order::forward); }

  NormOutputs both(int samples, int channels, const NormInputs& in, const NormPath& path) {
    const std::size_t n = in.x.size(), c = to_size(channels);
    const int pixels = static_cast<int>(n / c) / samples;
    const Floats x = floats(in.x), gamma = optional(in.gamma), beta = optional(in.beta);
    const Floats residual = optional(in.residual), dy = floats(in.dy), dy2 = optional(in.dy2);
    const Floats y = floats(n), dx = floats(n), g = path.keep_g ? floats(n) : Floats();
    const Floats dgamma = in.gamma.empty() ? Floats() : floats(c);
    const Floats dbeta = in.beta.empty() ? Floats() : floats(c);
    run(ChannelNormForward{samples, pixels, channels, kEps, path.relu},
        {x, gamma, beta, residual, y});
    const Argument mask = path.mask_from_y ? Argument(y) : Argument(nullptr);
    run(ChannelNormBackward{samples, pixels, channels, kEps, path.relu},
        {dy, dy2, x, gamma, beta, mask, dx, dgamma, dbeta, g});
    NormOutputs out;
    out.y = y.values();
    out.dx = dx.values();
    out.dgamma = dgamma.values();
    out.dbeta = dbeta.values();
    out.g = g.values();
    return out;
  }

  /// The largest 1/σ of the rows, which is the scale of dx.
  static double largest_inverse(const NormResult& r) {
    double most = 0.0;
    for (const double variance : r.variance)
      most = std::max(most, 1.0 / std::sqrt(variance + kEps));
    return most;
  }

  void compare(int rows, int channels, const NormInputs& in, const NormPath& path,
               double tolerance = 1e-6) {
    const NormShape shape{rows, 1, channels, 1, kEps};
    const NormOutputs out = both(1, channels, in, path);
    const NormResult e =
        norm_reference(shape, in.x, in.gamma, in.beta, in.residual, path.relu, in.dy);
    EXPECT_TRUE(near_relative(out.y, e.y, tolerance, 1e-2));
    EXPECT_TRUE(near_relative(out.dx, e.dx, tolerance, largest_inverse(e)));
    EXPECT_TRUE(near_relative(out.dgamma, e.dgamma, 5e-6, 1e-1));
    EXPECT_TRUE(near_relative(out.dbeta, e.dbeta, 5e-6, 1e-1));
    if (path.keep_g) EXPECT_TRUE(near_relative(out.g, e.g, 1e-7));
  }

  static void expect_same(const NormOutputs& a, const NormOutputs& b) {
    EXPECT_TRUE(same_bits(a.y, b.y));
    EXPECT_TRUE(same_bits(a.dx, b.dx));
    EXPECT_TRUE(same_bits(a.dgamma, b.dgamma));
    EXPECT_TRUE(same_bits(a.dbeta, b.dbeta));
  }
};

// Channels that fill no vector, rows on both sides of the CPU's groups and blocks, and so many that
// CUDA's reductions have two phases. 600 and 2100 channels have several panels.
TEST_P(ChannelNormTest, TheFormulasOnAwkwardShapes) {
  unsigned seed = 1;
  for (const int channels : {2, 3, 8, 17, 27, 64, 70, 600, 2100})
    for (const int rows : {1, 5, 33, 152, 2048})
      for (const bool fused : {false, true}) {
        if (channels > 64 && rows > 33) continue;
        SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(channels) + " channels" +
                     (fused ? ", fused" : ""));
        compare(rows, channels, random_inputs(rows, channels, seed += 10, fused),
                {fused, fused, fused});
      }
}

TEST_P(ChannelNormTest, OneChannelIsBeta) {
  const NormInputs in = random_inputs(5, 1, 9);
  const NormOutputs out = both(1, 1, in, {});
  EXPECT_EQ(out.y, std::vector<float>(5, in.beta[0]));
  EXPECT_EQ(out.dx, std::vector<float>(5, 0.0f));
}

TEST_P(ChannelNormTest, AMeanOfTenThousandDeviationsCostsNoAccuracy) {
  for (const int channels : {16, 33, 600}) {
    NormInputs in = random_inputs(40, channels, 30);
    for (float& x : in.x) x += 13000.0f;
    compare(40, channels, in, {}, 3e-6);
  }
}

TEST_P(ChannelNormTest, ConstantRowsAreBeta) {
  for (const int channels : {3, 16, 70}) {
    NormInputs in = random_inputs(4, channels, 35);
    in.x.assign(in.x.size(), 0.1f);
    const NormOutputs out = both(1, channels, in, {});
    for (std::size_t i = 0; i < in.x.size(); ++i)
      EXPECT_NEAR(out.y[i], in.beta[i % to_size(channels)], 1e-4f);
  }
}

TEST_P(ChannelNormTest, ANanOrAnInfinitySpoilsItsRowAlone) {
  for (const float bad : {NAN, INFINITY})
    for (const int channels : {5, 16, 33}) {
      NormInputs in = random_inputs(9, channels, 37);
      in.x[to_size(4 * channels + 2)] = bad;
      const NormOutputs out = both(1, channels, in, {true, false, false});
      for (std::size_t i = 0; i < in.x.size(); ++i)
        EXPECT_EQ(std::isnan(out.y[i]), i / to_size(channels) == 4) << i;
    }
}

TEST_P(ChannelNormTest, TheResultOfARowDoesNotDependOnItsPlace) {
  for (const int channels : {3, 16, 21, 80}) {
    const NormInputs one = random_inputs(1, channels, 40);
    NormInputs many = one;
    for (int row = 1; row < 7; ++row) {
      many.x.insert(many.x.end(), one.x.begin(), one.x.end());
      many.dy.insert(many.dy.end(), one.dy.begin(), one.dy.end());
    }
    const NormOutputs a = both(1, channels, one, {}), b = both(1, channels, many, {});
    for (std::size_t i = 0; i < many.x.size(); ++i) {
      EXPECT_EQ(b.y[i], a.y[i % to_size(channels)]);
      EXPECT_EQ(b.dx[i], a.dx[i % to_size(channels)]);
    }
  }
}

// β cancels the first row's γ·x̂ to the last bit, so that its mask depends on every rounding.
TEST_P(ChannelNormTest, TheRecomputedMaskIsTheForwardPasss) {
  for (const int channels : {2, 7, 33, 64}) {
    const std::size_t c = to_size(channels);
    NormInputs in = random_inputs(153, channels, 50);
    in.beta.assign(c, 0.0f);
    const NormOutputs plain = both(1, channels, in, {});
    for (std::size_t k = 0; k < c; ++k) in.beta[k] = -plain.y[k];
    const NormOutputs recomputed = both(1, channels, in, {true, false, true});
    const NormOutputs from_y = both(1, channels, in, {true, true, true});
    for (std::size_t i = 0; i < in.x.size(); ++i)
      EXPECT_EQ(recomputed.g[i], recomputed.y[i] > 0.0f ? in.dy[i] : 0.0f);
    EXPECT_TRUE(same_bits(recomputed.g, from_y.g));
    expect_same(recomputed, from_y);
  }
}

TEST_P(ChannelNormTest, KeepingTheGradientChangesNothing) {
  const NormInputs in = random_inputs(40, 9, 60);
  for (const bool relu : {false, true}) {
    const NormOutputs kept = both(2, 9, in, {relu, false, true});
    expect_same(kept, both(2, 9, in, {relu, false, false}));
    if (!relu) EXPECT_TRUE(same_bits(kept.g, in.dy));
  }
}

TEST_P(ChannelNormTest, TheSecondGradientIsAdded) {
  NormInputs split = random_inputs(40, 9, 70);
  NormInputs whole = split;
  split.dy2 = random_normal(split.x.size(), 76);
  for (std::size_t i = 0; i < whole.dy.size(); ++i) whole.dy[i] += split.dy2[i];
  expect_same(both(1, 9, split, {true, true, true}), both(1, 9, whole, {true, true, true}));
}

TEST_P(ChannelNormTest, AbsentGammaAndBetaAreOneAndZero) {
  NormInputs bare = random_inputs(12, 9, 80);
  bare.gamma.clear();
  bare.beta.clear();
  NormInputs neutral = bare;
  neutral.gamma.assign(9, 1.0f);
  neutral.beta.assign(9, 0.0f);
  const NormOutputs a = both(3, 9, bare, {true, false, false});
  const NormOutputs b = both(3, 9, neutral, {true, false, false});
  EXPECT_TRUE(same_bits(a.y, b.y));
  EXPECT_TRUE(same_bits(a.dx, b.dx));
}

// Threads that raced would give other bits when they take turns the other way round.
TEST_P(ChannelNormTest, TheOrderOfThreadsChangesNoBit) {
  if (!emulated()) GTEST_SKIP() << "of the emulated device's threads";
  for (const int channels : {3, 48, 80}) {
    const NormInputs in = random_inputs(1400, channels, 90, true);
    const NormOutputs before = both(2, channels, in, {true, true, true});
    emulation::set_order(emulation::Order::backward);
    const NormOutputs after = both(2, channels, in, {true, true, true});
    emulation::set_order(emulation::Order::forward);
    expect_same(after, before);
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(ChannelNormTest);

}  // namespace
}  // namespace syncnorm::test
