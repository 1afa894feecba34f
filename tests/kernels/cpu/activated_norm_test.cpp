// FRN and EvoNorm-S0 against their formulas in f64 on awkward shapes, and what must not change a
// bit: the way in which the ReLU mask is found, the kept gradient, the order of threads.
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

/// A norm, and what is done to it. Without `slope`, FRN has no threshold.
struct Norm {
  NormActivation activation = NormActivation::threshold;
  bool slope = true;
  bool learned_eps = false;
};
constexpr Norm kFrn{NormActivation::threshold, false}, kTlu{NormActivation::threshold, true},
    kLearned{NormActivation::threshold, true, true}, kEvoNorm{NormActivation::swish, true};
constexpr Norm kNorms[] = {kFrn, kTlu, kLearned, kEvoNorm};

/// Empty vectors are absent arguments.
struct Inputs {
  int samples = 1, pixels = 1, channels = 1, groups = 1;
  Norm norm;
  std::vector<float> x, gamma, beta, slope, epsilon, residual, dy, dy2;

  std::string text() const {
    return std::to_string(samples) + "x" + std::to_string(pixels) + "x" + std::to_string(channels) +
           ", " + std::to_string(groups) + " groups, activation " +
           std::to_string(static_cast<int>(norm.activation));
  }
};

struct Path {
  bool relu = false;
  bool mask_from_y = false;
  bool keep_g = false;
};

struct Outputs {
  std::vector<float> y, dx, dgamma, dbeta, dslope, depsilon, g;
};

struct Expected {
  std::vector<double> y, dx, dgamma, dbeta, dslope, depsilon = {0.0}, g;
  double scale = 0.0;  // the largest inverse deviation
};

constexpr double kEps = 1e-5;

/// By the definition: y of one value is f(x, k), and k a function of its group's values.
Expected reference(const Inputs& in, bool relu) {
  const std::size_t c = to_size(in.channels), n = in.x.size();
  const std::size_t width = c / to_size(in.groups), per_sample = c * to_size(in.pixels);
  const bool swish = in.norm.activation == NormActivation::swish;
  const double eps = in.epsilon.empty() ? kEps : std::abs(static_cast<double>(in.epsilon[0]));
  const std::size_t groups = to_size(in.samples * in.groups);
  const auto group_of = [&](std::size_t i) {
    return i / per_sample * to_size(in.groups) + i % c / width;
  };
  const double count = static_cast<double>(width) * in.pixels;
  std::vector<double> mean(groups), square(groups), k(groups), dk(groups);
  for (std::size_t i = 0; i < n; ++i) mean[group_of(i)] += swish ? in.x[i] / count : 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    const double d = in.x[i] - mean[group_of(i)];
    square[group_of(i)] += d * d / count;
  }
  Expected e;
  for (std::size_t s = 0; s < groups; ++s) {
    k[s] = 1.0 / std::sqrt(square[s] + eps);
    e.scale = std::max(e.scale, k[s]);
  }
  for (auto* sums : {&e.dgamma, &e.dbeta, &e.dslope}) sums->assign(c, 0.0);
  std::vector<double> direct(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t channel = i % c;
    const double x = in.x[i], own = k[group_of(i)];
    const double gamma = in.gamma.empty() ? 1.0 : static_cast<double>(in.gamma[channel]);
    const double beta = in.beta.empty() ? 0.0 : static_cast<double>(in.beta[channel]);
    const double slope = in.slope.empty() ? 0.0 : static_cast<double>(in.slope[channel]);
    const double sigmoid = 1.0 / (1.0 + std::exp(-slope * x));
    const double h = swish ? x * sigmoid : x;  // y is gamma·own·h + beta, or the threshold
    const bool passes = swish || in.slope.empty() || gamma * own * h + beta > slope;
    double y = passes ? gamma * own * h + beta : slope;
    if (!in.residual.empty()) y += in.residual[i];
    double g = in.dy[i];
    if (!in.dy2.empty()) g += in.dy2[i];
    if (relu && y <= 0.0) y = g = 0.0;
    e.y.push_back(y);
    e.g.push_back(g);
    if (!passes) {
      e.dslope[channel] += g;
      continue;
    }
    e.dgamma[channel] += g * own * h;
    e.dbeta[channel] += g;
    dk[group_of(i)] += g * gamma * h;
    const double bend = sigmoid * (1.0 - sigmoid);
    direct[i] = g * gamma * own * (swish ? sigmoid + slope * x * bend : 1.0);
    if (swish) e.dslope[channel] += g * gamma * own * x * x * bend;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t s = group_of(i);
    e.dx.push_back(direct[i] - k[s] * k[s] * k[s] * dk[s] * (in.x[i] - mean[s]) / count);
  }
  const double sign = !in.epsilon.empty() && in.epsilon[0] < 0.0f ? -1.0 : 1.0;
  for (std::size_t s = 0; s < groups; ++s) e.depsilon[0] -= sign * 0.5 * k[s] * k[s] * k[s] * dk[s];
  return e;
}

