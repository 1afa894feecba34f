// Pointwise operations: activations, addition, dropout, noise, storage conversion, and the
// transpose of a `flatten` layer.
#include "base/philox.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/context.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cpu {
namespace {

std::size_t values(int samples, int size) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(size);
}

template <class S>
KernelPtr make_activation(Context& context, const ActivationForward& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<ActivationForward, S>([op, &loops](const auto& a, const StepState&) {
    const auto* x = a.x;
    auto* y = a.y;
    const std::size_t count = values(op.samples, op.size);
    if (op.kind == Activation::relu) return loops.relu(x, y, count);
    for (std::size_t i = 0; i < count; ++i) write(y[i], activate(op.kind, read(x[i])));
  });
}

template <class S>
KernelPtr make_activation_backward(Context& context, const ActivationBackward& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<ActivationBackward, S>([op, &loops](const auto& a, const StepState&) {
    const auto *dy = a.dy, *x = a.x;
    const auto* y = a.y;
    auto* dx = a.dx;
    const std::size_t count = values(op.samples, op.size);
    if (op.kind == Activation::relu) return loops.relu_backward(dy, y, dx, count);
    if (slope_from_x(op.kind))
      for (std::size_t i = 0; i < count; ++i)
        write(dx[i], read(dy[i]) * slope_from_input(op.kind, read(x[i])));
    else
      for (std::size_t i = 0; i < count; ++i)
        write(dx[i], read(dy[i]) * slope_from_output(op.kind, read(y[i])));
  });
}

template <class S>
KernelPtr make_dropout(const Dropout& op) {
  return make_kernel<Dropout, S>([op, line = dropout_line(op)](const auto& a,
                                                               const StepState& state) {
    const auto* x = a.x;
    const auto* ids = a.sample_ids;
    auto* y = a.y;
    const float threshold = static_cast<float>(op.p);
    for (int n = 0; n < op.samples; ++n) {
      RandomStream random(state.seed, RandomPurpose::dropout, state.step,
                          dropout_index(op, ids[n]));
      for (int i = 0; i < op.size; ++i, ++x, ++y)
        write(*y, random.uniform() < threshold ? line.dropped : read(*x) * line.scale + line.shift);
    }
  });
}

template <class S>
KernelPtr make_noise(const NormNoise& op) {
  return make_kernel<NormNoise, S>([op](const auto& a, const StepState& state) {
    const auto* x = a.x;
    const auto* ids = a.sample_ids;
    auto* y = a.y;
    const NoiseLine expected = expected_noise(op);
    for (int n = 0; n < op.samples; ++n, x += op.pixels * op.channels, y += op.pixels * op.channels)
      for (int c = 0; c < op.channels; ++c) {
        const NoiseLine line =
            op.expected ? expected : noise_line(op, state.seed, state.step, ids[n], c);
        for (int i = c; i < op.pixels * op.channels; i += op.channels)
          write(y[i], read(x[i]) * line.scale + line.shift);
      }
  });
}

template <class S>
KernelPtr make_transpose(const ToChannelsFirst& op) {
  return make_kernel<ToChannelsFirst, S>([op](const auto& a, const StepState&) {
    const auto* x = a.x;
    auto* y = a.y;
    const int rows = op.inverse ? op.channels : op.pixels;
    const int columns = op.inverse ? op.pixels : op.channels;
    for (int n = 0; n < op.samples; ++n, x += rows * columns, y += rows * columns)
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < columns; ++c) y[c * rows + r] = x[r * columns + c];
  });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const ActivationForward& op) {
  return with_storage(op.storage, [&]<class S>() { return make_activation<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const ActivationBackward& op) {
  return with_storage(op.storage,
                      [&]<class S>() { return make_activation_backward<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const Add& op) {
  return with_storage(op.storage, [&]<class S>() {
    return make_kernel<Add, S>(
        [op, &loops = context.loops.of<S>()](const auto& a, const StepState&) {
          loops.add(a.a, a.b, a.sum, values(op.samples, op.size));
        });
  });
}

template <>
KernelPtr compile(Context&, const Dropout& op) {
  return with_storage(op.storage, [&]<class S>() { return make_dropout<S>(op); });
}

template <>
KernelPtr compile(Context&, const NormNoise& op) {
  return with_storage(op.storage, [&]<class S>() { return make_noise<S>(op); });
}

template <>
KernelPtr compile(Context&, const ToChannelsFirst& op) {
  return with_storage(op.storage, [&]<class S>() { return make_transpose<S>(op); });
}

template <>
KernelPtr compile(Context& context, const Convert& op) {
  const Loops& loops = context.loops;
  return make_kernel<Convert>([op, &loops](const auto& a, const StepState&) {
    const std::size_t count = values(op.samples, op.size);
    if (op.from == Storage::f32)
      loops.narrow(typed<float>(a.x), typed<BFloat16>(a.y), count);
    else
      loops.widen(typed<BFloat16>(a.x), typed<float>(a.y), count);
  });
}

}  // namespace syncnorm::cpu
