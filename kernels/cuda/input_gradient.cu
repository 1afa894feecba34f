// The input gradient of every normalization, dx = a·g + b·h(x − mean) + d, where h is the value
// itself (L2), its sign (L1), or its sign where its magnitude is the largest and else 0 (L∞).
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

template <class T, int V, Deviation kDeviation>
struct InputGradient {
  static constexpr int kWidth = V, kUnroll = 4;
  struct Line {
    float mean, scale, shift, a, b, d;
    float rest, largest;  // for the deviations that need them
  };
  InputGradientPass pass;
  const T* g;
  const T* x;
  T* dx;

  __device__ GradientLine gradient(const NormVectors& own, int sample, std::size_t c, float scale,
                                   float& largest) const {
    if (pass.op.frozen) return {scale, 0.0f, 0.0f};
    if (pass.group_means == nullptr) {
      const GroupTotals& all = pass.totals;
      const GroupTotals totals{advanced(all.sums, sample, pass.strides.gradient_sums),
                               *advanced(pass.count, sample, pass.strides.count),
                               advanced(all.deviation, sample, pass.strides.deviation),
                               advanced(all.maxima, sample, pass.strides.maxima)};
      return batch_gradient_line(pass.op, own, totals, c, largest);
    }
    const auto channels = static_cast<std::size_t>(pass.op.channels);
    const auto groups = static_cast<std::size_t>(pass.groups);
    const double* means = pass.group_means +
                          (static_cast<std::size_t>(sample) * groups + c / (channels / groups)) * 2;
    const double weight = own.gamma != nullptr ? static_cast<double>(own.gamma[c]) : 1.0;
    return gradient_line(input_gradient_line(weight, own.inv_std[c], means[0], means[1]),
                         own.mean[channels + c]);
  }

  __device__ Line line(int sample, int channel) const {
    const NormVectors own = vectors_of(pass.vectors, pass.strides, sample);
    const auto c = static_cast<std::size_t>(channel);
    const auto channels = static_cast<std::size_t>(pass.op.channels);
    AffineLine affine{};
    if (pass.op.relu || pass.op.frozen) affine = affine_line(own, c, channels);
    float largest = 0.0f;
    const GradientLine g_line = gradient(own, sample, c, affine.scale, largest);
    return {own.mean[c], affine.scale, affine.shift,           g_line.a,
            g_line.b,    g_line.d,     own.mean[channels + c], largest};
  }

  __device__ static float direction(float centred, float rest, float largest) {
    if constexpr (kDeviation == Deviation::l2) {
      return centred;
    } else {
      const float d = centred - rest;
      const float sign = d > 0.0f ? 1.0f : (d < 0.0f ? -1.0f : 0.0f);
      return kDeviation == Deviation::l1 || fabsf(d) == largest ? sign : 0.0f;
    }
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&k)[V]) const {
    float values[U][V], gradient[U][V];
#pragma unroll
    for (int u = 0; u < U; ++u) load(g + at + u * step, gradient[u]);
#pragma unroll
    for (int u = 0; u < U; ++u) load(x + at + u * step, values[u]);
#pragma unroll
    for (int u = 0; u < U; ++u) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        float from = gradient[u][v];
        if (pass.op.relu && !(on_line(values[u][v], k[v].mean, k[v].scale, k[v].shift) > 0.0f))
          from = 0.0f;
        const float h = direction(values[u][v] - k[v].mean, k[v].rest, k[v].largest);
        values[u][v] = fmaf(k[v].a, from, fmaf(k[v].b, h, k[v].d));
      }
      store(dx + at + u * step, values[u]);
    }
  }
};

}  // namespace

void run_input_gradient(Context& context, Storage storage, const Columns& shape,
                        const InputGradientPass& p) {
  with_storage(storage, aligned(p.g, p.x, p.dx), static_cast<std::size_t>(shape.channels),
               [&]<class T, int V>() {
                 const auto run = [&]<Deviation kDeviation>() {
                   run_map(context.stream,
                           InputGradient<T, V, kDeviation>{p, static_cast<const T*>(p.g),
                                                           static_cast<const T*>(p.x),
                                                           static_cast<T*>(p.dx)},
                           shape);
                 };
                 switch (p.op.deviation) {
                   case Deviation::l2:
                     return run.template operator()<Deviation::l2>();
                   case Deviation::l1:
                     return run.template operator()<Deviation::l1>();
                   case Deviation::linf:
                     return run.template operator()<Deviation::linf>();
                 }
               });
}

}  // namespace syncnorm::cuda
