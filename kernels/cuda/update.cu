// Optimizer updates of flat ranges on CUDA, and the gradient's sum of squares.
#include "kernels/cuda/flat.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cuda {
namespace {

/// The factor that multiplies the gradient; nan means no update.
__device__ __forceinline__ float factor_at(const float* factor) {
  return factor != nullptr ? *factor : 1.0f;
}

template <int kWide>
struct Sgd {
  static constexpr int kWidth = kWide;
  const StepState* state;
  const float* factor;
  float momentum, decay;
  bool nesterov;
  float* p;
  const float* g;
  float* v;

  template <int V>
  __device__ void at(std::size_t i) const {
    const float scale = factor_at(factor), rate = state->lr;
    if (std::isnan(scale)) return;
    float old[V], gradient[V], velocity[V];
    load(p + i, old);
    load(g + i, gradient);
    load(v + i, velocity);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      gradient[j] = gradient[j] * scale + old[j] * decay;
      velocity[j] = velocity[j] * momentum + gradient[j];
      old[j] -= (nesterov ? gradient[j] + velocity[j] * momentum : velocity[j]) * rate;
    }
    store(v + i, velocity);
    store(p + i, old);
  }
};

/// Computes the constants once per update in one thread, because they need powers in double.
__global__ void set_adam(AdamUpdate op, const StepState* state, const float* factor,
                         AdamConstants* constants) {
  *constants = adam_constants(op, state->step, state->lr, factor_at(factor));
}

template <int kWide>
struct Adam {
  static constexpr int kWidth = kWide;
  const AdamConstants* shared;
  float* p;
  const float* g;
  float* m;
  float* v;

  template <int V>
  __device__ void at(std::size_t i) const {
    const AdamConstants constants = *shared;
    if (std::isnan(constants.gradient_scale)) return;
    float value[V], gradient[V], first[V], second[V];
    load(p + i, value);
    load(g + i, gradient);
    load(m + i, first);
    load(v + i, second);
#pragma unroll
    for (int j = 0; j < V; ++j) adam_value(constants, gradient[j], value[j], first[j], second[j]);
    store(m + i, first);
    store(v + i, second);
    store(p + i, value);
  }
};

template <int kWide>
struct Average {
  static constexpr int kWidth = kWide;
  ExponentialAverage op;
  const StepState* state;
  const float* factor;
  float weight;
  const float* x;
  float* average;

  template <int V>
  __device__ void at(std::size_t i) const {
    if (!averages_now(op, state->step) || std::isnan(factor_at(factor))) return;
    float old[V], value[V];
    load(average + i, old);
    load(x + i, value);
#pragma unroll
    for (int j = 0; j < V; ++j) old[j] += (value[j] - old[j]) * weight;
    store(average + i, old);
  }
};

constexpr int kSumBlocks = 512;

/// Each block adds every kSumBlocks-th tile of values, in double.
__global__ void __launch_bounds__(kThreads)
    add_squares(const float* x, std::size_t count, double* partial) {
  constexpr int kUnroll = 8;
  double sum = 0.0;
  const std::size_t tile = static_cast<std::size_t>(kThreads) * kUnroll;
  for (std::size_t first = blockIdx.x * tile; first < count; first += gridDim.x * tile) {
    float value[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::size_t i = first + static_cast<std::size_t>(u) * kThreads + threadIdx.x;
      value[u] = i < count ? x[i] : 0.0f;
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) sum += static_cast<double>(value[u]) * value[u];
  }
  const double total = block_total(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

__global__ void __launch_bounds__(kThreads)
    add_partial(const double* partial, int count, double* sum) {
  double own = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) own += partial[i];
  const double total = block_total(own);
  if (threadIdx.x == 0) *sum = total;
}

__global__ void set_factor(double clip_norm, const double* squares, const double* loss,
                           float* factor) {
  *factor = gradient_factor(clip_norm, *squares, loss != nullptr ? *loss : 0.0, *factor);
}

/// One block per row.
__global__ void __launch_bounds__(kThreads)
    clip_rows(AdaptiveClip op, const float* parameter, float* gradient) {
  const std::size_t first = blockIdx.x * static_cast<std::size_t>(op.inputs);
  const auto squares = [&](const float* row) {
    double sum = 0.0;
    for (int i = static_cast<int>(threadIdx.x); i < op.inputs; i += kThreads)
      sum += static_cast<double>(row[i]) * row[i];
    return block_total(sum);
  };
  const double own = squares(parameter + first);
  const float factor = adaptive_clip_factor(op, own, squares(gradient + first));
  if (factor == 1.0f) return;
  for (int i = static_cast<int>(threadIdx.x); i < op.inputs; i += kThreads)
    gradient[first + static_cast<std::size_t>(i)] *= factor;
}

}  // namespace

