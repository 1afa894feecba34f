// What the tests of BatchNorm's variants (other deviations, batch renormalization, frozen
// statistics) share: a whole forward and backward pass over several replicas, as a compiled step
// strings it together, and the same in f64 by the definition.
//
// The oracle knows no gradient formula: its dx is a central difference of L = Σ dy·y.
#pragma once

#include <cmath>
#include <optional>
#include <vector>

#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {

struct VariantSetting {
  Deviation deviation = Deviation::l2;
  double factor = 1.0;
  bool relu = false;
  bool keep_g = false;              // the masked gradient is written out, as for a residual
  std::vector<int> replicas = {6};  // samples of each
  int pixels = 5, channels = 1;
  double eps = 1e-5, momentum = 0.1;
  Renormalization renormalization = {};
  std::optional<MomentumSchedule> schedule = {};  // momentum batch norm
  StepState state = {};

  std::size_t rows() const {
    int samples = 0;
    for (const int n : replicas) samples += n;
    return static_cast<std::size_t>(samples) * static_cast<std::size_t>(pixels);
  }
  std::size_t width() const { return static_cast<std::size_t>(channels); }
};

/// Tensors are [rows of all replicas, channels].
struct VariantInputs {
  std::vector<float> x, dy, gamma, beta, running_mean, running_var;
  std::vector<float> moving_mean = {}, moving_var = {};  // momentum batch norm
};

struct VariantOutputs {
  std::vector<float> y, dx, inv_std, running_mean, running_var, correction;
  std::vector<float> moving_mean, moving_var;
  std::vector<double> dgamma, dbeta;  // of all replicas
  std::vector<double> deviation, maxima;
};

inline VariantInputs variant_inputs(const VariantSetting& s, unsigned seed, float mean = 0.7f) {
  return {random_normal(s.rows() * s.width(), seed, mean, 1.3f),
          random_normal(s.rows() * s.width(), seed + 1, 0.2f),
          random_normal(s.width(), seed + 2, 1.0f, 0.4f),
          random_normal(s.width(), seed + 3),
          std::vector<float>(s.width(), 0.5f),
          std::vector<float>(s.width(), 2.0f)};
}

/// One channel in f64: the values of the whole group, normalized by the definition.
struct ColumnNorm {
  Deviation deviation = Deviation::l2;
  double factor = 1.0, eps = 1e-5, gamma = 1.0, beta = 0.0;
  double r = 1.0, d = 0.0;  // of batch renormalization: constants
  bool relu = false;
  double lambda = 0.0, moving_mean = 0.0, moving_var = 0.0;  // momentum batch norm: constants
  std::vector<std::size_t> largest = {};  // linf with ties: s is the mean of |x − μ| over these

  static double mean(const std::vector<double>& x) {
    double sum = 0.0;
    for (const double v : x) sum += v;
    return sum / static_cast<double>(x.size());
  }
  /// The mean that is subtracted, and the s² by which it divides.
  double used_mean(const std::vector<double>& x) const {
    return lambda * moving_mean + (1.0 - lambda) * mean(x);
  }
  double used_square(const std::vector<double>& x) const {
    return lambda * moving_var + (1.0 - lambda) * square(x);
  }
  /// The batch's s²: the biased variance, the squared (scaled) mean absolute or the squared largest
  /// deviation.
  double square(const std::vector<double>& x) const {
    const double m = mean(x), n = static_cast<double>(x.size());
    double total = 0.0;
    for (const double v : x) {
      if (deviation == Deviation::l2) total += (v - m) * (v - m) / n;
      if (deviation == Deviation::l1) total += factor * std::abs(v - m) / n;
      if (deviation == Deviation::linf && largest.empty()) total = std::max(total, std::abs(v - m));
    }
    for (const std::size_t i : largest)
      total += std::abs(x[i] - m) / static_cast<double>(largest.size());
    return deviation == Deviation::l2 ? total : total * total;
  }
  /// x̂, corrected.
  std::vector<double> normalized(const std::vector<double>& x) const {
    const double m = used_mean(x), inv_std = 1.0 / std::sqrt(used_square(x) + eps);
    std::vector<double> out;
    for (const double v : x) out.push_back((v - m) * inv_std * r + d);
    return out;
  }
  std::vector<double> forward(const std::vector<double>& x) const {
    std::vector<double> y = normalized(x);
    for (double& v : y) v = gamma * v + beta;
    for (double& v : y) v = relu && v <= 0.0 ? 0.0 : v;
    return y;
  }
  double loss(const std::vector<double>& x, const std::vector<double>& dy) const {
    const std::vector<double> y = forward(x);
    double sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
    return sum;
  }
  std::vector<double> input_gradient(std::vector<double> x, const std::vector<double>& dy) const {
    constexpr double h = 1e-6;
    std::vector<double> dx;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double at = x[i];
      x[i] = at + h;
      const double above = loss(x, dy);
      x[i] = at - h;
      dx.push_back((above - loss(x, dy)) / (2.0 * h));
      x[i] = at;
    }
    return dx;
  }
};

