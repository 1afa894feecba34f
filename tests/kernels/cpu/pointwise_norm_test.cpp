// Pointwise norms against their formulas in f64 on awkward shapes, the accuracy of their functions,
// and what must not change a bit: the place of a value, the way in which the ReLU mask is found,
// the order of threads.
#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

constexpr PointwiseFunction kFunctions[] = {PointwiseFunction::tanh, PointwiseFunction::erf};
constexpr float kAlpha = 0.7f, kShift = -0.3f;

/// Empty vectors are absent arguments.
struct Inputs {
  std::vector<float> x, gamma, beta, residual, dy, dy2;
};

struct Path {
  bool relu = false;
  bool mask_from_y = false;
  bool keep_g = false;
};

struct Outputs {
  std::vector<float> y, dx, dalpha, dshift, dgamma, dbeta, g;
};

struct Expected {
  std::vector<double> y, dx, dalpha = {0.0}, dshift = {0.0}, dgamma, dbeta, g;
};

double value_of(PointwiseFunction function, double z) {
  return function == PointwiseFunction::tanh ? std::tanh(z) : std::erf(z);
}

double slope_of(PointwiseFunction function, double z) {
  return function == PointwiseFunction::tanh ? 1.0 / (std::cosh(z) * std::cosh(z))
                                             : 2.0 / std::sqrt(std::acos(-1.0)) * std::exp(-z * z);
}

Expected reference(PointwiseFunction function, std::size_t channels, const Inputs& in, bool relu) {
  Expected e;
  e.dgamma.assign(channels, 0.0);
  e.dbeta.assign(channels, 0.0);
  for (std::size_t i = 0; i < in.x.size(); ++i) {
    const std::size_t c = i % channels;
    const double x = in.x[i], z = static_cast<double>(kAlpha) * x + static_cast<double>(kShift);
    const double f = value_of(function, z);
    const double gamma = in.gamma.empty() ? 1.0 : static_cast<double>(in.gamma[c]);
    double y = gamma * f + (in.beta.empty() ? 0.0 : static_cast<double>(in.beta[c]));
    if (!in.residual.empty()) y += in.residual[i];
    double g = in.dy[i];
    if (!in.dy2.empty()) g += in.dy2[i];
    if (relu && y <= 0.0) y = g = 0.0;
    const double dz = gamma * g * slope_of(function, z);
    e.y.push_back(y);
    e.g.push_back(g);
    e.dx.push_back(static_cast<double>(kAlpha) * dz);
    e.dalpha[0] += dz * x;
    e.dshift[0] += dz;
    e.dgamma[c] += g * f;
    e.dbeta[c] += g;
  }
  return e;
}

Inputs random_inputs(std::size_t rows, std::size_t channels, unsigned seed, bool residual = false) {
  const std::size_t n = rows * channels;
  Inputs in;
  in.x = random_normal(n, seed, 0.3f, 2.0f);
  in.gamma = random_normal(channels, seed + 1, 1.0f, 0.4f);
  in.beta = random_normal(channels, seed + 2);
  if (residual) in.residual = random_normal(n, seed + 3);
  in.dy = random_normal(n, seed + 4);
  return in;
}

class PointwiseNormTest : public KernelTest {
 protected:
  void TearDown() override { emulation::set_order(emulation::Order::forward); }

  Floats optional(const std::vector<float>& values) {
    return values.empty() ? Floats() : floats(values);
  }

  Outputs both(PointwiseFunction function, int samples, int channels, const Inputs& in,
               const Path& path) {
    const std::size_t n = in.x.size(), c = static_cast<std::size_t>(channels);
    const int pixels = static_cast<int>(n / c) / samples;
    const Floats x = floats(in.x), alpha = floats({kAlpha}), shift = floats({kShift});
    const Floats gamma = optional(in.gamma), beta = optional(in.beta);
    const Floats residual = optional(in.residual), dy = floats(in.dy), dy2 = optional(in.dy2);
    const Floats y = floats(n), dx = floats(n), dalpha = floats(1u), dshift = floats(1u);
    const Floats dgamma = in.gamma.empty() ? Floats() : floats(c);
    const Floats dbeta = in.beta.empty() ? Floats() : floats(c);
    const Floats g = path.keep_g ? floats(n) : Floats();
    run(PointwiseNormForward{samples, pixels, channels, function, path.relu},
        {x, alpha, shift, gamma, beta, residual, y});
    const Argument mask = path.mask_from_y ? Argument(y) : Argument(nullptr);
    run(PointwiseNormBackward{samples, pixels, channels, function, path.relu},
        {dy, dy2, x, alpha, shift, gamma, beta, mask, dx, dalpha, dshift, dgamma, dbeta, g});
    return {y.values(),      dx.values(),    dalpha.values(), dshift.values(),
            dgamma.values(), dbeta.values(), g.values()};
  }

