// The formulas of normalization, for host and device code alike.
//
// Batch normalization after Ioffe & Szegedy 2015, group normalization after Wu & He 2018. With
// x̂ = (x − mean)·inv_std and g the gradient of y = γ·x̂ + β, both have the input gradient
//   dx = inv_std · (γ·g − mean(γ·g) − x̂·mean(γ·g·x̂)),
// the means being over the values that share statistics (γ is constant there for batch norm).
// Written per channel it is dx = a·g + b·(x − mean) + d, which is how the kernels compute it.
#pragma once

#include <cmath>

namespace syncnorm {

/// Mean and biased variance from additive sums: count, count·mean, M2 + count·mean². Never
/// negative.
struct MeanVariance {
  double mean;
  double variance;
};

inline MeanVariance from_sums(double count, double sum, double square) {
  const double mean = sum / count;
  const double variance = square / count - mean * mean;
  return {mean, variance < 0.0 ? 0.0 : variance};  // a nan stays a nan
}

inline double inverse_std(double variance, double eps) { return 1.0 / std::sqrt(variance + eps); }

/// dx = a·g + b·(x − mean) + d for one channel.
struct InputGradientLine {
  float a;
  float b;
  float d;
};

/// `mean_g` and `mean_gx` are the means of γ·g and γ·g·x̂ over the values that share statistics.
inline InputGradientLine input_gradient_line(double gamma, double inv_std, double mean_g,
                                             double mean_gx) {
  return {static_cast<float>(gamma * inv_std), static_cast<float>(-inv_std * inv_std * mean_gx),
          static_cast<float>(-inv_std * mean_g)};
}

/// running = (1 − momentum)·running + momentum·batch, in double, rounded once.
inline float running_average(float running, double batch, double momentum) {
  return static_cast<float>((1.0 - momentum) * running + momentum * batch);
}

}  // namespace syncnorm