/// Column c of a [rows, channels] tensor.
inline std::vector<double> column(const std::vector<float>& values, std::size_t c,
                                  std::size_t channels) {
  std::vector<double> out;
  for (std::size_t i = c; i < values.size(); i += channels) out.push_back(values[i]);
  return out;
}

class VariantTest : public KernelTest {
 protected:
  VariantOutputs pass(const VariantSetting& s, const VariantInputs& in) {
    const std::size_t width = s.width();
    const bool l2 = s.deviation == Deviation::l2, linf = s.deviation == Deviation::linf;
    const std::vector<Floats> x = parts(s, in.x), dy = parts(s, in.dy);
    const Floats gamma = floats(in.gamma), beta = floats(in.beta);
    const Floats running_mean = floats(in.running_mean), running_var = floats(in.running_var);
    const Floats mean = floats(2 * width), inv_std = floats(width);
    const Floats correction = s.renormalization.on ? floats(2 * width) : Floats();

    const Doubles sums = reduced(s, 2 * width + 1, false, [&](std::size_t r, const Doubles& part) {
      run(BatchMoments{s.replicas[r], s.pixels, s.channels}, {x[r], part});
    });
    const Floats moving_mean = floats(in.moving_mean), moving_var = floats(in.moving_var);
    const Doubles mixing = doubles(1 + width);
    if (s.schedule)
      run(MomentumFinalize{1, s.channels, s.eps, s.momentum, *s.schedule},
          {sums, mean, inv_std, mixing, moving_mean, moving_var, running_mean, running_var},
          s.state);
    else
      run(BatchFinalize{1, s.channels, s.eps, s.momentum, s.renormalization},
          {sums, mean, inv_std, running_mean, l2 ? Argument(running_var) : Argument(nullptr),
           correction},
          s.state);
    Doubles deviation, maxima;
    const auto deviations = [&](DeviationPart part, std::size_t count) {
      return reduced(s, count, part == DeviationPart::largest,
                     [&](std::size_t r, const Doubles& totals) {
                       run(BatchDeviation{s.replicas[r], s.pixels, s.channels, part},
                           {x[r], mean, deviation, totals});
                     });
    };
    if (!l2) {
      deviation = linf ? deviations(DeviationPart::largest, width)
                       : deviations(DeviationPart::absolute, 2 * width);
      if (linf) maxima = deviations(DeviationPart::maxima, 2 * width);
      run(BatchFinalizeDeviation{1, s.channels, s.deviation, s.factor, s.eps, s.momentum},
          {sums, deviation, inv_std, running_var}, s.state);
    }

    VariantOutputs out;
    std::vector<Floats> g;
    out.dgamma.assign(width, 0.0);
    out.dbeta.assign(width, 0.0);
    const Doubles totals = reduced(s, 2 * width, false, [&](std::size_t r, const Doubles& part) {
      const Floats y = floats(x[r].size()), dgamma = floats(width), dbeta = floats(width);
      run(BatchNormalize{s.replicas[r], s.pixels, s.channels, s.relu},
          {x[r], mean, inv_std, gamma, beta, nullptr, correction, y});
      append(out.y, y);
      g.push_back(s.keep_g ? floats(x[r].size()) : Floats());
      run(BatchGradientSums{s.replicas[r], s.pixels, s.channels, s.relu},
          {dy[r], nullptr, x[r], mean, inv_std, gamma, beta, nullptr, correction, part, dgamma,
           dbeta, g.back()});
      for (std::size_t c = 0; c < width; ++c) {
        out.dgamma[c] += static_cast<double>(dgamma[c]);
        out.dbeta[c] += static_cast<double>(dbeta[c]);
      }
    });
    const Doubles constants = doubles(2 * width);
    if (s.schedule)
      run(MomentumGradient{1, s.channels}, {totals, mixing, inv_std, constants}, s.state);
    const Doubles& line_sums = s.schedule ? constants : totals;
    for (std::size_t r = 0; r < s.replicas.size(); ++r) {
      const Floats dx = floats(x[r].size());
      run(BatchInputGradient{s.replicas[r], s.pixels, s.channels, s.relu && !s.keep_g, s.deviation,
                             s.factor, false},
          {s.keep_g ? g[r] : dy[r], x[r], mean, inv_std, gamma, beta, line_sums, sums, correction,
           deviation, maxima, dx});
      append(out.dx, dx);
    }
    out.inv_std = inv_std.values();
    out.running_mean = running_mean.values();
    out.running_var = running_var.values();
    out.correction = correction.values();
    out.moving_mean = moving_mean.values();
    out.moving_var = moving_var.values();
    out.deviation = deviation.values();
    out.maxima = maxima.values();
    return out;
  }

