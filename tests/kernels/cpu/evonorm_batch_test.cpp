// EvoNorm-B0 (Liu et al. 2020) over several replicas against f64 by the definition; the gradients
// of the definition are central differences of L = Σ dy·y.
#include <cmath>

#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

struct Setting {
  std::vector<int> replicas = {2, 3};  // samples of each
  int pixels = 6, channels = 5;
  bool relu = false, keep_g = false, affine = true;
  double eps = 1e-5;

  std::size_t width() const { return static_cast<std::size_t>(channels); }
  std::size_t values(int samples) const {
    return static_cast<std::size_t>(samples * pixels) * width();
  }
  int samples() const {
    int sum = 0;
    for (const int n : replicas) sum += n;
    return sum;
  }
};

struct Inputs {
  std::vector<float> x, residual, dy, dy2, gamma, beta, slope;
};

struct Outputs {
  std::vector<float> y, dx, g, running_mean, running_var;
  std::vector<double> dgamma, dbeta, dslope;  // of all replicas
};

Inputs random_inputs(const Setting& s, unsigned seed, float mean = 0.4f) {
  const std::size_t n = s.values(s.samples());
  Inputs in{random_normal(n, seed, mean, 1.2f),
            s.relu ? random_normal(n, seed + 1) : std::vector<float>(),
            random_normal(n, seed + 2),
            s.keep_g ? random_normal(n, seed + 3) : std::vector<float>(),
            {},
            {},
            random_normal(s.width(), seed + 6, 0.8f, 0.7f)};
  if (!s.affine) return in;
  in.gamma = random_normal(s.width(), seed + 4, 1.0f, 0.4f);
  in.beta = random_normal(s.width(), seed + 5);
  return in;
}

/// One channel by the definition, in f64; the pixels of a sample lie one behind another.
struct Channel {
  double gamma, beta, slope, eps;
  std::size_t pixels;

  static double deviation(const double* x, std::size_t n, double eps) {
    double mean = 0.0, square = 0.0;
    for (std::size_t i = 0; i < n; ++i) mean += x[i] / static_cast<double>(n);
    for (std::size_t i = 0; i < n; ++i)
      square += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
    return std::sqrt(square + eps);
  }
  std::vector<double> forward(const std::vector<double>& x) const {
    return with_batch(x, deviation(x.data(), x.size(), eps));
  }
  std::vector<double> with_batch(const std::vector<double>& x, double of_batch) const {
    std::vector<double> y;
    for (std::size_t first = 0; first < x.size(); first += pixels) {
      const double own = deviation(x.data() + first, pixels, eps);
      for (std::size_t i = first; i < first + pixels; ++i)
        y.push_back(gamma * x[i] / std::max(of_batch, slope * x[i] + own) + beta);
    }
    return y;
  }
  double loss(const std::vector<double>& x, const std::vector<double>& g) const {
    const std::vector<double> y = forward(x);
    double sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += g[i] * y[i];
    return sum;
  }
};

/// The slope of `loss` at `value`.
template <class Loss>
double slope_of(double& value, const Loss& loss) {
  const double at = value, h = 1e-6;
  value = at + h;
  const double above = loss();
  value = at - h;
  const double below = loss();
  value = at;
  return (above - below) / (2.0 * h);
}

