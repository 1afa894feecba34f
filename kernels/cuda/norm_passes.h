// The four passes over memory that batch and group normalization are made of, each for f32 and bf16
// and for any number of channels; the `.cu` file of the same name holds each one.
//
// `shape` is one sample of all rows for batch norm, and the samples themselves for group norm; then
// mean is [samples, 2, C] and inv_std [samples, C].
#pragma once

#include "kernels/cuda/columns.h"
#include "kernels/norm_channel.h"

namespace syncnorm::cuda {

/// The vectors of sample n: batch norm has one set for all.
__device__ __forceinline__ NormVectors vectors_of(const NormVectors& v, int sample, int channels) {
  NormVectors out = v;
  out.mean += static_cast<std::size_t>(sample) * 2 * static_cast<std::size_t>(channels);
  out.inv_std += static_cast<std::size_t>(sample) * static_cast<std::size_t>(channels);
  return out;
}

/// (x − mean)·scale + shift, in the same two roundings wherever it is computed, so that a ReLU's
/// mask is the forward pass's.
__device__ __forceinline__ float on_line(float x, float mean, float scale, float shift) {
  return fmaf(x - mean, scale, shift);
}

/// x -> sums f64 [samples, 2, C]: Σx, Σx²; where `count` is given, it gets the rows.
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

/// See BatchInputGradient. Group norm: `group_means` f64 [samples, groups, 2], the means of γ·g and
/// γ·g·x̂; null for batch norm, which has `totals` instead.
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
