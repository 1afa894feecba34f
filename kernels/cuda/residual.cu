// The scaled residual add on CUDA. The backward pass is one reduction, which also writes dx and the
// gradient of the residual.
#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {
namespace {

template <class T, int kWide>
struct Forward {
  static constexpr int kWidth = kWide;
  float alpha;
  bool relu;
  const float* gain;
  const T* x;
  const T* residual;
  T* y;

  template <int V>
  __device__ void at(std::size_t i) const {
    const float scale = alpha * *gain;
    float value[V], added[V];
    load(x + i, value);
    load(residual + i, added);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      value[v] = value[v] * scale + added[v];
      if (relu) value[v] = value[v] < 0.0f ? 0.0f : value[v];  // a nan stays a nan
    }
    store(y + i, value);
  }
};

struct NoLine {};

/// Writes dx, and g where it is asked for, and sums g·x of every channel.
template <class T, int V>
struct Backward {
  static constexpr int kWidth = V, kUnroll = 2;
  using Line = NoLine;
  using Partial = TwoSums<V>;
  float alpha;
  bool relu;
  const float* gain;
  const T* dy;
  const T* dy2;
  const T* x;
  const T* y;
  T* dx;
  T* kept;
  double* sums;  // [C]

  __device__ Line line(int, int) const { return {}; }

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&)[V], int,
                       Partial& partial) const {
    const float scale = alpha * *gain;
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const std::size_t i = at + u * step;
      float g[V], other[V];
      load(dy + i, g);
      if (dy2 != nullptr) {
        load(dy2 + i, other);
#pragma unroll
        for (int v = 0; v < V; ++v) g[v] += other[v];
      }
      if (relu) {
        load(y + i, other);
#pragma unroll
        for (int v = 0; v < V; ++v) g[v] = other[v] > 0.0f ? g[v] : 0.0f;
      }
      if (kept != nullptr) store_rounded(kept + i, g);
      load(x + i, other);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        partial.first[v] = fmaf(g[v], other[v], partial.first[v]);
        g[v] *= scale;
      }
      store(dx + i, g);
    }
  }

  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int, int c, double sum_gx, double) const { sums[c] = sum_gx; }
};

/// dgain = alpha times the sum over all channels, by one block.
__global__ void __launch_bounds__(kThreads)
    finish_gain(int channels, double alpha, const double* sums, float* dgain) {
  double sum = 0.0;
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads) sum += sums[c];
  sum = block_total(sum);
  if (threadIdx.x == 0) *dgain = static_cast<float>(alpha * sum);
}

}  // namespace

template <>
KernelPtr compile(Context& context, const ScaledAddForward& op) {
  return make_kernel<ScaledAddForward>([op, &context](const auto& a, const StepState&) {
    with_storage(op.storage, aligned(a.x, a.residual, a.y), 0, [&]<class T, int V>() {
      run_flat(context.stream,
               Forward<T, V>{static_cast<float>(op.alpha), op.relu, a.gain, typed<T>(a.x),
                             typed<T>(a.residual), typed<T>(a.y)},
               values(op.samples, op.pixels * op.channels));
    });
  });
}

template <>
KernelPtr compile(Context& context, const ScaledAddBackward& op) {
  const Columns shape{1, static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.pixels),
                      op.channels};
  const auto channels = static_cast<std::size_t>(op.channels);
  context.need_scratch((channels + partial_doubles(shape)) * sizeof(double));
  return make_kernel<ScaledAddBackward>(
      [op, shape, channels, &context](const auto& a, const StepState&) {
        auto* sums = context.scratch<double>();
        with_storage(
            op.storage, aligned(a.dy, a.dy2, a.x, a.y, a.dx, a.g), channels, [&]<class T, int V>() {
              run_reduction(context.stream,
                            Backward<T, V>{static_cast<float>(op.alpha), op.relu, a.gain,
                                           typed<T>(a.dy), typed<T>(a.dy2), typed<T>(a.x),
                                           typed<T>(a.y), typed<T>(a.dx), typed<T>(a.g), sums},
                            shape, sums + channels);
            });
        launch(finish_gain, dim3(1), dim3(kThreads), 0, context.stream, op.channels, op.alpha, sums,
               a.dgain);
      });
}

}  // namespace syncnorm::cuda
