// The bias of convolutions and linear layers: its addition to a matrix [rows, channels], and its
// gradient, the sums of the columns.
#include "kernels/cuda/bias.h"

#include "kernels/cuda/columns.h"

namespace syncnorm::cuda {
namespace {

template <class T, int V>
struct AddVector {
  static constexpr int kWidth = V, kUnroll = 4;
  struct Line {
    float bias;
  };
  const float* bias;
  T* y;

  __device__ Line line(int, int c) const { return {bias[c]}; }

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&k)[V]) const {
    float values[U][V];
#pragma unroll
    for (int u = 0; u < U; ++u) load(y + at + u * step, values[u]);
#pragma unroll
    for (int u = 0; u < U; ++u) {
#pragma unroll
      for (int v = 0; v < V; ++v) values[u][v] += k[v].bias;
      store(y + at + u * step, values[u]);
    }
  }
};

template <class T, int V>
struct ColumnSums {
  static constexpr int kWidth = V, kUnroll = 4;
  struct Line {};
  using Partial = TwoSums<V>;
  const T* x;
  float* sums;

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&)[V], int,
                       Partial& partial) const {
    float values[U][V];
#pragma unroll
    for (int u = 0; u < U; ++u) load(x + at + u * step, values[u]);
#pragma unroll
    for (int v = 0; v < V; ++v) {
#pragma unroll
      for (int u = 0; u < U; ++u) partial.first[v] += values[u][v];
    }
  }
  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int, int c, double sum, double) const {
    sums[c] = static_cast<float>(sum);
  }
};

}  // namespace

std::size_t bias_scratch_bytes(std::size_t rows, int channels) {
  return partial_doubles({1, rows, channels}) * sizeof(double);
}

void add_bias(Context& context, Storage storage, std::size_t rows, int channels, const float* bias,
              void* y) {
  with_storage(storage, aligned(y), static_cast<std::size_t>(channels), [&]<class T, int V>() {
    run_map(context.stream, AddVector<T, V>{bias, static_cast<T*>(y)}, {1, rows, channels});
  });
}

void bias_gradient(Context& context, Storage storage, std::size_t rows, int channels,
                   const void* dy, double* scratch, float* dbias) {
  with_storage(storage, aligned(dy), static_cast<std::size_t>(channels), [&]<class T, int V>() {
    run_reduction(context.stream, ColumnSums<T, V>{static_cast<const T*>(dy), dbias},
                  {1, rows, channels}, scratch);
  });
}

namespace {

template <class BiasOp>
std::size_t rows_of(const BiasOp& op) {
  return static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.pixels);
}

}  // namespace

template <>
KernelPtr compile(Context& context, const AddBias& op) {
  return make_kernel<AddBias>([op, &context](const auto& a, const StepState&) {
    add_bias(context, op.storage, rows_of(op), op.channels, a.bias, a.y);
  });
}

template <>
KernelPtr compile(Context& context, const BiasGradient& op) {
  context.need_scratch(bias_scratch_bytes(rows_of(op), op.channels));
  return make_kernel<BiasGradient>([op, &context](const auto& a, const StepState&) {
    bias_gradient(context, op.storage, rows_of(op), op.channels, a.dy, context.scratch<double>(),
                  a.dbias);
  });
}

}  // namespace syncnorm::cuda