Inputs random_inputs(const Norm& norm, int samples, int pixels, int channels, int groups,
                     unsigned seed, bool residual = false) {
  Inputs in{samples, pixels, channels, groups, norm, {}, {}, {}, {}, {}, {}, {}, {}};
  if (norm.activation == NormActivation::threshold) in.groups = channels;
  const std::size_t n = to_size(samples * pixels * channels), c = to_size(channels);
  in.x = random_normal(n, seed, 0.3f, 1.5f);
  in.gamma = random_normal(c, seed + 1, 1.0f, 0.4f);
  in.beta = random_normal(c, seed + 2);
  if (norm.slope)
    in.slope = norm.activation == NormActivation::swish ? random_normal(c, seed + 5, 1.0f, 0.7f)
                                                        : random_normal(c, seed + 5, 0.0f, 0.5f);
  if (norm.learned_eps) in.epsilon = {seed % 2 == 0 ? 0.03f : -0.02f};
  if (residual) in.residual = random_normal(n, seed + 3);
  in.dy = random_normal(n, seed + 4);
  return in;
}

class ActivatedNormTest : public KernelTest {
 protected:
  void TearDown() override { emulation::set_order(emulation::Order::forward); }

  Floats optional(const std::vector<float>& values) {
    return values.empty() ? Floats() : floats(values);
  }

  Outputs both(const Inputs& in, const Path& path) {
    const std::size_t n = in.x.size(), c = to_size(in.channels), per = c * to_size(in.samples);
    const ActivatedNormShape shape{in.pixels, in.channels,        in.groups,
                                   kEps,      in.norm.activation, path.relu};
    const Floats x = floats(in.x), gamma = optional(in.gamma), beta = optional(in.beta);
    const Floats slope = optional(in.slope), epsilon = optional(in.epsilon);
    const Floats residual = optional(in.residual), dy = floats(in.dy), dy2 = optional(in.dy2);
    const Floats mean = floats(2 * per), inv_std = floats(per), y = floats(n), dx = floats(n);
    const auto like = [&](const std::vector<float>& given) {
      return given.empty() ? Floats() : floats(given.size());
    };
    const Floats dgamma = like(in.gamma), dbeta = like(in.beta), dslope = like(in.slope);
    const Floats depsilon = like(in.epsilon), g = path.keep_g ? floats(n) : Floats();
    run(ActivatedNormForward{in.samples, shape},
        {x, gamma, beta, slope, epsilon, residual, y, mean, inv_std});
    const Argument mask = path.mask_from_y ? Argument(y) : Argument(nullptr);
    run(ActivatedNormBackward{in.samples, shape},
        {dy, dy2, x, mean, inv_std, gamma, beta, slope, epsilon, mask, dx, dgamma, dbeta, dslope,
         depsilon, g});
    return {y.values(),      dx.values(),       dgamma.values(), dbeta.values(),
            dslope.values(), depsilon.values(), g.values()};
  }