template <>
KernelPtr compile(Context& context, const SgdUpdate& op) {
  return make_kernel<SgdUpdate>([op, &context](const auto& a, const StepState& state) {
    with_storage(Storage::f32, aligned(a.parameter, a.gradient, a.velocity), 0,
                 [&]<class T, int V>() {
                   if constexpr (sizeof(T) == sizeof(float))
                     run_flat(context.stream,
                              Sgd<V>{context.use(state), a.factor, static_cast<float>(op.momentum),
                                     static_cast<float>(op.weight_decay), op.nesterov, a.parameter,
                                     a.gradient, a.velocity},
                              op.count);
                 });
  });
}

template <>
KernelPtr compile(Context& context, const AdamUpdate& op) {
  auto memory = std::make_shared<Buffer>(allocate_device(sizeof(AdamConstants), context.stream));
  return make_kernel<AdamUpdate>([op, memory, &context](const auto& a, const StepState& state) {
    auto* constants = reinterpret_cast<AdamConstants*>(memory->data());
    launch(set_adam, dim3(1), dim3(1), 0, context.stream, op, context.use(state), a.factor,
           constants);
    with_storage(
        Storage::f32, aligned(a.parameter, a.gradient, a.first_moment, a.second_moment), 0,
        [&]<class T, int V>() {
          if constexpr (sizeof(T) == sizeof(float))
            run_flat(context.stream,
                     Adam<V>{constants, a.parameter, a.gradient, a.first_moment, a.second_moment},
                     op.count);
        });
  });
}

template <>
KernelPtr compile(Context& context, const ExponentialAverage& op) {
  return make_kernel<ExponentialAverage>([op, &context](const auto& a, const StepState& state) {
    with_storage(Storage::f32, aligned(a.value, a.average), 0, [&]<class T, int V>() {
      if constexpr (sizeof(T) == sizeof(float))
        run_flat(context.stream,
                 Average<V>{op, context.use(state), a.factor, static_cast<float>(1.0 - op.decay),
                            a.value, a.average},
                 op.count);
    });
  });
}

template <>
KernelPtr compile(Context& context, const SumOfSquares& op) {
  context.need_scratch(kSumBlocks * sizeof(double));
  return make_kernel<SumOfSquares>([op, &context](const auto& a, const StepState&) {
    const std::size_t tile = static_cast<std::size_t>(kThreads) * 8;
    const auto blocks =
        static_cast<int>(std::clamp<std::size_t>((op.count + tile - 1) / tile, 1, kSumBlocks));
    auto* partial = context.scratch<double>();
    launch(add_squares, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, context.stream,
           a.gradient, op.count, partial);
    launch(add_partial, dim3(1), dim3(kThreads), 0, context.stream, partial, blocks, a.sum);
  });
}

template <>
KernelPtr compile(Context& context, const GradientFactor& op) {
  return make_kernel<GradientFactor>([op, &context](const auto& a, const StepState&) {
    launch(set_factor, dim3(1), dim3(1), 0, context.stream, op.clip_norm, a.sum_of_squares, a.loss,
           a.factor);
  });
}

template <>
KernelPtr compile(Context& context, const AdaptiveClip& op) {
  return make_kernel<AdaptiveClip>([op, &context](const auto& a, const StepState&) {
    launch(clip_rows, dim3(static_cast<unsigned>(op.outputs)), dim3(kThreads), 0, context.stream,
           op, a.parameter, a.gradient);
  });
}

}  // namespace syncnorm::cuda
