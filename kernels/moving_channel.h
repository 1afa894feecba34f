// Per-channel computations of the norms that average statistics over updates, for host and device.
#pragma once

#include <cmath>
#include <cstddef>

#include "kernels/norm_channel.h"

namespace syncnorm {

/// λ in the update with `step` updates before it. Yong et al. 2020 write it with ρ = share^(1/T) as
/// ρ^(T/(T−1)·max(T−t, 0)) − ρ^T, where t counts from 1.
SYNCNORM_HOST_DEVICE inline double momentum_at(const MomentumSchedule& schedule, double step) {
  const double t = step + 1.0, ramp = schedule.ramp;
  if (t <= 1.0 || schedule.share >= 1.0) return 0.0;
  return (t < ramp ? std::pow(schedule.share, (ramp - t) / (ramp - 1.0)) : 1.0) - schedule.share;
}

/// Computes MomentumFinalize for channel `c`, given λ. Changes nothing where the group has no
/// sample. With λ = 0, every result has batch norm's bits.
SYNCNORM_HOST_DEVICE inline void momentum_finalize_channel(const MomentumFinalize& op,
                                                           const PointersOf<MomentumFinalize>& v,
                                                           bool update_running, double lambda,
                                                           int c) {
  const double n = v.sums[0];
  if (n < 1.0) return;
  const MeanVariance batch = from_sums(n, v.sums[1 + c], v.sums[1 + op.channels + c]);
  MeanVariance mixed = batch;
  if (lambda > 0.0) {
    mixed.mean += lambda * (v.moving_mean[c] - batch.mean);
    mixed.variance += lambda * (v.moving_var[c] - batch.variance);
  }
  split_mean(mixed.mean, v.mean[c], v.mean[op.channels + c]);
  v.inv_std[c] = static_cast<float>(inverse_std(mixed.variance, op.eps));
  if (c == 0) v.mixing[0] = 1.0 - lambda;
  v.mixing[1 + c] = mixed.mean - batch.mean;
  if (!update_running) return;
  v.moving_mean[c] = static_cast<float>(mixed.mean);
  v.moving_var[c] = static_cast<float>(mixed.variance);
  update_running_pair(v, batch, n, op.momentum, c);
}

/// Computes MomentumGradient for channel `c`. With x̂ = (x − μ)·k and means over the set,
///   dx = γ·k·(g − (1 − λ)·mean(g) − (1 − λ)·mean(g·x̂)·k·(x − μ_B)),
/// which is batch norm's with Σg·x̂ and Σg + k·(μ − μ_B)·Σg·x̂, both times 1 − λ.
SYNCNORM_HOST_DEVICE inline void momentum_gradient_channel(const MomentumGradient& op,
                                                           const PointersOf<MomentumGradient>& v,
                                                           int c) {
  const double factor = v.mixing[0], gx = v.gradient_sums[op.channels + c];
  v.constants[c] = factor * (v.gradient_sums[c] + v.inv_std[c] * v.mixing[1 + c] * gx);
  v.constants[op.channels + c] = factor * gx;
}

/// The mean of a statistic over the window, of channel `c`: `history` [window, C] with `value` in
/// place of the oldest; `value` itself as long as averages are not used yet. Stores `value` there
/// when `update`. `step` counts the updates before this one.
SYNCNORM_HOST_DEVICE inline double window_mean(const MovingWindow& window, float* history,
                                               int channels, int c, double value, double step,
                                               bool update) {
  const auto slots = static_cast<std::size_t>(window.window);
  const auto width = static_cast<std::size_t>(channels);
  const auto own = static_cast<std::size_t>(step) % slots;
  const double count = step + 1.0;
  double sum = value;
  if (count > window.window && count >= window.start)
    for (std::size_t i = 0; i < slots; ++i)
      sum += i == own ? 0.0 : static_cast<double>(history[i * width + c]);
  const double mean = count > window.window && count >= window.start ? sum / window.window : value;
  if (update) history[own * width + c] = static_cast<float>(value);
  return mean;
}

/// Computes MovingFinalize for channel `c`. Changes nothing where the group has no sample.
SYNCNORM_HOST_DEVICE inline void moving_finalize_channel(const MovingFinalize& op,
                                                         const PointersOf<MovingFinalize>& v,
                                                         bool update_running, double step, int c) {
  const double n = v.sums[0];
  if (n < 1.0) return;
  const double moment = window_mean(op.window, v.squares, op.channels, c,
                                    v.sums[1 + op.channels + c] / n, step, update_running);
  const double limit = step < op.window.correct_from ? 1.0 : op.window.r_max;
  const RenormalizationPair pair =
      renormalize({0.0, moment}, 0.0, v.running_var[c], op.eps, limit, 0.0);
  v.mean[c] = v.mean[op.channels + c] = 0.0f;
  v.inv_std[c] = static_cast<float>(inverse_std(moment, op.eps));
  v.correction[c] = static_cast<float>(pair.r);
  v.correction[op.channels + c] = 0.0f;
  if (update_running) v.running_var[c] = running_average(v.running_var[c], moment, op.momentum);
}

/// Computes MovingGradient for channel `c`. Changes nothing where the group has no sample.
SYNCNORM_HOST_DEVICE inline void moving_gradient_channel(const MovingGradient& op,
                                                         const PointersOf<MovingGradient>& v,
                                                         bool update_running, double step, int c) {
  const double n = v.sums[0];
  if (n < 1.0) return;
  const double weight =
      (v.gamma != nullptr ? static_cast<double>(v.gamma[c]) : 1.0) * v.correction[c];
  v.constants[c] = 0.0;
  v.constants[op.channels + c] =
      n * window_mean(op.window, v.gradients, op.channels, c,
                      weight * v.gradient_sums[op.channels + c] / n, step, update_running);
}

}  // namespace syncnorm