  static void expect_same_gradients(const Outputs& a, const Outputs& b) {
    EXPECT_TRUE(same_bits(a.dx, b.dx));
    EXPECT_TRUE(same_bits(a.dalpha, b.dalpha));
    EXPECT_TRUE(same_bits(a.dshift, b.dshift));
    EXPECT_TRUE(same_bits(a.dgamma, b.dgamma));
    EXPECT_TRUE(same_bits(a.dbeta, b.dbeta));
  }
};

// Rows on both sides of the CPU's blocks, and so many that CUDA's reductions have two phases.
TEST_P(PointwiseNormTest, TheFormulasOnAwkwardShapes) {
  unsigned seed = 1;
  for (const PointwiseFunction function : kFunctions)
    for (const int channels : {1, 3, 8, 17, 64, 70, 300})
      for (const int rows : {1, 31, 33, 257, 2048})
        for (const bool fused : {false, true}) {
          if (channels > 64 && rows > 257) continue;
          SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(channels) + " channels" +
                       (fused ? ", fused" : ""));
          const auto c = static_cast<std::size_t>(channels);
          const Inputs in = random_inputs(static_cast<std::size_t>(rows), c, seed += 10, fused);
          const Outputs out = both(function, 1, channels, in, {fused, fused, fused});
          const Expected e = reference(function, c, in, fused);
          EXPECT_TRUE(near_relative(out.y, e.y, 1e-6, 1e-2));
          EXPECT_TRUE(near_relative(out.dx, e.dx, 1e-6, 1e-1));
          EXPECT_TRUE(near_relative(out.dgamma, e.dgamma, 5e-6, 1.0));
          EXPECT_TRUE(near_relative(out.dbeta, e.dbeta, 5e-6, 1.0));
          // Sums of all values, which nearly cancel.
          const double size = std::sqrt(static_cast<double>(in.x.size()));
          EXPECT_TRUE(near_relative(out.dalpha, e.dalpha, 5e-6, size));
          EXPECT_TRUE(near_relative(out.dshift, e.dshift, 5e-6, size));
          if (fused) EXPECT_TRUE(near_relative(out.g, e.g, 1e-7));
        }
}

// α = 1 and no γ, β or shift: y is the function itself. Every 4099th f32 value of either sign, and
// close steps where the functions bend.
TEST_P(PointwiseNormTest, TheFunctionsAreAccurateToThreeUlp) {
  std::vector<float> x = {0.0f, -0.0f, INFINITY, -INFINITY};
  for (std::uint32_t bits = 0; bits < 0x7F800000u; bits += 4099) {
    float value = 0.0f;
    std::memcpy(&value, &bits, sizeof value);
    if (value < 1e-37f) continue;  // squares and results below the normal range
    x.push_back(value);
    x.push_back(-value);
  }
  for (int i = -20000; i <= 20000; ++i) x.push_back(static_cast<float>(i) * 2.6e-4f);
  const int count = static_cast<int>(x.size());
  for (const PointwiseFunction function : kFunctions) {
    const Floats y = floats(x.size());
    run(PointwiseNormForward{1, 1, count, function},
        {floats(x), floats({1.0f}), nullptr, nullptr, nullptr, nullptr, y});
    double worst = 0.0;
    float at = 0.0f;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = value_of(function, static_cast<double>(x[i]));
      int exponent = 0;
      std::frexp(exact, &exponent);
      const double ulp = std::ldexp(1.0, std::max(exponent - 24, -149));
      const double error = std::abs(y[i] - exact) / ulp;
      if (!(error <= worst)) {
        worst = error;
        at = x[i];
      }
    }
    EXPECT_LE(worst, 3.0) << at;
    const Floats nan = floats({NAN}), out = floats(1u);
    run(PointwiseNormForward{1, 1, 1, function, true},
        {nan, floats({1.0f}), nullptr, nullptr, nullptr, nullptr, out});
    EXPECT_TRUE(std::isnan(out[0]));
  }
}

// dy = α = 1: dx is the derivative, which may cancel near the limits but never leaves [0, 2/√π].
TEST_P(PointwiseNormTest, TheSlopesAreAccurate) {
  std::vector<float> x = {0.0f, 1e-20f, -1e-20f, 11.0f, -40.0f, 3e38f};
  for (int i = -6000; i <= 6000; ++i) x.push_back(static_cast<float>(i) * 1e-3f);
  const int count = static_cast<int>(x.size());
  const std::vector<float> ones(x.size(), 1.0f);
  for (const PointwiseFunction function : kFunctions) {
    const Floats dx = floats(x.size()), dalpha = floats(1u);
    run(PointwiseNormBackward{1, 1, count, function},
        {floats(ones), nullptr, floats(x), floats({1.0f}), nullptr, nullptr, nullptr, nullptr, dx,
         dalpha, nullptr, nullptr, nullptr, nullptr});
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = std::abs(x[i]) > 30.0f ? 0.0 : slope_of(function, x[i]);
      EXPECT_NEAR(dx[i], exact, 3e-7) << x[i];
      EXPECT_GE(dx[i], 0.0f) << x[i];
    }
  }
}

