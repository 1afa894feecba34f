// EvoNorm-B0 on CUDA: the moments of every sample, then passes of its own. The backward pass
// reduces three times, as a reduction has two totals per channel.
#include "kernels/evonorm_channel.h"

#include "kernels/cuda/flat.h"
#include "kernels/cuda/line_passes.h"
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

/// One channel of one sample.
struct EvoNormLine {
  float gamma, beta, slope, of_batch, of_sample;

  /// The sample's deviation, with the same rounding in all passes.
  __device__ float own(float x) const { return fmaf(slope, x, of_sample); }
  __device__ float value(float x) const {
    const float deviation = own(x);
    // A nan in x reaches the quotient.
    return fmaf(gamma, x / (deviation > of_batch ? deviation : of_batch), beta);
  }
};

/// The vectors that the constants of a channel come from; deviation is [samples, C].
struct Parameters {
  using Line = EvoNormLine;
  const float* inv_std;
  const float* deviation;
  const float* gamma;
  const float* beta;
  const float* slope;
  int channels;

  __device__ double weight(int c) const {
    return gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0;
  }
  __device__ Line line(int sample, int c) const {
    return {static_cast<float>(weight(c)), beta != nullptr ? beta[c] : 0.0f, slope[c],
            1.0f / inv_std[c], deviation[static_cast<std::size_t>(sample) * channels + c]};
  }
};

template <class Operands>
Parameters parameters_of(const Operands& a, int channels) {
  return {a.inv_std, a.deviation, a.gamma, a.beta, a.slope, channels};
}

/// Σx and Σx² [samples, 2, C] -> the statistics of each sample, and the sums of all, which one
/// thread per channel adds in order.
__global__ void __launch_bounds__(kThreads)
    sample_statistics(EvoNormMoments op, const double* moments, double* sums, float* mean,
                      float* deviation) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= op.channels) return;
  const auto channels = static_cast<std::size_t>(op.channels);
  double sum = 0.0, square = 0.0;
  for (std::size_t n = 0; n < static_cast<std::size_t>(op.samples); ++n) {
    const double* own = moments + n * 2 * channels;
    const MeanVariance m = from_sums(op.pixels, own[c], own[channels + c]);
    split_mean(m.mean, mean[n * 2 * channels + c], mean[n * 2 * channels + channels + c]);
    deviation[n * channels + c] = static_cast<float>(sqrt(m.variance + op.eps));
    sum += own[c];
    square += own[channels + c];
  }
  if (sums == nullptr) return;
  if (c == 0) sums[0] = static_cast<double>(op.samples) * op.pixels;
  sums[1 + c] = sum;
  sums[1 + channels + c] = square;
}

template <class T>
using Gradient = MaskedGradient<T, Parameters>;

/// The sums of a sample's channel. deviations: g·x where D is the batch's, g·x/D² where it is the
/// sample's; writes g where it is kept. affine: g, and g·x/D. slope: g·x²/D² where D is the
/// sample's.
enum class Part { deviations, affine, slope };

template <class T, int V, Part kPart>
struct Sums {
  static constexpr int kWidth = V, kUnroll = 1;
  using Line = EvoNormLine;
  using Partial = TwoSums<V>;
  Gradient<T> gradient;
  T* kept;
  double* sums;  // [samples, 2, C]

  __device__ Line line(int sample, int c) const { return gradient.lines.line(sample, c); }

