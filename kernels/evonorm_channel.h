// Per-channel computations of EvoNorm-B0 between its passes over memory, for host and device.
#pragma once

#include "kernels/norm_channel.h"

namespace syncnorm {

/// b and d of dx = γ·g·∂(x/D)/∂x + b·(x − m) + d, where m is the group's rounded mean: what x moves
/// by way of both deviations. With σ_B = 1/k and the sums of EvoNormGradientSums,
///   ∂L/∂σ_B = −k²·sum,   ∂σ_B/∂x = (x − μ_B)·k/n,   ∂L/∂σ_I = −sample_sum,
///   ∂σ_I/∂x = (x − μ_I)/(pixels·σ_I).
struct EvoNormTotals {
  double count, sum;             // of the group: values, and EvoNormGradientSums::sums
  double sample_sum, deviation;  // of the sample: sample_sums, and σ_I
};

SYNCNORM_HOST_DEVICE inline GradientLine evonorm_line(const EvoNormTotals& t, int pixels, double k,
                                                      const float* mean, const float* sample_mean,
                                                      std::size_t c, std::size_t channels) {
  const double of_batch = -k * k * k * t.sum / t.count;
  const double of_sample = -t.sample_sum / (pixels * t.deviation);
  const double m = mean[c];
  const double sample = static_cast<double>(sample_mean[c]) + sample_mean[channels + c];
  return {1.0f, static_cast<float>(of_batch + of_sample),
          static_cast<float>(of_sample * (m - sample) - of_batch * mean[channels + c])};
}

}  // namespace syncnorm
