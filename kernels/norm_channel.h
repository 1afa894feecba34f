// Per-channel computations of normalization between its passes over memory: statistics from sums,
// constants of the loops over values, running averages. Host and device code run the same
// functions, one call per channel.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

#include "base/host_device.h"
#include "kernels/norm_math.h"
#include "kernels/ops.h"

namespace syncnorm {

/// The per-channel values that the loops of one normalization layer need. `mean` is [2, C]: rounded
/// value and rounding remainder; `correction` is [2, C]: r and d of batch renormalization. γ, β and
/// correction may be null.
struct NormVectors {
  const float* mean;
  const float* inv_std;
  const float* gamma;
  const float* beta;
  const float* correction = nullptr;
};

/// Collects the vectors from the operands of a normalization kernel.
template <class Operands>
NormVectors norm_vectors(const Operands& a) {
  return {a.mean, a.inv_std, a.gamma, a.beta, a.correction};
}

/// y = (x − mean)·scale + shift with scale = γ·inv_std [·r], shift = β [+ γ·d] − remainder·scale.
struct AffineLine {
  float scale, shift;
};

SYNCNORM_HOST_DEVICE inline AffineLine affine_line(const NormVectors& v, std::size_t c,
                                                   std::size_t channels) {
  const double gamma = v.gamma != nullptr ? static_cast<double>(v.gamma[c]) : 1.0;
  double offset = v.beta != nullptr ? static_cast<double>(v.beta[c]) : 0.0;
  double factor = gamma * v.inv_std[c];
  if (v.correction != nullptr) {
    factor *= v.correction[c];
    offset += gamma * v.correction[channels + c];
  }
  return {static_cast<float>(factor), static_cast<float>(offset - v.mean[channels + c] * factor)};
}

/// dx = a·g + b·h(x − mean) + d in f32, as the loops compute it. d includes −b·`offset`, because
/// the loops do not subtract `offset` from h: the mean's rounding remainder, or a mean of signs.
struct GradientLine {
  float a, b, d;
};

SYNCNORM_HOST_DEVICE inline GradientLine gradient_line(const InputGradientLine& line,
                                                       double offset) {
  return {static_cast<float>(line.a), static_cast<float>(line.b),
          static_cast<float>(line.d - line.b * offset)};
}

/// Splits a mean into a float and its rounding remainder.
SYNCNORM_HOST_DEVICE inline void split_mean(double mean, float& rounded, float& rest) {
  rounded = static_cast<float>(mean);
  rest = static_cast<float>(mean - static_cast<double>(rounded));
}

/// Updates the running pair of channel `c` with the statistics of `n` values. Changes nothing where
/// there is no pair, or fewer than two values. For L1 and L∞, BatchFinalizeDeviation updates
/// running_var instead.
template <class Operands>
SYNCNORM_HOST_DEVICE inline void update_running_pair(const Operands& v, const MeanVariance& m,
                                                     double n, double momentum, int c) {
  if (v.running_mean == nullptr || n < 2.0) return;
  v.running_mean[c] = running_average(v.running_mean[c], m.mean, momentum);
  if (v.running_var != nullptr)
    v.running_var[c] = running_average(v.running_var[c], m.variance * (n / (n - 1.0)), momentum);
}

/// Computes BatchFinalize for channel `c`; `step` counts the updates completed before this one.
/// Changes nothing where the group has no sample.
SYNCNORM_HOST_DEVICE inline void finalize_channel(const BatchFinalize& op,
                                                  const PointersOf<BatchFinalize>& v,
                                                  bool update_running, double step, int c) {
  const double n = v.sums[0];
  if (n < 1.0) return;
  const MeanVariance m = from_sums(n, v.sums[1 + c], v.sums[1 + op.channels + c]);
  split_mean(m.mean, v.mean[c], v.mean[op.channels + c]);
  v.inv_std[c] = static_cast<float>(inverse_std(m.variance, op.eps));
  if (v.correction != nullptr) {
    const Renormalization& limits = op.renormalization;
    const double share = renormalization_share(step, limits.start, limits.ramp);
    const RenormalizationPair pair =
        renormalize(m, v.running_mean[c], v.running_var[c], op.eps,
                    1.0 + share * (limits.r_max - 1.0), share * limits.d_max);
    v.correction[c] = static_cast<float>(pair.r);
    v.correction[op.channels + c] = static_cast<float>(pair.d);
  }
  if (update_running) update_running_pair(v, m, n, op.momentum, c);
}

/// Computes BatchMix for channel `c`. The variance of the mixed moments is the mixed variance plus
/// w·(1−w)·(difference of the means)², which cannot be negative.
SYNCNORM_HOST_DEVICE inline void mix_channel(const BatchMix& op, const PointersOf<BatchMix>& v,
                                             double weight, int c) {
  const MeanVariance sample = from_sums(v.sums[0], v.sums[1 + c], v.sums[1 + op.channels + c]);
  const double rest = 1.0 - weight, apart = sample.mean - v.running_mean[c];
  split_mean(weight * sample.mean + rest * v.running_mean[c], v.mean[c], v.mean[op.channels + c]);
  const double variance =
      weight * sample.variance + rest * v.running_var[c] + weight * rest * apart * apart;
  v.inv_std[c] = static_cast<float>(inverse_std(variance, op.eps));
}

/// The deviation s of one channel, from the count and the totals of BatchDeviation.
SYNCNORM_HOST_DEVICE inline double deviation_of(Deviation kind, double factor, double count,
                                                double total) {
  return kind == Deviation::linf ? total : factor * total / count;
}

SYNCNORM_HOST_DEVICE inline void finalize_deviation_channel(
    const BatchFinalizeDeviation& op, const PointersOf<BatchFinalizeDeviation>& v,
    bool update_running, int c) {
  const double count = v.sums[0];
  if (count < 1.0) return;
  // A maximum ignores a nan; the sum of the values does not.
  const double s = std::isfinite(v.sums[1 + c])
                       ? deviation_of(op.deviation, op.factor, count, v.deviation[c])
                       : std::numeric_limits<double>::quiet_NaN();
  v.inv_std[c] = static_cast<float>(inverse_std(s * s, op.eps));
  if (update_running && v.running_var != nullptr && count >= 2.0)
    v.running_var[c] = running_average(v.running_var[c], s * s, op.momentum);
}

/// The whole group's inputs of BatchInputGradient; deviation and maxima where the operation needs
/// them.
struct GroupTotals {
  const double* sums;
  double count;
  const double* deviation;
  const double* maxima;
};

/// The constants of channel c of BatchInputGradient when not frozen. Writes `largest` for linf
/// only.
SYNCNORM_HOST_DEVICE inline GradientLine batch_gradient_line(const BatchInputGradient& op,
                                                             const NormVectors& v,
                                                             const GroupTotals& totals,
                                                             std::size_t c, float& largest) {
  const auto channels = static_cast<std::size_t>(op.channels);
  double weight = v.gamma != nullptr ? static_cast<double>(v.gamma[c]) : 1.0;
  if (v.correction != nullptr) weight *= v.correction[c];
  const double factor = op.weighted ? 1.0 : weight;
  InputGradientLine line =
      input_gradient_line(weight, v.inv_std[c], factor * totals.sums[c] / totals.count,
                          factor * totals.sums[channels + c] / totals.count);
  double offset = v.mean[channels + c];
  if (op.deviation == Deviation::l1) {
    line.b *= op.factor * deviation_of(op.deviation, op.factor, totals.count, totals.deviation[c]);
    offset = totals.deviation[channels + c] / totals.count;
  } else if (op.deviation == Deviation::linf) {
    largest = static_cast<float>(totals.deviation[c]);
    line.b *= totals.deviation[c] * totals.count / totals.maxima[c];
    offset = totals.maxima[channels + c] / totals.count;
  }
  return gradient_line(line, offset);
}

/// Σg·x̂ from Σg·(x − rounded mean).
SYNCNORM_HOST_DEVICE inline double gradient_sum_of_normalized(double sum_g, double sum_gx,
                                                              double mean_rest, double inv_std) {
  return (sum_gx - mean_rest * sum_g) * inv_std;
}

SYNCNORM_HOST_DEVICE inline float gamma_gradient(double sum_g, double sum_gx,
                                                 const float* correction, std::size_t c,
                                                 std::size_t channels) {
  return static_cast<float>(
      correction != nullptr ? correction[c] * sum_gx + correction[channels + c] * sum_g : sum_gx);
}

}  // namespace syncnorm
