// Layer norm over channels on CUDA: a few lanes of a warp per row, whose number depends only on the
// number of channels. The backward pass writes dx and the rows' statistics; a reduction over the
// rows then reads these for dγ and dβ.
#include "kernels/cuda/flat.h"
#include "kernels/cuda/rows.h"
#include "kernels/norm_math.h"

namespace syncnorm::cuda {
namespace {

/// The mean is `mean` + `rest`, so that a large mean costs no accuracy.
struct RowStatistics {
  float mean, rest, inv_std;

  __device__ float normalized(float x) const { return ((x - mean) - rest) * inv_std; }
};

/// One channel's γ and β.
struct Gain {
  float gamma, beta;

  /// The mask's and the forward pass's roundings are the same.
  __device__ float value(float normalized) const { return fmaf(normalized, gamma, beta); }
};

__device__ __forceinline__ Gain gain_of(const float* gamma, const float* beta, int c) {
  return {gamma != nullptr ? gamma[c] : 1.0f, beta != nullptr ? beta[c] : 0.0f};
}

template <class T>
__device__ __forceinline__ RowStatistics row_statistics(const T* x, int channels, double eps,
                                                        int lane, int lanes) {
  float sum = 0.0f;
  for (int c = lane; c < channels; c += lanes) sum += as_float(x[c]);
  RowStatistics row{};
  row.mean = static_cast<float>(lanes_total(sum, lanes) / channels);
  float deviation = 0.0f, square = 0.0f;
  for (int c = lane; c < channels; c += lanes) {
    const float d = as_float(x[c]) - row.mean;
    deviation += d;
    square = fmaf(d, d, square);
  }
  const double offset = lanes_total(deviation, lanes) / channels;
  const double variance = lanes_total(square, lanes) / channels - offset * offset;
  row.rest = static_cast<float>(offset);
  // A nan stays a nan.
  row.inv_std = static_cast<float>(inverse_std(variance < 0.0 ? 0.0 : variance, eps));
  return row;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    normalize_rows(ChannelNormForward op, std::size_t rows, int lanes, const T* x,
                   const float* gamma, const float* beta, const T* residual, T* y) {
  const RowPlace place = own_place(rows, lanes);
  const std::size_t at = place.row * static_cast<std::size_t>(op.channels);
  const RowStatistics row = row_statistics(x + at, op.channels, op.eps, place.lane, lanes);
  if (!place.active) return;
  for (int c = place.lane; c < op.channels; c += lanes) {
    float value = gain_of(gamma, beta, c).value(row.normalized(as_float(x[at + c])));
    if (residual != nullptr) value += as_float(residual[at + c]);
    if (op.relu) value = value < 0.0f ? 0.0f : value;  // a nan stays a nan
    y[at + c] = as_stored<T>(value);
  }
}

/// Where the gradient of the norm's output comes from.
template <class T>
struct Gradient {
  const T* dy;
  const T* dy2;
  const T* x;
  const T* y;
  const float* gamma;
  const float* beta;
  bool relu;

  /// The masked gradient of value i, whose x̂ is `normalized`.
  __device__ float at(std::size_t i, const Gain& gain, float normalized) const {
    float g = as_float(dy[i]);
    if (dy2 != nullptr) g += as_float(dy2[i]);
    if (!relu) return g;
    const float value = y != nullptr ? as_float(y[i]) : gain.value(normalized);
    return value > 0.0f ? g : 0.0f;
  }
};

/// Writes dx, the kept g where it is wanted, and the rows' statistics.
template <class T>
__global__ void __launch_bounds__(kThreads)
    differentiate_rows(ChannelNormBackward op, std::size_t rows, int lanes, Gradient<T> gradient,
                       T* dx, T* kept, RowStatistics* statistics) {
  const RowPlace place = own_place(rows, lanes);
  const std::size_t at = place.row * static_cast<std::size_t>(op.channels);
  const RowStatistics row = row_statistics(gradient.x + at, op.channels, op.eps, place.lane, lanes);
  float sum_g = 0.0f, sum_gx = 0.0f;
  const auto masked = [&](int c, float& normalized) {
    const Gain gain = gain_of(gradient.gamma, gradient.beta, c);
    normalized = row.normalized(as_float(gradient.x[at + c]));
    float g = gradient.at(at + c, gain, normalized);
    if (kept != nullptr) g = as_float(as_stored<T>(g));
    return g;
  };
  for (int c = place.lane; c < op.channels; c += lanes) {
    float normalized = 0.0f;
    const float g = masked(c, normalized);
    const float h = g * gain_of(gradient.gamma, gradient.beta, c).gamma;
    sum_g += h;
    sum_gx = fmaf(h, normalized, sum_gx);
  }
  const auto mean_g = static_cast<float>(lanes_total(sum_g, lanes) / op.channels);
  const auto mean_gx = static_cast<float>(lanes_total(sum_gx, lanes) / op.channels);
  if (!place.active) return;
  for (int c = place.lane; c < op.channels; c += lanes) {
    float normalized = 0.0f;
    const float g = masked(c, normalized);
    if (kept != nullptr) kept[at + c] = as_stored<T>(g);
    const float h = g * gain_of(gradient.gamma, gradient.beta, c).gamma;
    dx[at + c] = as_stored<T>(((h - mean_g) - normalized * mean_gx) * row.inv_std);
  }
  if (place.lane == 0) statistics[place.row] = row;
}

/// Sums g and g·x̂ of every channel, which are dβ and dγ.
template <class T, int V>
struct ChannelSums {
  static constexpr int kWidth = V, kUnroll = 1;
  using Line = Gain;
  using Partial = TwoSums<V>;
  Gradient<T> gradient;
  const RowStatistics* statistics;
  int channels;
  float* dgamma;
  float* dbeta;

  __device__ Line line(int, int c) const { return gain_of(gradient.gamma, gradient.beta, c); }

  template <int U>
  __device__ void take(std::size_t at, std::size_t, const Line (&k)[V], int,
                       Partial& partial) const {
    const RowStatistics row = statistics[at / static_cast<std::size_t>(channels)];
    float x[V];
    load(gradient.x + at, x);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float normalized = row.normalized(x[v]);
      const float g = gradient.at(at + static_cast<std::size_t>(v), k[v], normalized);
      partial.first[v] += g;
      partial.second[v] = fmaf(g, normalized, partial.second[v]);
    }
  }

  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int, int c, double sum_g, double sum_gx) const {
    if (dgamma != nullptr) dgamma[c] = static_cast<float>(sum_gx);
    if (dbeta != nullptr) dbeta[c] = static_cast<float>(sum_g);
  }
};

template <class Op>
Columns shape_of(const Op& op) {
  return {1, values(op.samples, op.pixels), op.channels};
}

}  // namespace

