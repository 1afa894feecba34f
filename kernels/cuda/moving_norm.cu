// The computations of norms that average statistics over updates, between batch norm's passes.
#include "kernels/moving_channel.h"

#include "kernels/cuda/channels.h"

namespace syncnorm::cuda {
namespace {

struct MomentumFinalizeChannel {
  __device__ static void run(const MomentumFinalize& op, const PointersOf<MomentumFinalize>& a,
                             const StepState& state, int c) {
    momentum_finalize_channel(op, a, state.update_running,
                              momentum_at(op.schedule, static_cast<double>(state.step)), c);
  }
};

struct MomentumGradientChannel {
  __device__ static void run(const MomentumGradient& op, const PointersOf<MomentumGradient>& a,
                             const StepState&, int c) {
    momentum_gradient_channel(op, a, c);
  }
};

struct MovingFinalizeChannel {
  __device__ static void run(const MovingFinalize& op, const PointersOf<MovingFinalize>& a,
                             const StepState& state, int c) {
    moving_finalize_channel(op, a, state.update_running, static_cast<double>(state.step), c);
  }
};

struct MovingGradientChannel {
  __device__ static void run(const MovingGradient& op, const PointersOf<MovingGradient>& a,
                             const StepState& state, int c) {
    moving_gradient_channel(op, a, state.update_running, static_cast<double>(state.step), c);
  }
};

}  // namespace

template <>
KernelPtr compile(Context& context, const MomentumFinalize& op) {
  return make_channel_kernel<MomentumFinalizeChannel>(context, op);
}

template <>
KernelPtr compile(Context& context, const MomentumGradient& op) {
  return make_channel_kernel<MomentumGradientChannel>(context, op);
}

template <>
KernelPtr compile(Context& context, const MovingFinalize& op) {
  return make_channel_kernel<MovingFinalizeChannel>(context, op);
}

template <>
KernelPtr compile(Context& context, const MovingGradient& op) {
  return make_channel_kernel<MovingGradientChannel>(context, op);
}

}  // namespace syncnorm::cuda
