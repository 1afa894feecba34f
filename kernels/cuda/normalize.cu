// Normalizes: y = [relu]((x − mean)·scale + shift [+ residual]).
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

template <class T, int V>
struct Normalize {
  static constexpr int kWidth = V, kUnroll = 4;
  struct Line {
    float mean, scale, shift;
  };
  const T* x;
  const T* residual;
  T* y;
  NormVectors vectors;
  MatrixStrides strides;
  int channels;
  bool relu;

  __device__ Line line(int sample, int c) const {
    const NormVectors own = vectors_of(vectors, strides, sample);
    const auto at = static_cast<std::size_t>(c);
    const AffineLine affine = affine_line(own, at, static_cast<std::size_t>(channels));
    return {own.mean[at], affine.scale, affine.shift};
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
        float value = on_line(values[u][v], k[v].mean, k[v].scale, k[v].shift);
        if (residual != nullptr) value += added[u][v];
        if (relu) value = value < 0.0f ? 0.0f : value;  // a nan stays a nan
        values[u][v] = value;
      }
      store(y + at + u * step, values[u]);
    }
  }
};

}  // namespace

void run_normalize(Context& context, Storage storage, const Columns& shape,
                   const NormalizePass& pass) {
  with_storage(storage, aligned(pass.x, pass.residual, pass.y),
               static_cast<std::size_t>(shape.channels), [&]<class T, int V>() {
                 run_map(
                     context.stream,
                     Normalize<T, V>{static_cast<const T*>(pass.x),
                                     static_cast<const T*>(pass.residual), static_cast<T*>(pass.y),
                                     pass.vectors, pass.strides, shape.channels, pass.relu},
                     shape);
               });
}

}  // namespace syncnorm::cuda
