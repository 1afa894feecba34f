// Weights computed from their parameters on CUDA, one block per row: weight normalization and
// weight standardization. Rows are summed in f64, in an order that depends only on their length.
#include "kernels/cuda/flat.h"
#include "kernels/norm_math.h"

namespace syncnorm::cuda {
namespace {

/// Σ value(i) over the row. Returns the same sum in every thread.
template <class Value>
__device__ __forceinline__ double row_total(int inputs, const Value& value) {
  double sum = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < inputs; i += kThreads) sum += value(i);
  return block_total(sum);
}

template <class Each>
__device__ __forceinline__ void for_row(int inputs, const Each& each) {
  for (int i = static_cast<int>(threadIdx.x); i < inputs; i += kThreads) each(i);
}

__global__ void __launch_bounds__(kThreads)
    normalize(int inputs, const float* v, const float* g, float* w, double* scale) {
  const std::size_t o = blockIdx.x, at = o * static_cast<std::size_t>(inputs);
  const double square =
      row_total(inputs, [&](int i) { return static_cast<double>(v[at + i]) * v[at + i]; });
  const double s = 1.0 / sqrt(square), factor = g[o] * s;
  if (threadIdx.x == 0) scale[o] = s;
  for_row(inputs, [&](int i) { w[at + i] = static_cast<float>(factor * v[at + i]); });
}

/// With s = 1/‖v‖: dg = s·Σ dw·v and dv = g·s·(dw − v·s²·Σ dw·v).
__global__ void __launch_bounds__(kThreads)
    normalize_backward(int inputs, const float* dw, const float* v, const float* g,
                       const double* scale, float* dv, float* dg) {
  const std::size_t o = blockIdx.x, at = o * static_cast<std::size_t>(inputs);
  const double dot =
      row_total(inputs, [&](int i) { return static_cast<double>(dw[at + i]) * v[at + i]; });
  if (threadIdx.x == 0) dg[o] = static_cast<float>(dot * scale[o]);
  const double factor = g[o] * scale[o], along = dot * scale[o] * scale[o];
  for_row(inputs, [&](int i) {
    dv[at + i] = static_cast<float>(factor * (dw[at + i] - along * v[at + i]));
  });
}

__global__ void __launch_bounds__(kThreads)
    standardize(int inputs, bool centered, double eps, const float* v, float* w, double* mean,
                double* scale) {
  const std::size_t o = blockIdx.x, at = o * static_cast<std::size_t>(inputs);
  const double m =
      row_total(inputs, [&](int i) { return static_cast<double>(v[at + i]); }) / inputs;
  const double m2 = row_total(inputs, [&](int i) { return (v[at + i] - m) * (v[at + i] - m); });
  const double s = centered ? 1.0 : inverse_std(m2 / inputs, eps);
  if (threadIdx.x == 0) {
    mean[o] = m;
    scale[o] = s;
  }
  for_row(inputs, [&](int i) { w[at + i] = static_cast<float>((v[at + i] - m) * s); });
}

/// The input gradient common to all normalizations: dv = s·(dw − mean(dw) − ŵ·mean(dw·ŵ)). Centered
/// weights have no scale: dv = dw − mean(dw).
__global__ void __launch_bounds__(kThreads)
    standardize_backward(int inputs, bool centered, const float* dw, const float* v,
                         const double* mean, const double* scale, float* dv) {
  const std::size_t o = blockIdx.x, at = o * static_cast<std::size_t>(inputs);
  const double m = mean[o], s = scale[o];
  const double mean_dw =
      row_total(inputs, [&](int i) { return static_cast<double>(dw[at + i]); }) / inputs;
  if (centered) {
    for_row(inputs, [&](int i) { dv[at + i] = static_cast<float>(dw[at + i] - mean_dw); });
    return;
  }
  const double mean_dww =
      row_total(inputs, [&](int i) { return dw[at + i] * ((v[at + i] - m) * s); }) / inputs;
  for_row(inputs, [&](int i) {
    dv[at + i] = static_cast<float>(s * (dw[at + i] - mean_dw - (v[at + i] - m) * s * mean_dww));
  });
}

__global__ void __launch_bounds__(kThreads)
    scale_standardized(WeightNormalize op, const float* v, const float* g, float* w, double* mean,
                       double* scale) {
  const std::size_t o = blockIdx.x, at = o * static_cast<std::size_t>(op.inputs);
  const double m =
      row_total(op.inputs, [&](int i) { return static_cast<double>(v[at + i]); }) / op.inputs;
  const double m2 = row_total(op.inputs, [&](int i) { return (v[at + i] - m) * (v[at + i] - m); });
  const double s = inverse_length(m2, op.eps), factor = op.factor * g[o] * s;
  if (threadIdx.x == 0) {
    mean[o] = m;
    scale[o] = s;
  }
  for_row(op.inputs, [&](int i) { w[at + i] = static_cast<float>((v[at + i] - m) * factor); });
}

/// With u = (v − mean)·s: dg = f·Σ dw·u and dv = f·g·s·(dw − mean(dw) − u·Σ dw·u), without the last
/// term where s is the constant 1/√eps.
__global__ void __launch_bounds__(kThreads)
    scale_standardized_backward(WeightNormalizeBackward op, const float* dw, const float* v,
                                const float* g, const double* mean, const double* scale, float* dv,
                                float* dg) {
  const std::size_t o = blockIdx.x, at = o * static_cast<std::size_t>(op.inputs);
  const double m = mean[o], s = scale[o];
  const double mean_dw =
      row_total(op.inputs, [&](int i) { return static_cast<double>(dw[at + i]); }) / op.inputs;
  const double dot =
      row_total(op.inputs, [&](int i) { return dw[at + i] * ((v[at + i] - m) * s); });
  const double along = s < 1.0 / sqrt(op.eps) ? dot : 0.0, factor = op.factor * g[o] * s;
  if (threadIdx.x == 0) dg[o] = static_cast<float>(op.factor * dot);
  for_row(op.inputs, [&](int i) {
    dv[at + i] =
        static_cast<float>(factor * (dw[at + i] - mean_dw - along * ((v[at + i] - m) * s)));
  });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const WeightNormalize& op) {
  return make_kernel<WeightNormalize>([op, &context](const auto& a, const StepState&) {
    const dim3 grid(static_cast<unsigned>(op.outputs)), block(kThreads);
    const auto *v = a.v, *g = a.g;
    auto* w = a.w;
    auto *mean = a.mean, *scale = a.scale;
    if (op.form == WeightForm::normalized)
      launch(normalize, grid, block, 0, context.stream, op.inputs, v, g, w, scale);
    else if (op.form == WeightForm::scaled)
      launch(scale_standardized, grid, block, 0, context.stream, op, v, g, w, mean, scale);
    else
      launch(standardize, grid, block, 0, context.stream, op.inputs,
             op.form == WeightForm::centered, op.eps, v, w, mean, scale);
  });
}

template <>
KernelPtr compile(Context& context, const WeightNormalizeBackward& op) {
  return make_kernel<WeightNormalizeBackward>([op, &context](const auto& a, const StepState&) {
    const dim3 grid(static_cast<unsigned>(op.outputs)), block(kThreads);
    const auto *dw = a.dw, *v = a.v;
    const auto *mean = a.mean, *scale = a.scale;
    auto *dv = a.dv, *dg = a.dg;
    if (op.form == WeightForm::normalized)
      launch(normalize_backward, grid, block, 0, context.stream, op.inputs, dw, v, a.g, scale, dv,
             dg);
    else if (op.form == WeightForm::scaled)
      launch(scale_standardized_backward, grid, block, 0, context.stream, op, dw, v, a.g, mean,
             scale, dv, dg);
    else
      launch(standardize_backward, grid, block, 0, context.stream, op.inputs,
             op.form == WeightForm::centered, dw, v, mean, scale, dv);
  });
}

}  // namespace syncnorm::cuda
