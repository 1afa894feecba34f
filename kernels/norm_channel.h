// What normalization computes for one channel between its passes over memory: statistics from sums,
// the constants of the loops over values, running averages. Host and device code run these same
// functions, one call per channel.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

#include "base/host_device.h"
#include "kernels/norm_math.h"
#include "kernels/ops.h"

namespace syncnorm {

/// The values of one normalization layer that its loops need per channel. `mean` is [2, C]: rounded
/// and rest; `correction` is [2, C]: r and d of batch renormalization. γ, β and correction may be
/// null.
struct NormVectors {
  const float* mean;
  const float* inv_std;
  const float* gamma;
  const float* beta;
  const float* correction = nullptr;
};

/// The vectors among the operands of a normalization's kernel.
template <class Operands>
NormVectors norm_vectors(const Operands& a) {
  return {a.mean, a.inv_std, a.gamma, a.beta, a.correction};
}

/// y = (x − mean)·scale + shift with scale = γ·inv_std [·r] and shift = β [+ γ·d] − rest·scale.
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

/// dx = a·g + b·h(x − mean) + d as the loops have it, in f32. `offset` is what h has beside the
/// loop's own value: the rest of the mean, or a mean of signs.
struct GradientLine {
  float a, b, d;
};

SYNCNORM_HOST_DEVICE inline GradientLine gradient_line(const InputGradientLine& line,
                                                       double offset) {
  return {static_cast<float>(line.a), static_cast<float>(line.b),
          static_cast<float>(line.d - line.b * offset)};
}

/// Splits a mean into a float and what that leaves over.
SYNCNORM_HOST_DEVICE inline void split_mean(double mean, float& rounded, float& rest) {
  rounded = static_cast<float>(mean);
  rest = static_cast<float>(mean - static_cast<double>(rounded));
}

/// BatchFinalize in the update behind `step` others. Where the group has no sample, everything
/// stays as it was.
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
  if (!update_running || v.running_mean == nullptr || n < 2.0) return;
  v.running_mean[c] = running_average(v.running_mean[c], m.mean, op.momentum);
  // L1 and L∞ keep their own deviation there (BatchFinalizeDeviation).
  if (v.running_var != nullptr)
    v.running_var[c] = running_average(v.running_var[c], m.variance * (n / (n - 1.0)), op.momentum);
}

/// s of one channel, from the count and BatchDeviation's totals.
SYNCNORM_HOST_DEVICE inline double deviation_of(Deviation kind, double factor, double count,
                                                double total) {
  return kind == Deviation::linf ? total : factor * total / count;
}

SYNCNORM_HOST_DEVICE inline void finalize_deviation_channel(
    const BatchFinalizeDeviation& op, const PointersOf<BatchFinalizeDeviation>& v,
    bool update_running, int c) {
  const double count = v.sums[0];
  if (count < 1.0) return;
  // A maximum passes over a nan, the sum of the values does not.
  const double s = std::isfinite(v.sums[1 + c])
                       ? deviation_of(op.deviation, op.factor, count, v.deviation[c])
                       : std::numeric_limits<double>::quiet_NaN();
  v.inv_std[c] = static_cast<float>(inverse_std(s * s, op.eps));
  if (update_running && v.running_var != nullptr && count >= 2.0)
    v.running_var[c] = running_average(v.running_var[c], s * s, op.momentum);
}

/// What BatchInputGradient knows of the whole group; deviation and maxima as the op needs them.
struct GroupTotals {
  const double* sums;
  double count;
  const double* deviation;
  const double* maxima;
};

/// The line of channel c of BatchInputGradient, not frozen; `largest` is written for linf.
SYNCNORM_HOST_DEVICE inline GradientLine batch_gradient_line(const BatchInputGradient& op,
                                                             const NormVectors& v,
                                                             const GroupTotals& totals,
                                                             std::size_t c, float& largest) {
  const auto channels = static_cast<std::size_t>(op.channels);
  double weight = v.gamma != nullptr ? static_cast<double>(v.gamma[c]) : 1.0;
  if (v.correction != nullptr) weight *= v.correction[c];
  InputGradientLine line =
      input_gradient_line(weight, v.inv_std[c], weight * totals.sums[c] / totals.count,
                          weight * totals.sums[channels + c] / totals.count);
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

/// Σg·x̂ from Σg·(x − rounded mean), in place, and dγ; `correction` may be null.
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
