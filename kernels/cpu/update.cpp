// Optimizer updates over flat ranges, with PyTorch's definitions, and the gradient's 2-norm.
#include <cmath>

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {

KernelPtr compile(Context& context, const SgdUpdate& op) {
  const Loops& loops = context.loops;
  return make_kernel([op, &loops](std::span<void* const> args, const StepState& state) {
    loops.sgd(arg<float>(args, 0), arg<const float>(args, 1), arg<float>(args, 2), op.count,
              state.lr, state.gradient_scale, static_cast<float>(op.momentum),
              static_cast<float>(op.weight_decay), op.nesterov);
  });
}

KernelPtr compile(Context&, const AdamUpdate& op) {
  return make_kernel([op](std::span<void* const> args, const StepState& state) {
    auto* p = arg<float>(args, 0);
    const auto* gradient = arg<const float>(args, 1);
    auto *m = arg<float>(args, 2), *v = arg<float>(args, 3);
    const double t = static_cast<double>(state.step) + 1.0;  // Kingma & Ba 2015, bias correction
    const auto b1 = static_cast<float>(op.beta1), b2 = static_cast<float>(op.beta2);
    // Rounded after the subtraction: 1 − 0.999f is off by 1.3e-5 of itself.
    const auto share1 = static_cast<float>(1.0 - op.beta1);
    const auto share2 = static_cast<float>(1.0 - op.beta2);
    const auto rate = static_cast<float>(state.lr / (1.0 - std::pow(op.beta1, t)));
    const auto root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(op.beta2, t)));
    const auto eps = static_cast<float>(op.eps);
    const auto coupled = op.decoupled ? 0.0f : static_cast<float>(op.weight_decay);
    const float shrink =
        op.decoupled ? static_cast<float>(1.0 - static_cast<double>(state.lr) * op.weight_decay)
                     : 1.0f;
    for (std::size_t i = 0; i < op.count; ++i) {
      const float g = gradient[i] * state.gradient_scale + coupled * p[i];
      m[i] = b1 * m[i] + share1 * g;
      v[i] = b2 * v[i] + share2 * g * g;
      p[i] = p[i] * shrink - rate * m[i] / (std::sqrt(v[i]) * root + eps);
    }
  });
}

KernelPtr compile(Context& context, const SumOfSquares& op) {
  const Loops& loops = context.loops;
  return make_kernel([op, &loops](std::span<void* const> args, const StepState&) {
    *arg<double>(args, 1) = loops.sum_of_squares(arg<const float>(args, 0), op.count);
  });
}

}  // namespace syncnorm::cpu