// One value in all places of rows that fill no vector, behind any number of others.
TEST_P(PointwiseNormTest, TheResultOfAValueDoesNotDependOnItsPlace) {
  for (const PointwiseFunction function : kFunctions)
    for (const float value : {0.3711f, -1.9173f}) {
      std::vector<float> y, dx;
      for (const int channels : {1, 5, 8, 21, 33}) {
        Inputs in;
        in.x.assign(static_cast<std::size_t>(7 * channels), value);
        in.dy.assign(in.x.size(), 0.7393f);
        const Outputs out = both(function, 1, channels, in, {});
        y.insert(y.end(), out.y.begin(), out.y.end());
        dx.insert(dx.end(), out.dx.begin(), out.dx.end());
      }
      EXPECT_TRUE(same_bits(y, std::vector<float>(y.size(), y[0])));
      EXPECT_TRUE(same_bits(dx, std::vector<float>(dx.size(), dx[0])));
    }
}

// β cancels the first row's γ·f to the last bit, so that its mask depends on every rounding.
TEST_P(PointwiseNormTest, TheRecomputedMaskIsTheForwardPasss) {
  for (const PointwiseFunction function : kFunctions)
    for (const int channels : {1, 7, 33, 64}) {
      const auto c = static_cast<std::size_t>(channels);
      Inputs in = random_inputs(5, c, 40);
      in.beta.assign(c, 0.0f);
      const Outputs plain = both(function, 1, channels, in, {});
      for (std::size_t k = 0; k < c; ++k) in.beta[k] = -plain.y[k];
      const Outputs recomputed = both(function, 1, channels, in, {true, false, true});
      const Outputs from_y = both(function, 1, channels, in, {true, true, true});
      EXPECT_TRUE(same_bits(recomputed.g, from_y.g));
      for (std::size_t i = 0; i < in.x.size(); ++i)
        EXPECT_EQ(recomputed.g[i], recomputed.y[i] > 0.0f ? in.dy[i] : 0.0f);
      expect_same_gradients(recomputed, from_y);
    }
}

TEST_P(PointwiseNormTest, KeepingTheGradientChangesNothing) {
  for (const PointwiseFunction function : kFunctions) {
    const Inputs in = random_inputs(40, 9, 50);
    for (const bool relu : {false, true}) {
      const Outputs kept = both(function, 2, 9, in, {relu, false, true});
      expect_same_gradients(kept, both(function, 2, 9, in, {relu, false, false}));
      if (!relu) EXPECT_TRUE(same_bits(kept.g, in.dy));
    }
  }
}

TEST_P(PointwiseNormTest, TheSecondGradientIsAdded) {
  Inputs split = random_inputs(40, 9, 60);
  Inputs whole = split;
  split.dy2 = random_normal(split.x.size(), 66);
  for (std::size_t i = 0; i < whole.dy.size(); ++i) whole.dy[i] += split.dy2[i];
  for (const PointwiseFunction function : kFunctions) {
    const Outputs a = both(function, 1, 9, split, {true, true, true});
    const Outputs b = both(function, 1, 9, whole, {true, true, true});
    EXPECT_TRUE(same_bits(a.g, b.g));
    expect_same_gradients(a, b);
  }
}

TEST_P(PointwiseNormTest, AbsentGammaAndBetaAreOneAndZero) {
  Inputs bare = random_inputs(12, 9, 70);
  bare.gamma.clear();
  bare.beta.clear();
  Inputs neutral = bare;
  neutral.gamma.assign(9, 1.0f);
  neutral.beta.assign(9, 0.0f);
  for (const PointwiseFunction function : kFunctions) {
    const Outputs a = both(function, 3, 9, bare, {true, false, false});
    const Outputs b = both(function, 3, 9, neutral, {true, false, false});
    EXPECT_TRUE(same_bits(a.y, b.y));
    EXPECT_TRUE(same_bits(a.dx, b.dx));
    EXPECT_TRUE(same_bits(a.dalpha, b.dalpha));
    EXPECT_TRUE(same_bits(a.dshift, b.dshift));
  }
}

// A reduction whose threads raced would give other bits when they take turns the other way round.
TEST_P(PointwiseNormTest, TheOrderOfThreadsChangesNoBit) {
  if (!emulated()) GTEST_SKIP() << "of the emulated device's threads";
  for (const int channels : {3, 48, 80}) {
    const Inputs in = random_inputs(1400, static_cast<std::size_t>(channels), 80, true);
    const Outputs before = both(PointwiseFunction::erf, 2, channels, in, {true, true, true});
    emulation::set_order(emulation::Order::backward);
    const Outputs after = both(PointwiseFunction::erf, 2, channels, in, {true, true, true});
    emulation::set_order(emulation::Order::forward);
    EXPECT_TRUE(same_bits(after.y, before.y));
    expect_same_gradients(after, before);
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(PointwiseNormTest);

}  // namespace
}  // namespace syncnorm::test
