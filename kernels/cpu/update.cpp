// Optimizer updates of flat ranges, as PyTorch defines them, and the sum of squares for the
// gradient's 2-norm.
#include <cmath>

#include "kernels/cpu/context.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cpu {

namespace {

/// The factor that multiplies the gradient; nan means no update.
float value_of(const float* factor) { return factor != nullptr ? *factor : 1.0f; }

}  // namespace

template <>
KernelPtr compile(Context& context, const SgdUpdate& op) {
  const Loops& loops = context.loops;
  return make_kernel<SgdUpdate>([op, &loops](const auto& a, const StepState& state) {
    const float factor = value_of(a.factor);
    if (std::isnan(factor)) return;
    loops.sgd(a.parameter, a.gradient, a.velocity, op.count, state.lr, factor,
              static_cast<float>(op.momentum), static_cast<float>(op.weight_decay), op.nesterov);
  });
}

template <>
KernelPtr compile(Context&, const AdamUpdate& op) {
  return make_kernel<AdamUpdate>([op](const auto& a, const StepState& state) {
    const float factor = value_of(a.factor);
    if (std::isnan(factor)) return;
    auto* p = a.parameter;
    const auto* gradient = a.gradient;
    auto *m = a.first_moment, *v = a.second_moment;
    const AdamConstants k = adam_constants(op, state.step, state.lr, factor);
    for (std::size_t i = 0; i < op.count; ++i) adam_value(k, gradient[i], p[i], m[i], v[i]);
  });
}

template <>
KernelPtr compile(Context& context, const ExponentialAverage& op) {
  const Loops& loops = context.loops;
  return make_kernel<ExponentialAverage>([op, &loops](const auto& a, const StepState& state) {
    if (!averages_now(op, state.step) || std::isnan(value_of(a.factor))) return;
    loops.average(a.average, a.value, op.count, static_cast<float>(1.0 - op.decay));
  });
}

template <>
KernelPtr compile(Context& context, const SumOfSquares& op) {
  const Loops& loops = context.loops;
  return make_kernel<SumOfSquares>([op, &loops](const auto& a, const StepState&) {
    *a.sum = loops.dot(a.gradient, a.gradient, op.count);
  });
}

template <>
KernelPtr compile(Context&, const GradientFactor& op) {
  return make_kernel<GradientFactor>([op](const auto& a, const StepState&) {
    const double* loss = a.loss;
    auto* factor = a.factor;
    *factor =
        gradient_factor(op.clip_norm, *a.sum_of_squares, loss != nullptr ? *loss : 0.0, *factor);
  });
}

template <>
KernelPtr compile(Context& context, const AdaptiveClip& op) {
  const Loops& loops = context.loops;
  return make_kernel<AdaptiveClip>([op, &loops](const auto& a, const StepState&) {
    const auto inputs = static_cast<std::size_t>(op.inputs);
    for (std::size_t row = 0; row < static_cast<std::size_t>(op.outputs); ++row) {
      float* gradient = a.gradient + row * inputs;
      const float factor = adaptive_clip_factor(
          op, loops.dot(a.parameter + row * inputs, a.parameter + row * inputs, inputs),
          loops.dot(gradient, gradient, inputs));
      if (factor == 1.0f) continue;
      for (std::size_t i = 0; i < inputs; ++i) gradient[i] *= factor;
    }
  });
}

}  // namespace syncnorm::cpu
