// Pointwise operations on CUDA: activations, addition, dropout, noise, and conversion between
// storages.
#include "kernels/pointwise_math.h"

#include "base/philox.h"
#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {
namespace {

template <class T, int kWide>
struct Activate {
  static constexpr int kWidth = kWide;
  Activation kind;
  const T* x;
  T* y;

  template <int V>
  __device__ void at(std::size_t i) const {
    float value[V];
    load(x + i, value);
#pragma unroll
    for (int v = 0; v < V; ++v) value[v] = activate(kind, value[v]);
    store(y + i, value);
  }
};

template <class T, int kWide>
struct ActivateBackward {
  static constexpr int kWidth = kWide;
  Activation kind;
  const T* dy;
  const T* from;  // x or y, see slope_from_x()
  T* dx;

  template <int V>
  __device__ void at(std::size_t i) const {
    float gradient[V], value[V];
    load(dy + i, gradient);
    load(from + i, value);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (kind == Activation::relu)  // multiplying an infinity by 0 would give a nan
        gradient[v] = value[v] > 0.0f ? gradient[v] : 0.0f;
      else
        gradient[v] *= slope_from_x(kind) ? slope_from_input(kind, value[v])
                                          : slope_from_output(kind, value[v]);
    }
    store(dx + i, gradient);
  }
};

template <class T, int kWide>
struct Sum {
  static constexpr int kWidth = kWide;
  const T* a;
  const T* b;
  T* y;

  template <int V>
  __device__ void at(std::size_t i) const {
    float left[V], right[V];
    load(a + i, left);
    load(b + i, right);
#pragma unroll
    for (int v = 0; v < V; ++v) left[v] += right[v];
    store(y + i, left);
  }
};

/// Applies dropout: a thread processes four values of one sample, one block of the random stream.
template <class T>
__global__ void __launch_bounds__(kThreads)
    drop(Dropout op, DropoutLine line, const StepState* state, const T* x, const std::uint32_t* ids,
         T* y) {
  const std::uint32_t block = blockIdx.x * blockDim.x + threadIdx.x;
  const std::size_t first = static_cast<std::size_t>(block) * 4;
  if (first >= static_cast<std::size_t>(op.size)) return;
  RandomStream random(state->seed, RandomPurpose::dropout, state->step,
                      dropout_index(op, ids[blockIdx.y]));
  random.seek(block);
  const float threshold = static_cast<float>(op.p);
  const std::size_t at = blockIdx.y * static_cast<std::size_t>(op.size) + first;
  const int count =
      first + 4 <= static_cast<std::size_t>(op.size) ? 4 : op.size - static_cast<int>(first);
  for (int v = 0; v < count; ++v) {
    const float value = as_float(x[at + v]) * line.scale + line.shift;
    y[at + v] = as_stored<T>(random.uniform() < threshold ? line.dropped : value);
  }
}

/// Applies the noise: a thread processes all pixels of one channel of one sample.
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_noise(NormNoise op, NoiseLine expected, const StepState* state, const T* x,
              const std::uint32_t* ids, T* y) {
  const int channel = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (channel >= op.channels) return;
  const NoiseLine line =
      op.expected ? expected : noise_line(op, state->seed, state->step, ids[blockIdx.y], channel);
  const auto channels = static_cast<std::size_t>(op.channels);
  std::size_t at = blockIdx.y * static_cast<std::size_t>(op.pixels) * channels +
                   static_cast<std::size_t>(channel);
  for (int pixel = 0; pixel < op.pixels; ++pixel, at += channels)
    y[at] = as_stored<T>(as_float(x[at]) * line.scale + line.shift);
}

}  // namespace

template <>
KernelPtr compile(Context& context, const ActivationForward& op) {
  return make_kernel<ActivationForward>([op, &context](const auto& a, const StepState&) {
    with_storage(op.storage, aligned(a.x, a.y), 0, [&]<class T, int V>() {
      run_flat(context.stream, Activate<T, V>{op.kind, typed<T>(a.x), typed<T>(a.y)},
               values(op.samples, op.size));
    });
  });
}

template <>
KernelPtr compile(Context& context, const ActivationBackward& op) {
  return make_kernel<ActivationBackward>([op, &context](const auto& a, const StepState&) {
    const void* from = slope_from_x(op.kind) ? a.x : a.y;
    with_storage(op.storage, aligned(a.dy, from, a.dx), 0, [&]<class T, int V>() {
      run_flat(context.stream,
               ActivateBackward<T, V>{op.kind, typed<T>(a.dy), typed<T>(from), typed<T>(a.dx)},
               values(op.samples, op.size));
    });
  });
}

template <>
KernelPtr compile(Context& context, const Add& op) {
  return make_kernel<Add>([op, &context](const auto& a, const StepState&) {
    with_storage(op.storage, aligned(a.a, a.b, a.sum), 0, [&]<class T, int V>() {
      run_flat(context.stream, Sum<T, V>{typed<T>(a.a), typed<T>(a.b), typed<T>(a.sum)},
               values(op.samples, op.size));
    });
  });
}

template <>
KernelPtr compile(Context& context, const Dropout& op) {
  return make_kernel<Dropout>(
      [op, line = dropout_line(op), &context](const auto& a, const StepState& state) {
        if (values(op.samples, op.size) == 0) return;
        const dim3 grid((static_cast<unsigned>(op.size) + 4 * kThreads - 1) / (4 * kThreads),
                        static_cast<unsigned>(op.samples));
        const auto run = [&]<class T>(T*) {
          launch(drop<T>, grid, dim3(kThreads), 0, context.stream, op, line, context.use(state),
                 typed<T>(a.x), a.sample_ids, typed<T>(a.y));
        };
        if (op.storage == Storage::f32)
          run(static_cast<float*>(nullptr));
        else
          run(static_cast<BFloat16*>(nullptr));
      });
}

template <>
KernelPtr compile(Context& context, const NormNoise& op) {
  return make_kernel<NormNoise>(
      [op, expected = expected_noise(op), &context](const auto& a, const StepState& state) {
        if (op.samples == 0) return;
        const dim3 grid((static_cast<unsigned>(op.channels) + kThreads - 1) / kThreads,
                        static_cast<unsigned>(op.samples));
        const auto run = [&]<class T>(T*) {
          launch(add_noise<T>, grid, dim3(kThreads), 0, context.stream, op, expected,
                 context.use(state), typed<T>(a.x), a.sample_ids, typed<T>(a.y));
        };
        if (op.storage == Storage::f32)
          run(static_cast<float*>(nullptr));
        else
          run(static_cast<BFloat16*>(nullptr));
      });
}

}  // namespace syncnorm::cuda