class EvoNormBatchTest : public KernelTest {
 protected:
  Outputs pass(const Setting& s, const Inputs& in) {
    const std::size_t width = s.width();
    const Floats gamma = optional(in.gamma), beta = optional(in.beta), slope = floats(in.slope);
    const Floats mean = floats(2 * width), inv_std = floats(width);
    const Floats running_mean = floats(std::vector<float>(width, 0.5f));
    const Floats running_var = floats(std::vector<float>(width, 2.0f));
    std::vector<Floats> x, sample_mean, deviation, g;
    std::vector<Doubles> sample_sums;
    std::vector<double> sums(2 * width + 1), total(width);
    Outputs out;
    out.dgamma.resize(width);
    out.dbeta.resize(width);
    out.dslope.resize(width);
    std::size_t at = 0;
    for (const int n : s.replicas) {
      x.push_back(part(in.x, at, s.values(n)));
      at += s.values(n);
      sample_mean.push_back(floats(2 * width * static_cast<std::size_t>(n)));
      deviation.push_back(floats(width * static_cast<std::size_t>(n)));
      const Doubles own = doubles(2 * width + 1);
      run(EvoNormMoments{n, s.pixels, s.channels, s.eps},
          {x.back(), own, sample_mean.back(), deviation.back()});
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += own[i];
    }
    const Doubles all(*device_, sums);
    run(BatchFinalize{1, s.channels, s.eps, 0.1},
        {all, mean, inv_std, running_mean, running_var, nullptr});
    at = 0;
    for (std::size_t r = 0; r < s.replicas.size(); ++r) {
      const int n = s.replicas[r];
      const std::size_t size = s.values(n);
      const Floats y = floats(size), residual = part(in.residual, at, size);
      run(EvoNormApply{n, s.pixels, s.channels, s.relu},
          {x[r], inv_std, deviation[r], gamma, beta, slope, residual, y});
      append(out.y, y);
      g.push_back(s.keep_g ? floats(size) : Floats());
      sample_sums.push_back(doubles(width * static_cast<std::size_t>(n)));
      const Doubles own = doubles(width);
      const Floats dgamma = floats(width), dbeta = floats(width), dslope = floats(width);
      run(EvoNormGradientSums{n, s.pixels, s.channels, s.relu},
          {part(in.dy, at, size), part(in.dy2, at, size), x[r], inv_std, deviation[r], gamma, beta,
           slope, s.relu ? Argument(y) : Argument(nullptr), own, sample_sums[r], dgamma, dbeta,
           dslope, g[r]});
      for (std::size_t c = 0; c < width; ++c) {
        total[c] += own[c];
        out.dgamma[c] += static_cast<double>(dgamma[c]);
        out.dbeta[c] += static_cast<double>(dbeta[c]);
        out.dslope[c] += static_cast<double>(dslope[c]);
      }
      if (s.keep_g) append(out.g, g[r]);
      at += size;
    }
    const Doubles gradient_sums(*device_, total);
    at = 0;
    for (std::size_t r = 0; r < s.replicas.size(); ++r) {
      const int n = s.replicas[r];
      const std::size_t size = s.values(n);
      const Floats dx = floats(size), dy = part(in.dy, at, size);
      run(EvoNormInputGradient{n, s.pixels, s.channels, false},
          {s.keep_g ? g[r] : dy, x[r], mean, inv_std, sample_mean[r], deviation[r], gamma, beta,
           slope, all, gradient_sums, sample_sums[r], dx});
      append(out.dx, dx);
      at += size;
    }
    out.running_mean = running_mean.values();
    out.running_var = running_var.values();
    return out;
  }

  Floats optional(const std::vector<float>& values) {
    return values.empty() ? Floats() : floats(values);
  }
  Floats part(const std::vector<float>& values, std::size_t at, std::size_t count) {
    if (values.empty()) return {};
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(at);
    return floats(std::vector<float>(from, from + static_cast<std::ptrdiff_t>(count)));
  }
  static void append(std::vector<float>& all, const Floats& more) {
    const std::vector<float> values = more.values();
    all.insert(all.end(), values.begin(), values.end());
  }
  static std::vector<double> column(const std::vector<float>& values, std::size_t c,
                                    std::size_t width) {
    std::vector<double> out;
    for (std::size_t i = c; i < values.size(); i += width) out.push_back(values[i]);
    return out;
  }

  /// Returns how many values of the channel have the batch's deviation.
  static int expect_channel(const Setting& s, const Inputs& in, const Outputs& out, std::size_t c,
                            double tolerance) {
    const std::size_t width = s.width();
    Channel channel{s.affine ? static_cast<double>(in.gamma[c]) : 1.0,
                    s.affine ? static_cast<double>(in.beta[c]) : 0.0, in.slope[c], s.eps,
                    static_cast<std::size_t>(s.pixels)};
    std::vector<double> x = column(in.x, c, width), g = column(in.dy, c, width);
    std::vector<double> y = channel.forward(x);
    if (s.relu)
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += column(in.residual, c, width)[i];
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (s.keep_g) g[i] += column(in.dy2, c, width)[i];
      if (s.relu && y[i] <= 0.0) g[i] = y[i] = 0.0;
    }
    if (s.keep_g) {
      EXPECT_TRUE(near_relative(column(out.g, c, width), g, 1e-6)) << c;
    }
    EXPECT_TRUE(near_relative(column(out.y, c, width), y, tolerance, 1.0)) << "channel " << c;
    const auto loss = [&] { return channel.loss(x, g); };
    std::vector<double> dx(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) dx[i] = slope_of(x[i], loss);
    EXPECT_TRUE(near_relative(column(out.dx, c, width), dx, tolerance, 0.1)) << "channel " << c;
    const double n = static_cast<double>(x.size());
    EXPECT_NEAR(out.dgamma[c], slope_of(channel.gamma, loss), tolerance * n) << c;
    EXPECT_NEAR(out.dbeta[c], slope_of(channel.beta, loss), tolerance * n) << c;
    EXPECT_NEAR(out.dslope[c], slope_of(channel.slope, loss), tolerance * n) << c;
    const double of_batch = Channel::deviation(x.data(), x.size(), s.eps);
    EXPECT_NEAR(out.running_var[c], 0.9 * 2.0 + 0.1 * (of_batch * of_batch - s.eps) * n / (n - 1.0),
                1e-5);
    int counted = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      counted +=
          channel.slope * x[i] + Channel::deviation(x.data() + i / channel.pixels * channel.pixels,
                                                    channel.pixels, s.eps) <=
          of_batch;
    return counted;
  }
};