  void compare(const Inputs& in, const Path& path) {
    SCOPED_TRACE(in.text());
    const Outputs out = both(in, path);
    const Expected e = reference(in, path.relu);
    EXPECT_TRUE(near_relative(out.y, e.y, 1e-6, 1e-2));
    EXPECT_TRUE(near_relative(out.dx, e.dx, 2e-6, e.scale));
    EXPECT_TRUE(near_relative(out.dgamma, e.dgamma, 5e-6, 1.0));
    EXPECT_TRUE(near_relative(out.dbeta, e.dbeta, 5e-6, 1.0));
    if (in.norm.slope) EXPECT_TRUE(near_relative(out.dslope, e.dslope, 5e-6, 1.0));
    if (in.norm.learned_eps) {  // a sum over all groups, which nearly cancels
      const double size = e.scale * e.scale * std::sqrt(in.samples * in.groups);
      EXPECT_TRUE(near_relative(out.depsilon, e.depsilon, 5e-6, size));
    }
    if (path.keep_g) EXPECT_TRUE(near_relative(out.g, e.g, 1e-7));
  }

  static void expect_same_gradients(const Outputs& a, const Outputs& b) {
    EXPECT_TRUE(same_bits(a.dx, b.dx));
    EXPECT_TRUE(same_bits(a.dgamma, b.dgamma));
    EXPECT_TRUE(same_bits(a.dbeta, b.dbeta));
    EXPECT_TRUE(same_bits(a.dslope, b.dslope));
    EXPECT_TRUE(same_bits(a.depsilon, b.depsilon));
  }
};

// Channels that fill no vector, rows on both sides of the CPU's blocks, and so many that CUDA's
// reductions have two phases.
TEST_P(ActivatedNormTest, TheFormulasOnAwkwardShapes) {
  unsigned seed = 1;
  for (const Norm& norm : kNorms)
    for (const auto& [channels, groups] :
         {std::pair{1, 1}, {3, 3}, {8, 2}, {17, 1}, {64, 32}, {70, 7}, {300, 4}})
      for (const int pixels : {1, 2, 33, 257, 2048})
        for (const bool fused : {false, true}) {
          if (channels > 64 && pixels > 257) continue;
          compare(random_inputs(norm, 2, pixels, channels, groups, seed += 9, fused),
                  {fused, fused, fused});
        }
}

// Singh & Krishnan 2020: a negative eps counts by its magnitude.
TEST_P(ActivatedNormTest, OneValueIsItsSignWithoutEps) {
  Inputs in = random_inputs(kLearned, 1, 1, 2, 2, 3);
  in.x = {2.0f, -3.0f};
  in.gamma = {1.0f, 1.0f};
  in.beta = {0.0f, 0.0f};
  in.slope = {-9.0f, -0.25f};
  in.epsilon = {-0.0f};
  const Outputs out = both(in, {});
  EXPECT_FLOAT_EQ(out.y[0], 1.0f);
  EXPECT_FLOAT_EQ(out.y[1], -0.25f);  // −1 is below the threshold
  EXPECT_EQ(out.dx[1], 0.0f);
  EXPECT_EQ(out.dslope, (std::vector<float>{0.0f, in.dy[1]}));
}

TEST_P(ActivatedNormTest, EvoNormFarFromZero) {
  for (const float at : {-200.0f, 60.0f}) {
    Inputs in = random_inputs(kEvoNorm, 2, 40, 8, 2, 77);
    for (float& x : in.x) x += at;
    const Outputs out = both(in, {});
    const Expected e = reference(in, false);
    EXPECT_TRUE(near_relative(out.y, e.y, 1e-6, 1.0));
    EXPECT_TRUE(near_relative(out.dslope, e.dslope, 1e-5, 1e-3));
  }
}

