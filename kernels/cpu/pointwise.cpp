// Pointwise operations: activations, addition, dropout, and the transpose behind `flatten`.
#include "kernels/bfloat16.h"
#include "kernels/cpu/context.h"
#include "kernels/philox.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cpu {
namespace {

std::size_t values(int samples, int size) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(size);
}

}  // namespace

KernelPtr compile(Context& context, const ActivationForward& op) {
  const Loops& loops = context.loops;
  return make_kernel([op, &loops](std::span<void* const> args, const StepState&) {
    const auto* x = arg<const float>(args, 0);
    auto* y = arg<float>(args, 1);
    const std::size_t count = values(op.samples, op.size);
    if (op.kind == Activation::relu) return loops.relu(x, y, count);
    for (std::size_t i = 0; i < count; ++i) y[i] = activate(op.kind, x[i]);
  });
}

KernelPtr compile(Context& context, const ActivationBackward& op) {
  const Loops& loops = context.loops;
  return make_kernel([op, &loops](std::span<void* const> args, const StepState&) {
    const auto *dy = arg<const float>(args, 0), *x = arg<const float>(args, 1);
    const auto* y = arg<const float>(args, 2);
    auto* dx = arg<float>(args, 3);
    const std::size_t count = values(op.samples, op.size);
    if (op.kind == Activation::relu) return loops.relu_backward(dy, y, dx, count);
    if (op.kind == Activation::gelu)
      for (std::size_t i = 0; i < count; ++i) dx[i] = dy[i] * gelu_slope(x[i]);
    else
      for (std::size_t i = 0; i < count; ++i) dx[i] = dy[i] * slope_from_output(op.kind, y[i]);
  });
}

KernelPtr compile(Context& context, const Add& op) {
  const Loops& loops = context.loops;
  return make_kernel([op, &loops](std::span<void* const> args, const StepState&) {
    loops.add(arg<const float>(args, 0), arg<const float>(args, 1), arg<float>(args, 2),
              values(op.samples, op.size));
  });
}

KernelPtr compile(Context&, const Dropout& op) {
  return make_kernel(
      [op, line = dropout_line(op)](std::span<void* const> args, const StepState& state) {
        const auto* x = arg<const float>(args, 0);
        const auto* ids = arg<const std::uint32_t>(args, 1);
        auto* y = arg<float>(args, 2);
        const float threshold = static_cast<float>(op.p);
        for (int n = 0; n < op.samples; ++n) {
          RandomStream random(state.seed, RandomPurpose::dropout, state.step,
                              dropout_index(op, ids[n]));
          for (int i = 0; i < op.size; ++i, ++x, ++y)
            *y = random.uniform() < threshold ? line.dropped : *x * line.scale + line.shift;
        }
      });
}

KernelPtr compile(Context&, const ToChannelsFirst& op) {
  return make_kernel([op](std::span<void* const> args, const StepState&) {
    const auto* x = arg<const float>(args, 0);
    auto* y = arg<float>(args, 1);
    const int rows = op.inverse ? op.channels : op.pixels;
    const int columns = op.inverse ? op.pixels : op.channels;
    for (int n = 0; n < op.samples; ++n, x += rows * columns, y += rows * columns)
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < columns; ++c) y[c * rows + r] = x[r * columns + c];
  });
}

KernelPtr compile(Context&, const Convert& op) {
  return make_kernel([op](std::span<void* const> args, const StepState&) {
    const std::size_t count = values(op.samples, op.size);
    if (op.from == Storage::f32)
      for (std::size_t i = 0; i < count; ++i)
        arg<BFloat16>(args, 1)[i] = to_bfloat16(arg<const float>(args, 0)[i]);
    else
      for (std::size_t i = 0; i < count; ++i)
        arg<float>(args, 1)[i] = to_float(arg<const BFloat16>(args, 0)[i]);
  });
}

}  // namespace syncnorm::cpu
