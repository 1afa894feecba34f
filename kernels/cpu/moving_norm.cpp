// The computations of norms that average statistics over updates, between batch norm's passes.
#include "kernels/moving_channel.h"

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {

template <>
KernelPtr compile(Context&, const MomentumFinalize& op) {
  return make_kernel<MomentumFinalize>([op](const auto& a, const StepState& state) {
    const double lambda = momentum_at(op.schedule, static_cast<double>(state.step));
    for (int c = 0; c < op.channels; ++c)
      momentum_finalize_channel(op, a, state.update_running, lambda, c);
  });
}

template <>
KernelPtr compile(Context&, const MomentumGradient& op) {
  return make_kernel<MomentumGradient>([op](const auto& a, const StepState&) {
    for (int c = 0; c < op.channels; ++c) momentum_gradient_channel(op, a, c);
  });
}

template <>
KernelPtr compile(Context&, const MovingFinalize& op) {
  return make_kernel<MovingFinalize>([op](const auto& a, const StepState& state) {
    for (int c = 0; c < op.channels; ++c)
      moving_finalize_channel(op, a, state.update_running, static_cast<double>(state.step), c);
  });
}

template <>
KernelPtr compile(Context&, const MovingGradient& op) {
  return make_kernel<MovingGradient>([op](const auto& a, const StepState& state) {
    for (int c = 0; c < op.channels; ++c)
      moving_gradient_channel(op, a, state.update_running, static_cast<double>(state.step), c);
  });
}

}  // namespace syncnorm::cpu
