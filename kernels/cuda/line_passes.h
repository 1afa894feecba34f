// Passes of norms that are a function of each value with the constants of its channel, for those
// whose output contains its activation. Lines: what has the constants; Line: those of one channel
// of one sample, with value(x), the output before any residual; line(sample, channel).
#pragma once

#include "kernels/cuda/columns.h"

namespace syncnorm::cuda {

/// Maps x to y = [relu](value(x) [+ residual]).
template <class T, int V, class Lines>
struct ApplyLines {
  static constexpr int kWidth = V, kUnroll = 2;
  using Line = typename Lines::Line;
  const T* x;
  const T* residual;
  T* y;
  Lines lines;
  bool relu;

  __device__ Line line(int sample, int c) const { return lines.line(sample, c); }

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&k)[V]) const {
#pragma unroll
    for (int u = 0; u < U; ++u) {
      float values[V], added[V] = {};
      load(x + at + u * step, values);
      if (residual != nullptr) load(residual + at + u * step, added);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        float value = k[v].value(values[v]);
        if (residual != nullptr) value += added[v];
        if (relu) value = value < 0.0f ? 0.0f : value;  // a nan stays a nan
        values[v] = value;
      }
      store(y + at + u * step, values);
    }
  }
};

/// The masked gradient g = dy [+ dy2], zeroed where the ReLU was inactive: by y where it is given,
/// else by the recomputed output.
template <class T, class Lines>
struct MaskedGradient {
  const T* dy;
  const T* dy2;
  const T* x;
  const T* y;
  Lines lines;
  bool relu;

  /// x and g of V values.
  template <int V>
  __device__ void read(std::size_t at, const typename Lines::Line (&k)[V], float (&values)[V],
                       float (&g)[V]) const {
    float other[V];
    load(dy + at, g);
    load(x + at, values);
    if (dy2 != nullptr) {
      load(dy2 + at, other);
#pragma unroll
      for (int v = 0; v < V; ++v) g[v] += other[v];
    }
    if (!relu) return;
    if (y != nullptr) load(y + at, other);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float value = y != nullptr ? other[v] : k[v].value(values[v]);
      g[v] = value > 0.0f ? g[v] : 0.0f;
    }
  }
};

}  // namespace syncnorm::cuda
