// Pointwise norms (DyT, Derf) on CUDA. The backward pass reduces twice, as a reduction has two
// totals per channel: the first also writes dx, and the kept g that the second reads instead of dy.
#include "kernels/cuda/flat.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cuda {
namespace {

/// The vectors that the constants of a channel come from.
struct Parameters {
  const float* alpha;
  const float* shift;
  const float* gamma;
  const float* beta;
};

template <class Operands>
Parameters parameters_of(const Operands& a) {
  return {a.alpha, a.shift, a.gamma, a.beta};
}

template <class T, int V>
struct Forward {
  static constexpr int kWidth = V, kUnroll = 4;
  using Line = PointwiseNormLine;
  PointwiseFunction function;
  const T* x;
  const T* residual;
  T* y;
  Parameters parameters;
  bool relu;

  __device__ Line line(int, int c) const {
    return pointwise_norm_line(parameters, static_cast<std::size_t>(c));
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&k)[V]) const {
    float values[U][V], added[U][V] = {};
#pragma unroll
    for (int u = 0; u < U; ++u) load(x + at + u * step, values[u]);
    if (residual != nullptr) {
#pragma unroll
      for (int u = 0; u < U; ++u) load(residual + at + u * step, added[u]);
    }
#pragma unroll
    for (int u = 0; u < U; ++u) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        float value = k[v].outer(pointwise_value(function, k[v].inner(values[u][v])));
        if (residual != nullptr) value += added[u][v];
        if (relu) value = value < 0.0f ? 0.0f : value;  // a nan stays a nan
        values[u][v] = value;
      }
      store(y + at + u * step, values[u]);
    }
  }
};

/// Inputs of both reductions of the backward pass, and the computation of g.
template <class T>
struct Gradient {
  PointwiseFunction function;
  const T* dy;
  const T* dy2;
  const T* x;
  const T* y;
  Parameters parameters;
  bool relu;

  /// x, f(z) and g of V values.
  template <int V>
  __device__ void read(std::size_t at, const PointwiseNormLine (&k)[V], float (&values)[V],
                       float (&f)[V], float (&g)[V]) const {
    float other[V];
    load(dy + at, g);
    load(x + at, values);
    if (dy2 != nullptr) {
      load(dy2 + at, other);
#pragma unroll
      for (int v = 0; v < V; ++v) g[v] += other[v];
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
      f[v] = pointwise_value(function, k[v].inner(values[v]));
      other[v] = k[v].outer(f[v]);
    }
    if (!relu) return;
    if (y != nullptr) load(y + at, other);
#pragma unroll
    for (int v = 0; v < V; ++v) g[v] = other[v] > 0.0f ? g[v] : 0.0f;
  }
};

/// Writes dx, and g where it is kept, and sums d = g·f'(z) and d·x of every channel.
template <class T, int V>
struct ScalarSums {
  static constexpr int kWidth = V, kUnroll = 1;
  using Line = PointwiseNormLine;
  using Partial = TwoSums<V>;
  Gradient<T> gradient;
  T* dx;
  T* kept;
  double* sums;  // [2, C]
  int channels;

  __device__ Line line(int, int c) const {
    return pointwise_norm_line(gradient.parameters, static_cast<std::size_t>(c));
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t, const Line (&k)[V], int,
                       Partial& partial) const {
    float x[V], f[V], g[V];
    gradient.read(at, k, x, f, g);
    if (kept != nullptr) store_rounded(kept + at, g);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float d = g[v] * pointwise_slope(gradient.function, k[v].inner(x[v]), f[v]);
      partial.first[v] += d;
      partial.second[v] = fmaf(d, x[v], partial.second[v]);
      g[v] = k[v].alpha * k[v].gamma * d;
    }
    store(dx + at, g);
  }

  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int, int c, double sum_d, double sum_dx) const {
    sums[c] = sum_d;
    sums[channels + c] = sum_dx;
  }
};

