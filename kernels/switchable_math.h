// Formulas of switchable normalization between its passes over memory, for host and device code.
//
// With k = 1/√(s² + eps), S_g = Σ g and S_gx = Σ g·x̂ over the pixels of a sample's channel, the
// gradients of μ and s² there are dμ = −k·γ·S_g and ds² = −½·k²·γ·S_gx. They reach x through each
// of the mixed statistics: x_i has the derivatives 1/n of a mean and 2(x_i − mean)/n of a variance
// over n values.
#pragma once

#include <cmath>
#include <cstddef>

#include "base/host_device.h"
#include "kernels/norm_channel.h"

namespace syncnorm {

/// The shares of instance, layer and batch statistics.
struct SwitchShares {
  double instance, layer, batch;
};

/// The softmax of three parameters.
SYNCNORM_HOST_DEVICE inline SwitchShares switch_shares(const float* weight) {
  double largest = weight[0];
  for (int i = 1; i < 3; ++i) largest = weight[i] > largest ? weight[i] : largest;
  const double a = std::exp(weight[0] - largest), b = std::exp(weight[1] - largest),
               c = std::exp(weight[2] - largest);
  const double sum = a + b + c;
  return {a / sum, b / sum, c / sum};
}

/// The gradient of the parameters from the gradients of the shares.
SYNCNORM_HOST_DEVICE inline void switch_gradient(const SwitchShares& shares,
                                                 const SwitchShares& gradient, float* out) {
  const double along = shares.instance * gradient.instance + shares.layer * gradient.layer +
                       shares.batch * gradient.batch;
  out[0] = static_cast<float>(shares.instance * (gradient.instance - along));
  out[1] = static_cast<float>(shares.layer * (gradient.layer - along));
  out[2] = static_cast<float>(shares.batch * (gradient.batch - along));
}

/// The statistics that channel c of one sample mixes, from moments and layer of the sample, and
/// batch.
struct SwitchStatistics {
  MeanVariance instance, layer, batch;
};

SYNCNORM_HOST_DEVICE inline SwitchStatistics switch_statistics(const double* moments,
                                                               const double* layer,
                                                               const double* batch, std::size_t c,
                                                               std::size_t channels) {
  return {
      {moments[c], moments[channels + c]}, {layer[0], layer[1]}, {batch[c], batch[channels + c]}};
}

SYNCNORM_HOST_DEVICE inline MeanVariance switch_mix(const SwitchStatistics& s,
                                                    const SwitchShares& of_mean,
                                                    const SwitchShares& of_variance) {
  return {of_mean.instance * s.instance.mean + of_mean.layer * s.layer.mean +
              of_mean.batch * s.batch.mean,
          of_variance.instance * s.instance.variance + of_variance.layer * s.layer.variance +
              of_variance.batch * s.batch.variance};
}

/// The gradients of μ and s² of one sample's channel.
struct SwitchLocal {
  double mean, variance;
};

SYNCNORM_HOST_DEVICE inline SwitchLocal switch_local(double gamma, double inv_std, double sum_g,
                                                     double sum_gx) {
  return {-inv_std * gamma * sum_g, -0.5 * inv_std * inv_std * gamma * sum_gx};
}

/// Sums over the channels of one sample of SwitchLocal.
struct SwitchPlace {
  int pixels, channels;
  double count;               // values per channel of the batch
  SwitchLocal local, sample;  // of this channel, and summed over the sample's channels
  SwitchLocal batch;          // of this channel, summed over the batch, times the batch's shares
};

/// dx = a·g + b·(x − μ) + d for one sample's channel; `mean` is μ.
SYNCNORM_HOST_DEVICE inline InputGradientLine switch_line(double gamma, double inv_std, double mean,
                                                          const SwitchStatistics& s,
                                                          const SwitchShares& of_mean,
                                                          const SwitchShares& of_variance,
                                                          const SwitchPlace& p) {
  const double per_pixel = 1.0 / p.pixels, per_value = per_pixel / p.channels;
  const double instance = 2.0 * per_pixel * of_variance.instance * p.local.variance;
  const double layer = 2.0 * per_value * of_variance.layer * p.sample.variance;
  const double batch = 2.0 / p.count * p.batch.variance;
  const double means = per_pixel * of_mean.instance * p.local.mean +
                       per_value * of_mean.layer * p.sample.mean + p.batch.mean / p.count;
  return {gamma * inv_std, instance + layer + batch,
          means + instance * (mean - s.instance.mean) + layer * (mean - s.layer.mean) +
              batch * (mean - s.batch.mean)};
}

/// Computes SwitchableFinalize for channel c. Changes nothing where the group has no sample.
SYNCNORM_HOST_DEVICE inline void finalize_switchable(const SwitchableFinalize& op,
                                                     const PointersOf<SwitchableFinalize>& v,
                                                     bool update_running, int c) {
  if (v.sums == nullptr) {
    v.batch[c] = v.running_mean[c];
    v.batch[op.channels + c] = v.running_var[c];
    return;
  }
  const double n = v.sums[0];
  if (n < 1.0) return;
  const MeanVariance m = from_sums(n, v.sums[1 + c], v.sums[1 + op.channels + c]);
  v.batch[c] = m.mean;
  v.batch[op.channels + c] = m.variance;
  if (!update_running || n < 2.0) return;
  v.running_mean[c] = running_average(v.running_mean[c], m.mean, op.momentum);
  v.running_var[c] = running_average(v.running_var[c], m.variance * (n / (n - 1.0)), op.momentum);
}

}  // namespace syncnorm
