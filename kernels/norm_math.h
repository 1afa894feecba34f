// Formulas of normalization, for host and device code.
//
// Batch normalization after Ioffe & Szegedy 2015, group normalization after Wu & He 2018. With
// x̂ = (x − mean)·inv_std and g the gradient of y = γ·x̂ + β, both have the input gradient
//   dx = inv_std · (γ·g − mean(γ·g) − x̂·mean(γ·g·x̂)),
// where the means are over the values that share statistics (γ is constant there for batch norm).
// Per channel it is dx = a·g + b·(x − mean) + d, which is the form that the kernels compute.
#pragma once

#include <cmath>

#include "base/host_device.h"

namespace syncnorm {

/// Mean and biased variance (never negative) from the additive sums count, count·mean and M2 +
/// count·mean².
struct MeanVariance {
  double mean;
  double variance;
};

SYNCNORM_HOST_DEVICE inline MeanVariance from_sums(double count, double sum, double square) {
  const double mean = sum / count;
  const double variance = square / count - mean * mean;
  return {mean, variance < 0.0 ? 0.0 : variance};  // a nan stays a nan
}

SYNCNORM_HOST_DEVICE inline double inverse_std(double variance, double eps) {
  return 1.0 / std::sqrt(variance + eps);
}

/// 1/√ of the sum of squares of a row of scaled weights, which counts as at least `eps`.
SYNCNORM_HOST_DEVICE inline double inverse_length(double square, double eps) {
  return 1.0 / std::sqrt(square > eps ? square : eps);
}

/// dx = a·g + b·(x − mean) + d for one channel.
struct InputGradientLine {
  double a;
  double b;
  double d;
};

/// `mean_g` and `mean_gx` are the means of γ·g and γ·g·x̂ over the values that share statistics.
SYNCNORM_HOST_DEVICE inline InputGradientLine input_gradient_line(double gamma, double inv_std,
                                                                  double mean_g, double mean_gx) {
  return {gamma * inv_std, -inv_std * inv_std * mean_gx, -inv_std * mean_g};
}

/// r and d of batch renormalization for one channel, from the batch's statistics and the running
/// ones before their update (Ioffe 2017, algorithm 1).
struct RenormalizationPair {
  double r;
  double d;
};

SYNCNORM_HOST_DEVICE inline double clip(double value, double low, double high) {
  return value < low ? low : (value > high ? high : value);  // a nan stays a nan
}

SYNCNORM_HOST_DEVICE inline RenormalizationPair renormalize(const MeanVariance& batch,
                                                            double running_mean, double running_var,
                                                            double eps, double r_max,
                                                            double d_max) {
  const double inverse_running = inverse_std(running_var, eps);
  return {clip(std::sqrt(batch.variance + eps) * inverse_running, 1.0 / r_max, r_max),
          clip((batch.mean - running_mean) * inverse_running, -d_max, d_max)};
}

/// Returns by how much the limits r_max and d_max are open at `step` (updates completed): 0 during
/// the first `start` updates, then rising linearly to 1 over `ramp` updates.
SYNCNORM_HOST_DEVICE inline double renormalization_share(double step, double start, double ramp) {
  if (step < start) return 0.0;
  return ramp <= 0.0 ? 1.0 : clip((step - start) / ramp, 0.0, 1.0);
}

/// running = (1 − momentum)·running + momentum·batch, computed in double and rounded once.
SYNCNORM_HOST_DEVICE inline float running_average(float running, double batch, double momentum) {
  return static_cast<float>((1.0 - momentum) * running + momentum * batch);
}

}  // namespace syncnorm