template <>
KernelPtr compile(Context& context, const ChannelNormForward& op) {
  const int lanes = lanes_of(op.channels);
  const std::size_t rows = shape_of(op).rows;
  return make_kernel<ChannelNormForward>([op, lanes, rows, &context](const auto& a,
                                                                     const StepState&) {
    with_storage(op.storage, false, static_cast<std::size_t>(op.channels), [&]<class T, int V>() {
      launch(normalize_rows<T>, row_blocks(rows, lanes), dim3(kThreads), 0, context.stream, op,
             rows, lanes, typed<T>(a.x), a.gamma, a.beta, typed<T>(a.residual), typed<T>(a.y));
    });
  });
}

template <>
KernelPtr compile(Context& context, const ChannelNormBackward& op) {
  const Columns shape = shape_of(op);
  const int lanes = lanes_of(op.channels);
  const std::size_t partial = partial_doubles(shape) * sizeof(double);
  context.need_scratch(partial + shape.rows * sizeof(RowStatistics));
  return make_kernel<ChannelNormBackward>(
      [op, shape, lanes, partial, &context](const auto& a, const StepState&) {
        auto* statistics = reinterpret_cast<RowStatistics*>(context.scratch<std::byte>() + partial);
        with_storage(
            op.storage, aligned(a.x), static_cast<std::size_t>(op.channels), [&]<class T, int V>() {
              Gradient<T> gradient{typed<T>(a.dy), typed<T>(a.dy2), typed<T>(a.x), typed<T>(a.y),
                                   a.gamma,        a.beta,          op.relu};
              launch(differentiate_rows<T>, row_blocks(shape.rows, lanes), dim3(kThreads), 0,
                     context.stream, op, shape.rows, lanes, gradient, typed<T>(a.dx), typed<T>(a.g),
                     statistics);
              if (a.dgamma == nullptr && a.dbeta == nullptr) return;
              if (a.g != nullptr) {
                gradient.dy = typed<T>(a.g);
                gradient.dy2 = nullptr;
                gradient.relu = false;
              }
              run_reduction(context.stream,
                            ChannelSums<T, V>{gradient, statistics, op.channels, a.dgamma, a.dbeta},
                            shape, context.scratch<double>());
            });
      });
}

}  // namespace syncnorm::cuda