TEST_P(EvoNormBatchTest, TheFormulasOnAwkwardShapes) {
  unsigned seed = 1;
  for (const int channels : {1, 7, 16, 33, 70})
    for (const bool relu : {false, true})
      for (const bool keep_g : {false, true})
        for (const bool affine : {true, false}) {
          Setting s;
          s.channels = channels;
          s.relu = relu;
          s.keep_g = keep_g || relu;  // what a ReLU masks is kept, as for a residual
          s.affine = affine;
          SCOPED_TRACE(std::to_string(channels) + (relu ? " relu" : "") + (keep_g ? " kept" : ""));
          const Inputs in = random_inputs(s, seed += 20);
          const Outputs out = pass(s, in);
          int of_batch = 0, all = 0;
          for (std::size_t c = 0; c < s.width(); ++c, all += s.samples() * s.pixels)
            of_batch += expect_channel(s, in, out, c, 2e-5);
          if (channels < 16) continue;
          EXPECT_GT(of_batch, all / 5);
          EXPECT_LT(of_batch, all - all / 5);
        }
}

// A value that lies far from zero: both deviations are subtle differences.
TEST_P(EvoNormBatchTest, FarFromZero) {
  Setting s;
  s.channels = 9;
  s.pixels = 40;
  Inputs in = random_inputs(s, 900, 300.0f);
  for (float& v : in.slope) v *= 1e-3f;
  const Outputs out = pass(s, in);
  for (std::size_t c = 0; c < s.width(); ++c) expect_channel(s, in, out, c, 2e-3);
}

// A pixel per sample has no deviation in its sample: √eps.
TEST_P(EvoNormBatchTest, MapsOfOnePixel) {
  Setting s;
  s.pixels = 1;
  s.channels = 9;
  s.eps = 1e-2;
  const Inputs in = random_inputs(s, 500);
  const Outputs out = pass(s, in);
  for (std::size_t c = 0; c < s.width(); ++c) expect_channel(s, in, out, c, 2e-5);
}

// An evaluation takes the batch's deviation from elsewhere, and needs no sums.
TEST_P(EvoNormBatchTest, AnEvaluationNeedsTheSamplesStatisticsAlone) {
  Setting s;
  s.replicas = {3};
  const Inputs in = random_inputs(s, 40);
  const Floats x = floats(in.x), mean = floats(2 * 3 * s.width()),
               deviation = floats(3 * s.width());
  run(EvoNormMoments{3, s.pixels, s.channels, s.eps}, {x, nullptr, mean, deviation});
  const Floats y = floats(in.x.size()), inv_std = floats(std::vector<float>(s.width(), 0.5f));
  run(EvoNormApply{3, s.pixels, s.channels, false},
      {x, inv_std, deviation, floats(in.gamma), floats(in.beta), floats(in.slope), nullptr, y});
  for (std::size_t c = 0; c < s.width(); ++c) {
    const Channel channel{in.gamma[c], in.beta[c], in.slope[c], s.eps,
                          static_cast<std::size_t>(s.pixels)};
    EXPECT_TRUE(near_relative(column(y.values(), c, s.width()),
                              channel.with_batch(column(in.x, c, s.width()), 2.0), 2e-6, 1.0));
  }
}

TEST_P(EvoNormBatchTest, ANanReachesTheOutput) {
  Setting s;
  s.channels = 7;
  Inputs in = random_inputs(s, 800);
  in.x[9] = NAN;
  const Outputs out = pass(s, in);
  for (std::size_t i = 0; i < in.x.size(); ++i) {
    if (i % 7 != 2) {
      EXPECT_FALSE(std::isnan(out.y[i]) || std::isnan(out.dx[i])) << i;
    } else if (i == 9) {
      EXPECT_TRUE(std::isnan(out.y[i]) && std::isnan(out.dx[i])) << i;
    }
  }
  EXPECT_TRUE(std::isnan(out.running_var[2]));
}

SYNCNORM_FOR_ALL_BACK_ENDS(EvoNormBatchTest);

}  // namespace
}  // namespace syncnorm::test