TEST_P(ActivatedNormTest, ANanStaysANan) {
  for (const Norm& norm : kNorms) {
    Inputs in = random_inputs(norm, 1, 5, 4, 4, 20);
    in.x[6] = NAN;
    const Outputs out = both(in, {true, false, false});
    EXPECT_TRUE(std::isnan(out.y[6]));
    EXPECT_FALSE(std::isnan(out.y[5]));
  }
}

// β cancels the first row's values to the last bit, so that its mask depends on every rounding.
TEST_P(ActivatedNormTest, TheRecomputedMaskIsTheForwardPasss) {
  for (const Norm& norm : {kFrn, kEvoNorm})
    for (const int channels : {2, 7, 33, 64}) {
      Inputs in = random_inputs(norm, 1, 5, channels, 1, 40);
      in.beta.assign(to_size(channels), 0.0f);
      const Outputs plain = both(in, {});
      for (std::size_t c = 0; c < in.beta.size(); ++c) in.beta[c] = -plain.y[c];
      const Outputs recomputed = both(in, {true, false, true});
      const Outputs from_y = both(in, {true, true, true});
      for (std::size_t i = 0; i < in.x.size(); ++i)
        EXPECT_EQ(recomputed.g[i], recomputed.y[i] > 0.0f ? in.dy[i] : 0.0f);
      EXPECT_TRUE(same_bits(recomputed.g, from_y.g));
      expect_same_gradients(recomputed, from_y);
    }
}

TEST_P(ActivatedNormTest, KeepingTheGradientChangesNothing) {
  for (const Norm& norm : kNorms) {
    const Inputs in = random_inputs(norm, 2, 20, 9, 3, 50);
    for (const bool relu : {false, true})
      expect_same_gradients(both(in, {relu, relu, true}), both(in, {relu, relu, false}));
  }
}

TEST_P(ActivatedNormTest, TheSecondGradientIsAdded) {
  for (const Norm& norm : kNorms) {
    Inputs split = random_inputs(norm, 2, 20, 9, 3, 60);
    Inputs whole = split;
    split.dy2 = random_normal(split.x.size(), 66);
    for (std::size_t i = 0; i < whole.dy.size(); ++i) whole.dy[i] += split.dy2[i];
    expect_same_gradients(both(split, {true, true, true}), both(whole, {true, true, true}));
  }
}

TEST_P(ActivatedNormTest, AbsentGammaAndBetaAreOneAndZero) {
  for (const Norm& norm : kNorms) {
    Inputs bare = random_inputs(norm, 3, 4, 9, 3, 70);
    bare.gamma.clear();
    bare.beta.clear();
    Inputs neutral = bare;
    neutral.gamma.assign(9, 1.0f);
    neutral.beta.assign(9, 0.0f);
    const Outputs a = both(bare, {true, false, false}), b = both(neutral, {true, false, false});
    EXPECT_TRUE(same_bits(a.y, b.y));
    EXPECT_TRUE(same_bits(a.dx, b.dx));
    EXPECT_TRUE(same_bits(a.dslope, b.dslope));
  }
}

// Threads that raced would give other bits when they take turns the other way round.
TEST_P(ActivatedNormTest, TheOrderOfThreadsChangesNoBit) {
  if (!emulated()) GTEST_SKIP() << "of the emulated device's threads";
  for (const Norm& norm : {kLearned, kEvoNorm})
    for (const int channels : {3, 48}) {
      const Inputs in = random_inputs(norm, 2, 700, channels, 3, 80, true);
      const Outputs before = both(in, {true, true, true});
      emulation::set_order(emulation::Order::backward);
      const Outputs after = both(in, {true, true, true});
      emulation::set_order(emulation::Order::forward);
      EXPECT_TRUE(same_bits(after.y, before.y));
      expect_same_gradients(after, before);
    }
}

SYNCNORM_FOR_ALL_BACK_ENDS(ActivatedNormTest);

}  // namespace
}  // namespace syncnorm::test
