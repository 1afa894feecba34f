// Sums for means and deviations: Σx and Σx², and the deviations of L1 and L∞.
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

__device__ __forceinline__ double larger(double a, double b) { return b > a ? b : a; }

/// A thread sums in float about the first of its rows, and in double about zero: even for a mean of
/// 10⁴ standard deviations, a double holds eight digits of the variance.
template <class T, int V>
struct Moments {
  static constexpr int kWidth = V, kUnroll = 8;
  struct Line {};
  struct Partial {
    float middle[V], first[V], second[V];

    __device__ void fold(int rows, double (&totals)[2][V]) const {
      const double n = rows;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const double m = middle[v], d1 = first[v];
        totals[0][v] += fma(m, n, d1);
        totals[1][v] += fma(m, fma(m, n, 2.0 * d1), static_cast<double>(second[v]));
      }
    }
  };
  const T* x;
  MomentsPass pass;
  Columns shape;

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&)[V], int rows,
                       Partial& partial) const {
    float values[U][V];
#pragma unroll
    for (int u = 0; u < U; ++u) load(x + at + u * step, values[u]);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (rows == 0) partial.middle[v] = values[0][v];
#pragma unroll
      for (int u = 0; u < U; ++u) {
        const float d = values[u][v] - partial.middle[v];
        partial.first[v] += d;
        partial.second[v] = fmaf(d, d, partial.second[v]);
      }
    }
  }
  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int sample, int c, double first, double second) const {
    double* to = advanced(pass.sums, sample, pass.strides.sums) + c;
    to[0] = first;
    to[shape.channels] = second;
    if (pass.count != nullptr && c == 0)
      *advanced(pass.count, sample, pass.strides.sums) = static_cast<double>(shape.rows);
  }
};

template <class T, int V, DeviationPart kPart>
struct Deviations {
  static constexpr int kWidth = V, kUnroll = 4;
  struct Line {
    float mean, rest, largest;
  };
  struct Partial {
    float first[V], second[V];

    __device__ void fold(int, double (&totals)[2][V]) const {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        totals[0][v] = combine(totals[0][v], static_cast<double>(first[v]));
        totals[1][v] = combine(totals[1][v], static_cast<double>(second[v]));
      }
    }
  };
  const T* x;
  const float* mean;
  const double* largest;
  double* sums;
  int channels;

  __device__ Line line(int, int c) const {
    const bool known = kPart == DeviationPart::maxima;
    return {mean[c], mean[channels + c], known ? static_cast<float>(largest[c]) : 0.0f};
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&k)[V], int,
                       Partial& partial) const {
    float values[U][V];
#pragma unroll
    for (int u = 0; u < U; ++u) load(x + at + u * step, values[u]);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      float &first = partial.first[v], &second = partial.second[v];
#pragma unroll
      for (int u = 0; u < U; ++u) {
        const float d = values[u][v] - k[v].mean - k[v].rest;
        const float size = fabsf(d), sign = d > 0.0f ? 1.0f : (d < 0.0f ? -1.0f : 0.0f);
        if constexpr (kPart == DeviationPart::absolute) {
          first += size;
          second += sign;
        } else if constexpr (kPart == DeviationPart::largest) {
          first = size > first ? size : first;
        } else {
          first += size == k[v].largest ? 1.0f : 0.0f;
          second += size == k[v].largest ? sign : 0.0f;
        }
      }
    }
  }
  __device__ static double combine(double a, double b) {
    return kPart == DeviationPart::largest ? larger(a, b) : a + b;
  }
  __device__ void finish(int, int c, double first, double second) const {
    sums[c] = first;
    if constexpr (kPart != DeviationPart::largest) sums[channels + c] = second;
  }
};

}  // namespace

void run_moments(Context& context, Storage storage, const Columns& shape, const MomentsPass& pass,
                 double* partial) {
  with_storage(
      storage, aligned(pass.x), static_cast<std::size_t>(shape.channels), [&]<class T, int V>() {
        run_reduction(context.stream, Moments<T, V>{static_cast<const T*>(pass.x), pass, shape},
                      shape, partial);
      });
}

void run_deviation(Context& context, Storage storage, const Columns& shape,
                   const DeviationPass& pass, double* partial) {
  with_storage(storage, aligned(pass.x), static_cast<std::size_t>(shape.channels),
               [&]<class T, int V>() {
                 const auto run = [&]<DeviationPart kPart>() {
                   run_reduction(context.stream,
                                 Deviations<T, V, kPart>{static_cast<const T*>(pass.x), pass.mean,
                                                         pass.largest, pass.totals, shape.channels},
                                 shape, partial);
                 };
                 switch (pass.part) {
                   case DeviationPart::absolute:
                     return run.template operator()<DeviationPart::absolute>();
                   case DeviationPart::largest:
                     return run.template operator()<DeviationPart::largest>();
                   case DeviationPart::maxima:
                     return run.template operator()<DeviationPart::maxima>();
                 }
               });
}

}  // namespace syncnorm::cuda
