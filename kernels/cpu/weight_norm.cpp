// Weights computed from their parameters, row by row: weight normalization (Salimans & Kingma 2016)
// and weight standardization (Qiao et al. 2019), scaled (Brock et al. 2021) or of its mean alone.
// Rows are summed in f64, in an order that depends only on their length.
#include <cmath>

#include "kernels/cpu/context.h"
#include "kernels/cpu/lane_sum.h"
#include "kernels/norm_math.h"

namespace syncnorm::cpu {
namespace {

void normalize(const WeightNormalize& op, const PointersOf<WeightNormalize>& a) {
  const std::size_t inputs = static_cast<std::size_t>(op.inputs);
  const auto *v = a.v, *g = a.g;
  auto* w = a.w;
  auto* scale = a.scale;
  for (int o = 0; o < op.outputs; ++o, v += inputs, w += inputs) {
    scale[o] =
        1.0 / std::sqrt(lane_sum(inputs, [&](auto i) { return static_cast<double>(v[i]) * v[i]; }));
    const double factor = g[o] * scale[o];
    for (std::size_t i = 0; i < inputs; ++i) w[i] = static_cast<float>(factor * v[i]);
  }
}

/// With s = 1/‖v‖: dg = s·Σ dw·v and dv = g·s·(dw − v·s²·Σ dw·v).
void normalize_backward(const WeightNormalizeBackward& op,
                        const PointersOf<WeightNormalizeBackward>& a) {
  const std::size_t inputs = static_cast<std::size_t>(op.inputs);
  const auto *dw = a.dw, *v = a.v;
  const auto* g = a.g;
  const auto* scale = a.scale;
  auto *dv = a.dv, *dg = a.dg;
  for (int o = 0; o < op.outputs; ++o, dw += inputs, v += inputs, dv += inputs) {
    const double dot = lane_sum(inputs, [&](auto i) { return static_cast<double>(dw[i]) * v[i]; });
    dg[o] = static_cast<float>(dot * scale[o]);
    const double factor = g[o] * scale[o], along = dot * scale[o] * scale[o];
    for (std::size_t i = 0; i < inputs; ++i)
      dv[i] = static_cast<float>(factor * (dw[i] - along * v[i]));
  }
}

void standardize(const WeightNormalize& op, const PointersOf<WeightNormalize>& a) {
  const std::size_t inputs = static_cast<std::size_t>(op.inputs);
  const auto* v = a.v;
  auto* w = a.w;
  auto *mean = a.mean, *scale = a.scale;
  for (int o = 0; o < op.outputs; ++o, v += inputs, w += inputs) {
    const double m = mean[o] = lane_sum(inputs, [&](auto i) { return v[i]; }) / op.inputs;
    const double m2 = lane_sum(inputs, [&](auto i) { return (v[i] - m) * (v[i] - m); });
    scale[o] = op.form == WeightForm::centered ? 1.0 : inverse_std(m2 / op.inputs, op.eps);
    for (std::size_t i = 0; i < inputs; ++i) w[i] = static_cast<float>((v[i] - m) * scale[o]);
  }
}

/// The input gradient common to all normalizations: dv = s·(dw − mean(dw) − ŵ·mean(dw·ŵ)). Centered
/// weights have no scale: dv = dw − mean(dw).
void standardize_backward(const WeightNormalizeBackward& op,
                          const PointersOf<WeightNormalizeBackward>& a) {
  const std::size_t inputs = static_cast<std::size_t>(op.inputs);
  const auto *dw = a.dw, *v = a.v;
  const auto *mean = a.mean, *scale = a.scale;
  auto* dv = a.dv;
  for (int o = 0; o < op.outputs; ++o, dw += inputs, v += inputs, dv += inputs) {
    const auto w = [&](std::size_t i) { return (v[i] - mean[o]) * scale[o]; };
    const double mean_dw = lane_sum(inputs, [&](auto i) { return dw[i]; }) / op.inputs;
    if (op.form == WeightForm::centered) {
      for (std::size_t i = 0; i < inputs; ++i) dv[i] = static_cast<float>(dw[i] - mean_dw);
      continue;
    }
    const double mean_dww = lane_sum(inputs, [&](auto i) { return dw[i] * w(i); }) / op.inputs;
    for (std::size_t i = 0; i < inputs; ++i)
      dv[i] = static_cast<float>(scale[o] * (dw[i] - mean_dw - w(i) * mean_dww));
  }
}

void scale_standardized(const WeightNormalize& op, const PointersOf<WeightNormalize>& a) {
  const std::size_t inputs = static_cast<std::size_t>(op.inputs);
  const auto* v = a.v;
  auto* w = a.w;
  for (int o = 0; o < op.outputs; ++o, v += inputs, w += inputs) {
    const double m = a.mean[o] = lane_sum(inputs, [&](auto i) { return v[i]; }) / op.inputs;
    const double m2 = lane_sum(inputs, [&](auto i) { return (v[i] - m) * (v[i] - m); });
    a.scale[o] = inverse_length(m2, op.eps);
    const double factor = op.factor * a.g[o] * a.scale[o];
    for (std::size_t i = 0; i < inputs; ++i) w[i] = static_cast<float>((v[i] - m) * factor);
  }
}

/// With u = (v − mean)·s: dg = f·Σ dw·u and dv = f·g·s·(dw − mean(dw) − u·Σ dw·u), without the last
/// term where s is the constant 1/√eps.
void scale_standardized_backward(const WeightNormalizeBackward& op,
                                 const PointersOf<WeightNormalizeBackward>& a) {
  const std::size_t inputs = static_cast<std::size_t>(op.inputs);
  const auto *dw = a.dw, *v = a.v;
  auto* dv = a.dv;
  for (int o = 0; o < op.outputs; ++o, dw += inputs, v += inputs, dv += inputs) {
    const double m = a.mean[o], s = a.scale[o];
    const auto u = [&](std::size_t i) { return (v[i] - m) * s; };
    const double mean_dw = lane_sum(inputs, [&](auto i) { return dw[i]; }) / op.inputs;
    const double dot = lane_sum(inputs, [&](auto i) { return dw[i] * u(i); });
    const double along = s < 1.0 / std::sqrt(op.eps) ? dot : 0.0;
    a.dg[o] = static_cast<float>(op.factor * dot);
    const double factor = op.factor * a.g[o] * s;
    for (std::size_t i = 0; i < inputs; ++i)
      dv[i] = static_cast<float>(factor * (dw[i] - mean_dw - along * u(i)));
  }
}

}  // namespace

template <>
KernelPtr compile(Context&, const WeightNormalize& op) {
  return make_kernel<WeightNormalize>([op](const auto& a, const StepState&) {
    if (op.form == WeightForm::normalized) return normalize(op, a);
    if (op.form == WeightForm::scaled) return scale_standardized(op, a);
    standardize(op, a);
  });
}

template <>
KernelPtr compile(Context&, const WeightNormalizeBackward& op) {
  return make_kernel<WeightNormalizeBackward>([op](const auto& a, const StepState&) {
    if (op.form == WeightForm::normalized) return normalize_backward(op, a);
    if (op.form == WeightForm::scaled) return scale_standardized_backward(op, a);
    standardize_backward(op, a);
  });
}

}  // namespace syncnorm::cpu
