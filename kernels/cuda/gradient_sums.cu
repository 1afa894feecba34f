// The sums for the gradients of normalization: Σg and Σg·x̂, where g is dy [+ dy2] masked by ReLU.
// g is also stored where it is needed again.
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

template <class T, int V>
struct GradientSums {
  static constexpr int kWidth = V, kUnroll = V == 8 ? 2 : 4;
  struct Line {
    float mean, scale, shift;
  };
  using Partial = TwoSums<V>;
  const T* dy;
  const T* dy2;
  const T* x;
  const T* y;
  T* g;
  NormVectors vectors;
  MatrixStrides strides;
  double* sums;
  float* dgamma;
  float* dbeta;
  int channels;
  bool relu;

  __device__ Line line(int sample, int c) const {
    const NormVectors own = vectors_of(vectors, strides, sample);
    const auto at = static_cast<std::size_t>(c);
    if (!relu || y != nullptr) return {own.mean[at], 0.0f, 0.0f};
    const AffineLine affine = affine_line(own, at, static_cast<std::size_t>(channels));
    return {own.mean[at], affine.scale, affine.shift};
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&k)[V], int,
                       Partial& partial) const {
    float values[U][V], gradient[U][V], other[U][V];
#pragma unroll
    for (int u = 0; u < U; ++u) load(dy + at + u * step, gradient[u]);
#pragma unroll
    for (int u = 0; u < U; ++u) load(x + at + u * step, values[u]);
    if (dy2 != nullptr) {
#pragma unroll
      for (int u = 0; u < U; ++u) {
        load(dy2 + at + u * step, other[u]);
#pragma unroll
        for (int v = 0; v < V; ++v) gradient[u][v] += other[u][v];
      }
    }
    if (relu && y != nullptr) {
#pragma unroll
      for (int u = 0; u < U; ++u) {
        load(y + at + u * step, other[u]);
#pragma unroll
        for (int v = 0; v < V; ++v) gradient[u][v] = other[u][v] > 0.0f ? gradient[u][v] : 0.0f;
      }
    } else if (relu) {
#pragma unroll
      for (int u = 0; u < U; ++u) {
#pragma unroll
        for (int v = 0; v < V; ++v)
          gradient[u][v] = on_line(values[u][v], k[v].mean, k[v].scale, k[v].shift) > 0.0f
                               ? gradient[u][v]
                               : 0.0f;
      }
    }
    if (g != nullptr) {
#pragma unroll
      for (int u = 0; u < U; ++u) store_rounded(g + at + u * step, gradient[u]);
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
#pragma unroll
      for (int u = 0; u < U; ++u) {
        partial.first[v] += gradient[u][v];
        partial.second[v] = fmaf(gradient[u][v], values[u][v] - k[v].mean, partial.second[v]);
      }
    }
  }

  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int sample, int c, double sum_g, double sum_gx) const {
    const NormVectors own = vectors_of(vectors, strides, sample);
    const double gx =
        gradient_sum_of_normalized(sum_g, sum_gx, own.mean[channels + c], own.inv_std[c]);
    double* to = advanced(sums, sample, strides.sums) + c;
    to[0] = sum_g;
    to[channels] = gx;
    if (dgamma != nullptr)
      advanced(dgamma, sample, strides.dgamma)[c] =
          gamma_gradient(sum_g, gx, own.correction, static_cast<std::size_t>(c),
                         static_cast<std::size_t>(channels));
    if (dbeta != nullptr) advanced(dbeta, sample, strides.dbeta)[c] = static_cast<float>(sum_g);
  }
};

}  // namespace

void run_gradient_sums(Context& context, Storage storage, const Columns& shape,
                       const GradientSumsPass& p, double* partial) {
  with_storage(storage, aligned(p.dy, p.dy2, p.x, p.y, p.g),
               static_cast<std::size_t>(shape.channels), [&]<class T, int V>() {
                 run_reduction(
                     context.stream,
                     GradientSums<T, V>{static_cast<const T*>(p.dy), static_cast<const T*>(p.dy2),
                                        static_cast<const T*>(p.x), static_cast<const T*>(p.y),
                                        static_cast<T*>(p.g), p.vectors, p.strides, p.sums,
                                        p.dgamma, p.dbeta, shape.channels, p.relu},
                     shape, partial);
               });
}

}  // namespace syncnorm::cuda
