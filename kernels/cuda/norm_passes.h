// The passes over memory of which batch and group normalization consist, for f32 and bf16 and any
// number of channels. Each pass is in the `.cu` file of its name; the deviations are in moments.cu.
//
// For batch norm `shape` is one sample of all rows, for each of its replicas; for group norm it has
// the actual samples. Each of these matrices has vectors of its own, MatrixStrides apart.
#pragma once

#include "kernels/cuda/columns.h"
#include "kernels/norm_channel.h"

namespace syncnorm::cuda {

/// The number of values from a vector of one matrix to that of the next.
struct MatrixStrides {
  std::size_t mean = 0, inv_std = 0, correction = 0;
  std::size_t sums = 0, dgamma = 0, dbeta = 0;                          // of reductions
  std::size_t gradient_sums = 0, count = 0, deviation = 0, maxima = 0;  // of the input gradient
};

/// The strides of group norm: mean [samples, 2, C], inv_std [samples, C], sums [samples, 2, C].
inline MatrixStrides sample_strides(int channels) {
  const auto c = static_cast<std::size_t>(channels);
  MatrixStrides strides;
  strides.mean = strides.sums = 2 * c;
  strides.inv_std = c;
  return strides;
}

/// Returns null where `p` is null.
template <class T>
__device__ __forceinline__ T* advanced(T* p, int matrix, std::size_t stride) {
  return p == nullptr ? p : p + static_cast<std::size_t>(matrix) * stride;
}

/// The vectors of one matrix.
__device__ __forceinline__ NormVectors vectors_of(const NormVectors& v,
                                                  const MatrixStrides& strides, int matrix) {
  NormVectors out = v;
  out.mean = advanced(v.mean, matrix, strides.mean);
  out.inv_std = advanced(v.inv_std, matrix, strides.inv_std);
  out.correction = advanced(v.correction, matrix, strides.correction);
  return out;
}

/// (x − mean)·scale + shift, with the same two roundings in all passes, so that a recomputed ReLU
/// mask equals the forward pass's.
__device__ __forceinline__ float on_line(float x, float mean, float scale, float shift) {
  return fmaf(x - mean, scale, shift);
}

/// x -> sums f64 [2, C] of each matrix: Σx, Σx². `count`, where given, gets the number of rows.
struct MomentsPass {
  const void* x;
  double* sums;
  MatrixStrides strides;
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
  MatrixStrides strides;
  bool relu;
};
void run_normalize(Context&, Storage, const Columns& shape, const NormalizePass&);

/// See BatchGradientSums; sums are [2, C] of each matrix.
struct GradientSumsPass {
  const void* dy;
  const void* dy2;
  const void* x;
  const void* y;
  void* g;
  NormVectors vectors;
  MatrixStrides strides;
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
  MatrixStrides strides;
  GroupTotals totals;
  const double* count;
  const double* group_means = nullptr;
  int groups = 1;
};
void run_input_gradient(Context&, Storage, const Columns& shape, const InputGradientPass&);

}  // namespace syncnorm::cuda
