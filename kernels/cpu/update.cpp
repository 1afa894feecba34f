// Optimizer updates over flat ranges, with PyTorch's definitions, and the gradient's 2-norm.
#include <cmath>

#include "kernels/cpu/context.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cpu {

namespace {

/// What the gradient is multiplied by; nan: no update.
float factor_of(std::span<void* const> args, std::size_t index) {
  return index < args.size() && args[index] != nullptr ? *arg<const float>(args, index) : 1.0f;
}

}  // namespace

KernelPtr compile(Context& context, const SgdUpdate& op) {
  const Loops& loops = context.loops;
  return make_kernel([op, &loops](std::span<void* const> args, const StepState& state) {
    const float factor = factor_of(args, 3);
    if (std::isnan(factor)) return;
    loops.sgd(arg<float>(args, 0), arg<const float>(args, 1), arg<float>(args, 2), op.count,
              state.lr, factor, static_cast<float>(op.momentum),
              static_cast<float>(op.weight_decay), op.nesterov);
  });
}

KernelPtr compile(Context&, const AdamUpdate& op) {
  return make_kernel([op](std::span<void* const> args, const StepState& state) {
    const float factor = factor_of(args, 4);
    if (std::isnan(factor)) return;
    auto* p = arg<float>(args, 0);
    const auto* gradient = arg<const float>(args, 1);
    auto *m = arg<float>(args, 2), *v = arg<float>(args, 3);
    const AdamConstants k = adam_constants(op, state.step, state.lr, factor);
    for (std::size_t i = 0; i < op.count; ++i) adam_value(k, gradient[i], p[i], m[i], v[i]);
  });
}

KernelPtr compile(Context& context, const SumOfSquares& op) {
  const Loops& loops = context.loops;
  return make_kernel([op, &loops](std::span<void* const> args, const StepState&) {
    *arg<double>(args, 1) = loops.sum_of_squares(arg<const float>(args, 0), op.count);
  });
}

KernelPtr compile(Context&, const GradientFactor& op) {
  return make_kernel([op](std::span<void* const> args, const StepState&) {
    const double* loss = arg<const double>(args, 1);
    auto* factor = arg<float>(args, 2);
    *factor = gradient_factor(op.clip_norm, *arg<const double>(args, 0),
                              loss != nullptr ? *loss : 0.0, *factor);
  });
}

}  // namespace syncnorm::cpu
