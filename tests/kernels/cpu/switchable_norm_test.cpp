// Switchable norm: its operations together against the definition in f64, and their gradients
// against central differences of the definition.
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

using Reals = std::vector<double>;
constexpr double kEps = 1e-3;

struct Shape {
  int samples, pixels, channels;
  std::size_t at(int n, int p, int c) const {
    return static_cast<std::size_t>((n * pixels + p) * channels + c);
  }
  std::size_t size() const { return at(samples, 0, 0); }
};

struct Inputs {
  Reals x, mean_weight, var_weight, gamma, beta, residual;
};

Reals softmax(const Reals& w) {
  Reals out;
  double sum = 0.0;
  for (const double v : w) sum += std::exp(v);
  for (const double v : w) out.push_back(std::exp(v) / sum);
  return out;
}

struct Moments {
  double mean = 0.0, variance = 0.0;
};

template <class Visit>
Moments moments_of(const Visit& visit) {
  Moments m;
  double count = 0.0;
  visit([&](double v) { m.mean += v, count += 1.0; });
  m.mean /= count;
  visit([&](double v) { m.variance += (v - m.mean) * (v - m.mean) / count; });
  return m;
}

/// y before any ReLU.
Reals definition(const Shape& s, const Inputs& in) {
  const Reals w = softmax(in.mean_weight), u = softmax(in.var_weight);
  Reals y(s.size());
  for (int n = 0; n < s.samples; ++n)
    for (int c = 0; c < s.channels; ++c) {
      const Moments instance = moments_of([&](const auto& take) {
        for (int p = 0; p < s.pixels; ++p) take(in.x[s.at(n, p, c)]);
      });
      const Moments layer = moments_of([&](const auto& take) {
        for (int p = 0; p < s.pixels * s.channels; ++p) take(in.x[s.at(n, 0, p)]);
      });
      const Moments batch = moments_of([&](const auto& take) {
        for (int m = 0; m < s.samples; ++m)
          for (int p = 0; p < s.pixels; ++p) take(in.x[s.at(m, p, c)]);
      });
      const double mean = w[0] * instance.mean + w[1] * layer.mean + w[2] * batch.mean;
      const double variance =
          u[0] * instance.variance + u[1] * layer.variance + u[2] * batch.variance;
      for (int p = 0; p < s.pixels; ++p) {
        const std::size_t i = s.at(n, p, c), k = static_cast<std::size_t>(c);
        y[i] = in.gamma[k] * (in.x[i] - mean) / std::sqrt(variance + kEps) + in.beta[k] +
               in.residual[i];
      }
    }
  return y;
}

Reals reals(const std::vector<float>& values) { return {values.begin(), values.end()}; }
std::vector<float> rounded(const Reals& values) { return {values.begin(), values.end()}; }

struct Outputs {
  std::vector<float> y, dx, dmean_weight, dvar_weight, dgamma, dbeta, g;
};

class SwitchableNormTest : public KernelTest {
 protected:
  void TearDown() override { emulation::set_order(emulation::Order::forward); }

  static Inputs random_inputs(const Shape& s, unsigned seed) {
    const auto channels = static_cast<std::size_t>(s.channels);
    return {reals(random_normal(s.size(), seed, 0.4f, 1.5f)),
            reals(random_normal(3, seed + 1)),
            reals(random_normal(3, seed + 2)),
            reals(random_normal(channels, seed + 3, 1.0f, 0.4f)),
            reals(random_normal(channels, seed + 4)),
            reals(random_normal(s.size(), seed + 5))};
  }

  Outputs both(const Shape& s, const Inputs& in, const std::vector<float>& w, bool relu,
               bool keeps) {
    const auto n = static_cast<std::size_t>(s.samples), c = static_cast<std::size_t>(s.channels);
    const Floats x = floats(rounded(in.x)), residual = floats(rounded(in.residual));
    const Floats mean_weight = floats(rounded(in.mean_weight));
    const Floats var_weight = floats(rounded(in.var_weight));
    const Floats gamma = floats(rounded(in.gamma)), beta = floats(rounded(in.beta));
    const Doubles moments = doubles(2 * n * c), layer = doubles(2 * n), sums = doubles(2 * c + 1);
    const Doubles batch = doubles(2 * c), local = doubles(2 * n * c), gradient = doubles(2 * c);
    const Floats running_mean = floats(std::vector<float>(c, 0.0f));
    const Floats running_var = floats(std::vector<float>(c, 1.0f));
    const Floats y = floats(s.size()), mean = floats(2 * n * c), inv_std = floats(n * c);
    const Floats dx = floats(s.size()), dgamma = floats(c), dbeta = floats(c);
    const Floats dmean_weight = floats(3u), dvar_weight = floats(3u);
    const Floats g = keeps ? floats(s.size()) : Floats();
    const Floats dy = floats(w);
    run(SwitchableMoments{s.samples, s.pixels, s.channels}, {x, moments, layer, sums});
    run(SwitchableFinalize{1, s.channels, 0.25}, {sums, batch, running_mean, running_var});
    run(SwitchableForward{s.samples, s.pixels, s.channels, kEps, relu},
        {x, moments, layer, batch, mean_weight, var_weight, gamma, beta, residual, y, mean,
         inv_std});
    run(SwitchableGradientSums{s.samples, s.pixels, s.channels, relu},
        {dy,
         nullptr,
         x,
         mean,
         inv_std,
         moments,
         layer,
         batch,
         mean_weight,
         var_weight,
         gamma,
         beta,
         relu ? Argument(y) : Argument(nullptr),
         local,
         gradient,
         dgamma,
         dbeta,
         dmean_weight,
         dvar_weight,
         g});
    run(SwitchableInputGradient{s.samples, s.pixels, s.channels, false},
        {keeps ? Argument(g) : Argument(dy), x, mean, inv_std, moments, layer, batch, mean_weight,
         var_weight, gamma, beta, local, gradient, sums, dx});
    check_running(s, in, running_mean.values(), running_var.values());
    return {
        y.values(),     dx.values(), dmean_weight.values(), dvar_weight.values(), dgamma.values(),
        dbeta.values(), g.values()};
  }