/// Sums g and g·f(z) of every channel, which are dβ and dγ.
template <class T, int V>
struct ChannelSums {
  static constexpr int kWidth = V, kUnroll = 1;
  using Line = PointwiseNormLine;
  using Partial = TwoSums<V>;
  Gradient<T> gradient;
  float* dgamma;
  float* dbeta;

  __device__ Line line(int, int c) const {
    return pointwise_norm_line(gradient.parameters, static_cast<std::size_t>(c));
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t, const Line (&k)[V], int,
                       Partial& partial) const {
    float x[V], f[V], g[V];
    gradient.read(at, k, x, f, g);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      partial.first[v] += g[v];
      partial.second[v] = fmaf(g[v], f[v], partial.second[v]);
    }
  }

  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int, int c, double sum_g, double sum_gf) const {
    if (dgamma != nullptr) dgamma[c] = static_cast<float>(sum_gf);
    if (dbeta != nullptr) dbeta[c] = static_cast<float>(sum_g);
  }
};

/// sums [2, C] -> dα and ds: one block adds γ times the sums of all channels.
__global__ void __launch_bounds__(kThreads)
    finish_scalars(int channels, const double* sums, const float* gamma, float* dalpha,
                   float* dshift) {
  double alpha = 0.0, shift = 0.0;
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads) {
    const double weight = gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0;
    shift += weight * sums[c];
    alpha += weight * sums[channels + c];
  }
  alpha = block_total(alpha);
  shift = block_total(shift);
  if (threadIdx.x != 0) return;
  *dalpha = static_cast<float>(alpha);
  if (dshift != nullptr) *dshift = static_cast<float>(shift);
}

/// All rows together: nothing is per sample.
template <class Op>
Columns shape_of(const Op& op) {
  return {1, static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.pixels),
          op.channels};
}

}  // namespace

template <>
KernelPtr compile(Context& context, const PointwiseNormForward& op) {
  return make_kernel<PointwiseNormForward>([op, &context](const auto& a, const StepState&) {
    with_storage(op.storage, aligned(a.x, a.residual, a.y), static_cast<std::size_t>(op.channels),
                 [&]<class T, int V>() {
                   run_map(context.stream,
                           Forward<T, V>{op.function, typed<T>(a.x), typed<T>(a.residual),
                                         typed<T>(a.y), parameters_of(a), op.relu},
                           shape_of(op));
                 });
  });
}

template <>
KernelPtr compile(Context& context, const PointwiseNormBackward& op) {
  const Columns shape = shape_of(op);
  const auto sums_count = 2 * static_cast<std::size_t>(op.channels);
  context.need_scratch((sums_count + partial_doubles(shape)) * sizeof(double));
  return make_kernel<PointwiseNormBackward>([op, shape, sums_count, &context](const auto& a,
                                                                              const StepState&) {
    auto* sums = context.scratch<double>();
    double* partial = sums + sums_count;
    with_storage(op.storage, aligned(a.dy, a.dy2, a.x, a.y, a.dx, a.g),
                 static_cast<std::size_t>(op.channels), [&]<class T, int V>() {
                   Gradient<T> gradient{op.function,   typed<T>(a.dy), typed<T>(a.dy2),
                                        typed<T>(a.x), typed<T>(a.y),  parameters_of(a),
                                        op.relu};
                   run_reduction(
                       context.stream,
                       ScalarSums<T, V>{gradient, typed<T>(a.dx), typed<T>(a.g), sums, op.channels},
                       shape, partial);
                   if (a.dgamma == nullptr && a.dbeta == nullptr) return;
                   if (a.g != nullptr) {
                     gradient.dy = typed<T>(a.g);
                     gradient.dy2 = nullptr;
                     gradient.relu = false;
                   }
                   run_reduction(context.stream, ChannelSums<T, V>{gradient, a.dgamma, a.dbeta},
                                 shape, partial);
                 });
    launch(finish_scalars, dim3(1), dim3(kThreads), 0, context.stream, op.channels, sums, a.gamma,
           a.dalpha, a.dshift);
  });
}

}  // namespace syncnorm::cuda