  /// The oracle of one channel, without a correction.
  static ColumnNorm oracle(const VariantSetting& s, const VariantInputs& in, std::size_t c) {
    return {s.deviation, s.factor, s.eps, in.gamma[c], in.beta[c], 1.0, 0.0, s.relu};
  }

  /// y, dx, dγ and dβ of channel c against `norm`.
  static void expect_column(const VariantSetting& s, const VariantInputs& in,
                            const VariantOutputs& out, std::size_t c, const ColumnNorm& norm,
                            double tolerance) {
    const std::vector<double> x = column(in.x, c, s.width()), dy = column(in.dy, c, s.width());
    const std::vector<double> y = norm.forward(x), normalized = norm.normalized(x);
    const double inv_std = 1.0 / std::sqrt(norm.used_square(x) + norm.eps);
    double dgamma = 0.0, dbeta = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double g = norm.relu && y[i] <= 0.0 ? 0.0 : dy[i];
      dgamma += g * normalized[i];
      dbeta += g;
    }
    EXPECT_NEAR(out.inv_std[c] / inv_std, 1.0, 4e-7) << "channel " << c;
    EXPECT_TRUE(near_relative(column(out.y, c, s.width()), y, tolerance, 1.0)) << "channel " << c;
    EXPECT_TRUE(near_relative(column(out.dx, c, s.width()), norm.input_gradient(x, dy), tolerance,
                              std::abs(norm.gamma) * inv_std))
        << "channel " << c;
    EXPECT_NEAR(out.dgamma[c], dgamma, tolerance * static_cast<double>(x.size())) << c;
    EXPECT_NEAR(out.dbeta[c], dbeta, tolerance * static_cast<double>(x.size())) << c;
  }

 private:
  std::vector<Floats> parts(const VariantSetting& s, const std::vector<float>& values) {
    std::vector<Floats> out;
    auto at = values.begin();
    for (const int n : s.replicas) {
      const auto end = at + static_cast<std::ptrdiff_t>(n) * s.pixels * s.channels;
      out.push_back(floats(std::vector<float>(at, end)));
      at = end;
    }
    return out;
  }

  /// What `one` writes for each replica, added up (or the maximum), one replica after another.
  template <class One>
  Doubles reduced(const VariantSetting& s, std::size_t count, bool maximum, const One& one) {
    std::vector<double> total(count);
    for (std::size_t r = 0; r < s.replicas.size(); ++r) {
      const Doubles part = doubles(count);
      one(r, part);
      for (std::size_t i = 0; i < count; ++i)
        total[i] = maximum ? std::max(total[i], part[i]) : total[i] + part[i];
    }
    return {*device_, total};
  }

  static void append(std::vector<float>& all, const Floats& part) {
    const std::vector<float> values = part.values();
    all.insert(all.end(), values.begin(), values.end());
  }
};

}  // namespace syncnorm::test