  template <int U>
  __device__ void take(std::size_t at, std::size_t, const Line (&k)[V], int,
                       Partial& partial) const {
    float x[V], g[V];
    gradient.read(at, k, x, g);
    if (kPart == Part::deviations && kept != nullptr) store_rounded(kept + at, g);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float own = k[v].own(x[v]);
      const bool of_sample = own > k[v].of_batch;
      const float quotient = x[v] / (of_sample ? own : k[v].of_batch);
      if (kPart == Part::deviations) {
        if (of_sample)
          partial.second[v] = fmaf(g[v], quotient / own, partial.second[v]);
        else
          partial.first[v] = fmaf(g[v], x[v], partial.first[v]);
      } else if (kPart == Part::affine) {
        partial.first[v] += g[v];
        partial.second[v] = fmaf(g[v], quotient, partial.second[v]);
      } else if (of_sample) {
        partial.first[v] = fmaf(g[v], quotient * quotient, partial.first[v]);
      }
    }
  }

  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int sample, int c, double first, double second) const {
    const auto channels = static_cast<std::size_t>(gradient.lines.channels);
    double* to = sums + static_cast<std::size_t>(sample) * 2 * channels;
    to[c] = first;
    to[channels + static_cast<std::size_t>(c)] = second;
  }
};

/// Adds the sums of the samples in order, one thread per channel.
__global__ void __launch_bounds__(kThreads)
    gradient_totals(EvoNormGradientSums op, const double* deviations, const double* affine,
                    const double* slope, Parameters p, PointersOf<EvoNormGradientSums> a) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= p.channels) return;
  const auto channels = static_cast<std::size_t>(p.channels);
  const double weight = p.weight(c);
  double of_batch = 0.0, gamma_sum = 0.0, beta_sum = 0.0, slope_sum = 0.0;
  for (std::size_t n = 0; n < static_cast<std::size_t>(op.samples); ++n) {
    const std::size_t at = n * 2 * channels + static_cast<std::size_t>(c);
    of_batch += deviations[at];
    a.sample_sums[n * channels + c] = weight * deviations[at + channels];
    beta_sum += affine[at];
    gamma_sum += affine[at + channels];
    slope_sum += slope[at];
  }
  a.sums[c] = weight * of_batch;
  if (a.dgamma != nullptr) a.dgamma[c] = static_cast<float>(gamma_sum);
  if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(beta_sum);
  if (a.dslope != nullptr) a.dslope[c] = static_cast<float>(-weight * slope_sum);
}

/// One channel of the input gradient γ·g·∂(x/D)/∂x + b·(x − mean) + d.
struct InputLine {
  EvoNormLine own;
  GradientLine gradient;
  float mean;
};

template <class T, int V>
struct InputGradient {
  static constexpr int kWidth = V, kUnroll = 1;
  using Line = InputLine;
  Gradient<T> gradient;
  const float* mean;         // [2, C]
  const float* sample_mean;  // [samples, 2, C]
  const double* count;
  const double* sums;         // [C]
  const double* sample_sums;  // [samples, C]
  int pixels;
  T* dx;

  __device__ Line line(int sample, int c) const {
    const Parameters& p = gradient.lines;
    const auto channels = static_cast<std::size_t>(p.channels);
    const std::size_t at =
        static_cast<std::size_t>(sample) * channels + static_cast<std::size_t>(c);
    return {p.line(sample, c),
            syncnorm::evonorm_line({*count, sums[c], sample_sums[at], p.deviation[at]}, pixels,
                                   p.inv_std[c], mean,
                                   sample_mean + static_cast<std::size_t>(sample) * 2 * channels,
                                   static_cast<std::size_t>(c), channels),
            mean[c]};
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t, const Line (&k)[V]) const {
    float x[V], g[V];
    EvoNormLine lines[V];
#pragma unroll
    for (int v = 0; v < V; ++v) lines[v] = k[v].own;
    gradient.read(at, lines, x, g);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float own = lines[v].own(x[v]);
      const bool of_sample = own > lines[v].of_batch;
      const float inverse = 1.0f / (of_sample ? own : lines[v].of_batch);
      const float along = of_sample ? lines[v].slope * (x[v] * inverse) : 0.0f;
      const GradientLine& line = k[v].gradient;
      g[v] = fmaf(lines[v].gamma * g[v], inverse - along * inverse,
                  fmaf(line.b, x[v] - k[v].mean, line.d));
    }
    store(dx + at, g);
  }
};

template <class Op>
Columns columns_of(const Op& op) {
  return {op.samples, static_cast<std::size_t>(op.pixels), op.channels};
}