  /// Momentum 0.25 from mean 0 and variance 1, of the batch's unbiased variance.
  static void check_running(const Shape& s, const Inputs& in, const std::vector<float>& mean,
                            const std::vector<float>& variance) {
    const double n = s.samples * s.pixels;
    for (int c = 0; c < s.channels; ++c) {
      const Moments batch = moments_of([&](const auto& take) {
        for (int p = 0; p < s.samples * s.pixels; ++p) take(in.x[s.at(0, p, c)]);
      });
      const auto k = static_cast<std::size_t>(c);
      EXPECT_NEAR(mean[k], n < 2.0 ? 0.0 : 0.25 * batch.mean, 1e-5);
      EXPECT_NEAR(variance[k], n < 2.0 ? 1.0 : 0.75 + 0.25 * batch.variance * n / (n - 1.0), 1e-5);
    }
  }

  /// The derivatives of Σ w·y with respect to one of the inputs.
  static Reals slopes(const Shape& s, const Inputs& in, Reals Inputs::*field, const Reals& w) {
    Reals out;
    constexpr double kStep = 1e-5;
    for (std::size_t i = 0; i < (in.*field).size(); ++i) {
      double sides[2];
      for (const int side : {0, 1}) {
        Inputs moved = in;
        (moved.*field)[i] += side == 0 ? -kStep : kStep;
        const Reals y = definition(s, moved);
        sides[side] = 0.0;
        for (std::size_t j = 0; j < y.size(); ++j) sides[side] += w[j] * y[j];
      }
      out.push_back((sides[1] - sides[0]) / (2.0 * kStep));
    }
    return out;
  }
};

TEST_P(SwitchableNormTest, TheDefinitionAndItsDifferences) {
  unsigned seed = 1;
  for (const Shape& s : {Shape{2, 5, 3}, Shape{3, 4, 8}, Shape{1, 6, 2}, Shape{4, 1, 5},
                         Shape{1, 1, 4}, Shape{2, 3, 17}})
    for (const bool relu : {false, true}) {
      SCOPED_TRACE(op_text(SwitchableForward{s.samples, s.pixels, s.channels, kEps, relu}));
      Inputs in = random_inputs(s, seed += 10);
      for (Reals* values :
           {&in.x, &in.mean_weight, &in.var_weight, &in.gamma, &in.beta, &in.residual})
        *values = reals(rounded(*values));
      const std::vector<float> dy = random_normal(s.size(), seed + 6);
      Reals y = definition(s, in), w = reals(dy);
      for (std::size_t i = 0; i < y.size(); ++i)
        if (relu && y[i] <= 0.0) y[i] = w[i] = 0.0;
      const Outputs out = both(s, in, dy, relu, relu);
      EXPECT_TRUE(near_relative(out.y, y, 2e-6));
      EXPECT_TRUE(near_relative(out.dx, slopes(s, in, &Inputs::x, w), 1e-5));
      EXPECT_TRUE(near_relative(out.dgamma, slopes(s, in, &Inputs::gamma, w), 1e-5));
      EXPECT_TRUE(near_relative(out.dbeta, slopes(s, in, &Inputs::beta, w), 1e-5));
      const Reals dmean = slopes(s, in, &Inputs::mean_weight, w);
      const Reals dvar = slopes(s, in, &Inputs::var_weight, w);
      for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(out.dmean_weight[i], dmean[i], 1e-5 * static_cast<double>(s.size()));
        EXPECT_NEAR(out.dvar_weight[i], dvar[i], 1e-5 * static_cast<double>(s.size()));
      }
    }
}

TEST_P(SwitchableNormTest, ARunningPairIsTheBatchOfAnEvaluation) {
  const Floats mean = floats({0.5f, -1.0f}), variance = floats({2.0f, 3.0f});
  const Doubles batch = doubles(4u);
  run(SwitchableFinalize{1, 2}, {nullptr, batch, mean, variance});
  EXPECT_EQ(batch.values(), (Reals{0.5, -1.0, 2.0, 3.0}));
  EXPECT_EQ(mean[0], 0.5f);
}

TEST_P(SwitchableNormTest, TheOrderOfThreadsChangesNoBit) {
  if (!emulated()) GTEST_SKIP() << "of the emulated device's threads";
  const Shape s{3, 400, 40};
  const Inputs in = random_inputs(s, 90);
  const std::vector<float> dy = random_normal(s.size(), 97);
  const Outputs before = both(s, in, dy, true, true);
  emulation::set_order(emulation::Order::backward);
  const Outputs after = both(s, in, dy, true, true);
  EXPECT_TRUE(same_bits(after.y, before.y));
  EXPECT_TRUE(same_bits(after.dx, before.dx));
  EXPECT_TRUE(same_bits(after.dmean_weight, before.dmean_weight));
  EXPECT_TRUE(same_bits(after.dgamma, before.dgamma));
}

SYNCNORM_FOR_ALL_BACK_ENDS(SwitchableNormTest);

}  // namespace
}  // namespace syncnorm::test
