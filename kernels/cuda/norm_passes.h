// The passes over memory of which batch and group normalization consist, for f32 and bf16 and any
// number of channels. Each pass is in the `.cu` file of its name; the deviations are in moments.cu.
//
// For batch norm `shape` is one sample of all rows; for group norm it has the actual samples, and
// then mean is [samples, 2, C] and inv_std [samples, C].
#pragma once

#include "kernels/cuda/columns.h"
#include "kernels/norm_channel.h"

namespace syncnorm::cuda {

/// The vectors of one sample. Batch norm has one set for all samples and calls this with sample 0.
__device__ __forceinline__ NormVectors vectors_of(const NormVectors& v, int sample, int channels) {
  NormVectors out = v;
  out.mean += static_cast<std::size_t>(sample) * 2 * static_cast<std::size_t>(channels);
  out.inv_std += static_cast<std::size_t>(sample) * static_cast<std::size_t>(channels);
  return out;
}

/// (x − mean)·scale + shift, with the same two roundings in all passes, so that a recomputed ReLU
/// mask equals the forward pass's.
__device__ __forceinline__ float on_line(float x, float mean, float scale, float shift) {
  return fmaf(x - mean, scale, shift);
}

/// x -> sums f64 [samples, 2, C]: Σx, Σx². `count`, where given, gets the number of rows.
struct MomentsPass {
  const void* x;
  double* sums;
  double* count = nullptr;
};
void run_moments(Context&, Storage, const Columns& shape, const MomentsPass&, double* partial);

/// See BatchDeviation.
struct DeviationPass {
  DeviationPart part;
  const void* x;
  const float* mean;
  const double* largest;
  double* totals;
};
void run_deviation(Context&, Storage, const Columns& shape, const DeviationPass&, double* partial);

/// x -> y = [relu](γ·x̂ + β [+ residual]).
struct NormalizePass {
  const void* x;
  const void* residual;
  void* y;
  NormVectors vectors;
  bool relu;
};
void run_normalize(Context&, Storage, const Columns& shape, const NormalizePass&);

/// See BatchGradientSums; sums are [samples, 2, C].
struct GradientSumsPass {
  const void* dy;
  const void* dy2;
  const void* x;
  const void* y;
  void* g;
  NormVectors vectors;
  bool relu;
  double* sums;
  float* dgamma;
  float* dbeta;
};
void run_gradient_sums(Context&, Storage, const Columns& shape, const GradientSumsPass&,
                       double* partial);

/// See BatchInputGradient. For group norm, `group_means` f64 [samples, groups, 2] has the means of
/// γ·g and γ·g·x̂; for batch norm it is null and `totals` is used.
struct InputGradientPass {
  BatchInputGradient op;
  const void* g;
  const void* x;
  void* dx;
  NormVectors vectors;
  GroupTotals totals;
  const double* count;
  const double* group_means = nullptr;
  int groups = 1;
};
void run_input_gradient(Context&, Storage, const Columns& shape, const InputGradientPass&);

}  // namespace syncnorm::cuda