/// Two sums of every sample.
template <class Op>
std::size_t sample_doubles(const Op& op) {
  return 2 * static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.channels);
}

dim3 channel_blocks(int channels) {
  return dim3(static_cast<unsigned>((channels + kThreads - 1) / kThreads));
}

}  // namespace

template <>
KernelPtr compile(Context& context, const EvoNormMoments& op) {
  context.need_scratch((sample_doubles(op) + partial_doubles(columns_of(op))) * sizeof(double));
  return make_kernel<EvoNormMoments>([op, &context](const auto& a, const StepState&) {
    auto* moments = context.scratch<double>();
    run_moments(context, op.storage, columns_of(op), {a.x, moments, sample_strides(op.channels)},
                moments + sample_doubles(op));
    launch(sample_statistics, channel_blocks(op.channels), dim3(kThreads), 0, context.stream, op,
           moments, a.sums, a.mean, a.deviation);
  });
}

template <>
KernelPtr compile(Context& context, const EvoNormApply& op) {
  return make_kernel<EvoNormApply>([op, &context](const auto& a, const StepState&) {
    with_storage(
        op.storage, aligned(a.x, a.residual, a.y), static_cast<std::size_t>(op.channels),
        [&]<class T, int V>() {
          run_map(context.stream,
                  ApplyLines<T, V, Parameters>{typed<T>(a.x), typed<T>(a.residual), typed<T>(a.y),
                                               parameters_of(a, op.channels), op.relu},
                  columns_of(op));
        });
  });
}

template <>
KernelPtr compile(Context& context, const EvoNormGradientSums& op) {
  context.need_scratch((3 * sample_doubles(op) + partial_doubles(columns_of(op))) * sizeof(double));
  return make_kernel<EvoNormGradientSums>([op, &context](const auto& a, const StepState&) {
    const Columns shape = columns_of(op);
    auto* deviations = context.scratch<double>();
    auto *affine = deviations + sample_doubles(op), *slope = affine + sample_doubles(op);
    double* partial = slope + sample_doubles(op);
    const Parameters parameters = parameters_of(a, op.channels);
    with_storage(op.storage, aligned(a.dy, a.dy2, a.x, a.y, a.g),
                 static_cast<std::size_t>(op.channels), [&]<class T, int V>() {
                   Gradient<T> gradient{typed<T>(a.dy), typed<T>(a.dy2), typed<T>(a.x),
                                        typed<T>(a.y),  parameters,      op.relu};
                   run_reduction(context.stream,
                                 Sums<T, V, Part::deviations>{gradient, typed<T>(a.g), deviations},
                                 shape, partial);
                   if (a.g != nullptr)
                     gradient = {typed<T>(a.g), nullptr, gradient.x, nullptr, parameters, false};
                   run_reduction(context.stream,
                                 Sums<T, V, Part::affine>{gradient, nullptr, affine}, shape,
                                 partial);
                   run_reduction(context.stream, Sums<T, V, Part::slope>{gradient, nullptr, slope},
                                 shape, partial);
                 });
    launch(gradient_totals, channel_blocks(op.channels), dim3(kThreads), 0, context.stream, op,
           deviations, affine, slope, parameters, a);
  });
}

template <>
KernelPtr compile(Context& context, const EvoNormInputGradient& op) {
  return make_kernel<EvoNormInputGradient>([op, &context](const auto& a, const StepState&) {
    with_storage(
        op.storage, aligned(a.g, a.x, a.dx), static_cast<std::size_t>(op.channels),
        [&]<class T, int V>() {
          const Gradient<T> gradient{
              typed<T>(a.g), nullptr, typed<T>(a.x), nullptr, parameters_of(a, op.channels),
              op.relu};
          run_map(context.stream,
                  InputGradient<T, V>{gradient, a.mean, a.sample_mean, a.sums, a.gradient_sums,
                                      a.sample_sums, op.pixels, typed<T>(a.dx)},
                  columns_of(op));
        });
  });
}

}  // namespace syncnorm::cuda
