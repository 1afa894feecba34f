// Per-channel computations of cross-iteration batch norm, for host and device code. `inputs` has
// those of a filter: dot(a, b) returns Σ a[i]·b[i], sum(value) Σ value(i), each(body) calls
// body(i). On a device, all threads of a block call these functions for one channel: each of them
// gets the totals, has the same inputs in each call, and `leads` is true for one, which writes.
#pragma once

#include <cstddef>

#include "kernels/device.h"
#include "kernels/norm_channel.h"

namespace syncnorm {

/// Computes CrossIterationFinalize for channel `c`. Changes nothing where the group has no sample.
/// Without a kept update, every result has batch norm's bits.
///
/// Yao et al. 2020 write μ̄ = mean over updates of μ, ν̄ = that of max(ν, μ²), and s² = ν̄ − μ̄²,
/// where μ and ν = mean(x²) are taken at the present weights. Here updates weigh as many values as
/// they have, and s² is the mean of max(ν − μ², 0) plus the variance of μ, which is the same but
/// loses no digits.
template <class Inputs>
SYNCNORM_HOST_DEVICE inline void cross_iteration_finalize_channel(
    const CrossIterationFinalize& op, const PointersOf<CrossIterationFinalize>& v,
    const StepState& state, int c, bool leads, const Inputs& filter) {
  const double n = v.sums[0];
  if (n < 1.0) return;
  const auto channels = static_cast<std::size_t>(op.channels);
  const auto inputs = static_cast<std::size_t>(op.inputs), channel = static_cast<std::size_t>(c);
  const auto groups = static_cast<std::size_t>(op.groups), group = channel / (channels / groups);
  const MeanVariance batch = from_sums(n, v.sums[1 + c], v.sums[1 + op.channels + c]);
  const float* weight = v.weight + channel * inputs;
  double count = n;
  MeanVariance all = batch;
  const bool uses_kept = static_cast<double>(state.step) >= op.window.start;
  for (int k = 0; uses_kept && k < op.window.kept(); ++k) {
    const auto slot = static_cast<std::size_t>(k);
    const double kept = v.counts[slot];
    if (kept < 1.0) continue;
    const float* mean_slope = v.mean_slopes + (slot * groups + group) * inputs;
    const float* square_slope = v.square_slopes + (slot * channels + channel) * inputs;
    const double mean = v.means[slot * channels + channel] + filter.dot(mean_slope, weight);
    const double square = v.squares[slot * channels + channel] + filter.dot(square_slope, weight);
    const double variance = square > mean * mean ? square - mean * mean : 0.0;
    // Merges two sets of values, Chan et al. 1983.
    const double share = kept / (count + kept), distance = mean - all.mean;
    all.variance += share * (variance - all.variance + (1.0 - share) * distance * distance);
    all.mean += share * distance;
    count += kept;
  }
  if (!leads) return;
  split_mean(all.mean, v.mean[c], v.mean[op.channels + c]);
  v.inv_std[c] = static_cast<float>(inverse_std(all.variance, op.eps));
  if (c == 0) v.mixing[0] = n / count;
  v.mixing[1 + c] = 0.0;
  if (state.update_running) update_running_pair(v, batch, n, op.momentum, c);
}

/// Computes CrossIterationKeep for channel `c`.
template <class Inputs>
SYNCNORM_HOST_DEVICE inline void cross_iteration_keep_channel(
    const CrossIterationKeep& op, const PointersOf<CrossIterationKeep>& v, const StepState& state,
    int c, bool leads, const Inputs& filter) {
  if (!state.update_running) return;
  const auto channels = static_cast<std::size_t>(op.channels);
  const auto inputs = static_cast<std::size_t>(op.inputs), channel = static_cast<std::size_t>(c);
  const auto groups = static_cast<std::size_t>(op.groups), group = channel / (channels / groups);
  const auto slot =
      static_cast<std::size_t>(state.step) % static_cast<std::size_t>(op.window.kept());
  const double n = v.sums[0], share = 1.0 / n;
  if (leads && c == 0) v.counts[slot] = static_cast<float>(n);
  if (n < 1.0) return;
  const float* weight = v.weight + channel * inputs;
  const double* patches = v.slopes + group * inputs;
  const double* products = v.slopes + (groups + channel) * inputs;
  float* mean_slopes = v.mean_slopes + (slot * groups + group) * inputs;
  float* square_slopes = v.square_slopes + (slot * channels + channel) * inputs;
  const bool first = channel % (channels / groups) == 0;  // writes what its group shares
  filter.each([=](std::size_t i) {
    if (first) mean_slopes[i] = static_cast<float>(patches[i] * share);
    square_slopes[i] = static_cast<float>(2.0 * share * products[i]);
  });
  // What the rounded slopes do not give at these weights, so that they give the statistics exactly.
  const double mean = filter.sum(
      [=](std::size_t i) { return double{static_cast<float>(patches[i] * share)} * weight[i]; });
  const double square = filter.dot(square_slopes, weight);
  if (!leads) return;
  v.means[slot * channels + channel] = static_cast<float>(v.sums[1 + c] * share - mean);
  v.squares[slot * channels + channel] =
      static_cast<float>(v.sums[1 + op.channels + c] * share - square);
}

}  // namespace syncnorm
