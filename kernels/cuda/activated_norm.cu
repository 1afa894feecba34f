// FRN and EvoNorm-S0 on CUDA: the moments and statistics of group norm, then passes of their own.
// The backward pass reduces twice, as a reduction has two totals per channel.
#include <cassert>

#include "kernels/cuda/flat.h"
#include "kernels/cuda/groups.h"
#include "kernels/cuda/line_passes.h"
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

/// The logistic function, and 1 minus it.
struct Sigmoid {
  float value, rest;

  __device__ explicit Sigmoid(float x) {
    const float e = expf(-fabsf(x));
    const float larger = 1.0f / (1.0f + e), smaller = e * larger;
    value = x < 0.0f ? smaller : larger;
    rest = x < 0.0f ? larger : smaller;
  }
};

/// One channel of one sample.
struct ActivatedLine {
  float scale, beta, slope;
  bool swish, threshold;

  /// The norm's output before any residual; the mask's and the forward pass's roundings are equal.
  __device__ float value(float x) const {
    if (swish) return fmaf(x * Sigmoid(slope * x).value, scale, beta);
    const float z = fmaf(x, scale, beta);
    return threshold && slope > z ? slope : z;  // a nan stays a nan
  }
  __device__ bool passes(float x) const { return !threshold || fmaf(x, scale, beta) > slope; }
};

/// The vectors that the constants of a channel come from; inv_std is [samples, C].
struct Parameters {
  using Line = ActivatedLine;
  const float* inv_std;
  const float* gamma;
  const float* beta;
  const float* slope;
  int channels;
  bool swish;

  __device__ Line line(int sample, int c) const {
    const double weight = gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0;
    const float k = inv_std[static_cast<std::size_t>(sample) * channels + c];
    return {static_cast<float>(weight * k), beta != nullptr ? beta[c] : 0.0f,
            slope != nullptr ? slope[c] : 0.0f, swish, !swish && slope != nullptr};
  }
};

__global__ void group_statistics(ActivatedNormForward op, const double* sums, const float* epsilon,
                                 float* mean, float* inv_std) {
  const ActivatedNormShape& s = op.shape;
  const double eps = epsilon != nullptr ? fabs(static_cast<double>(epsilon[0])) : s.eps;
  write_group_statistics(
      {op.samples, s.pixels, s.channels, s.groups, s.activation == NormActivation::swish}, eps,
      sums, mean, inv_std);
}

template <class T>
using Gradient = MaskedGradient<T, Parameters>;

/// The sums of one channel: see ActivatedNormGradientArgs in kernels/cpu/loops.h for the three.
/// kFirst: the second and the third, and writes g where it is kept; else the first.
template <class T, int V, bool kFirst>
struct Sums {
  static constexpr int kWidth = V, kUnroll = 1;
  using Line = ActivatedLine;
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
    if (kFirst && kept != nullptr) store_rounded(kept + at, g);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (!kFirst) {
        partial.first[v] += k[v].swish || k[v].passes(x[v]) ? g[v] : 0.0f;
      } else if (k[v].swish) {
        const Sigmoid s(k[v].slope * x[v]);
        const float swish = x[v] * s.value;
        partial.first[v] = fmaf(g[v], swish, partial.first[v]);
        partial.second[v] = fmaf(g[v], x[v] * swish * s.rest, partial.second[v]);
      } else if (k[v].passes(x[v])) {
        partial.first[v] = fmaf(g[v], x[v], partial.first[v]);
      } else {
        partial.second[v] += g[v];
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

/// sums [samples, 2, C] of kFirst -> ∂L/∂k [samples, groups].
__global__ void scale_gradients(ActivatedNormBackward op, const double* sums, const float* gamma,
                                double* totals) {
  const ActivatedNormShape& s = op.shape;
  const GroupPlace place = own_group(s.groups);
  const int width = s.channels / s.groups, first = place.group * width;
  const bool active = place.sample < op.samples;
  double total = 0.0;
  if (active) {
    const double* own = sums + static_cast<std::size_t>(place.sample) * 2 * s.channels;
    for (int c = first + place.lane; c < first + width; c += kWarp)
      total += (gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0) * own[c];
  }
  total = lanes_total(total);
  if (active && place.lane == 0)
    totals[static_cast<std::size_t>(place.sample) * s.groups + place.group] = total;
}

/// The gradients of a channel's parameters: one thread adds the samples in order.
__global__ void __launch_bounds__(kThreads)
    parameter_gradients(ActivatedNormBackward op, const double* first, const double* others,
                        Parameters p, float* dgamma, float* dbeta, float* dslope) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= p.channels) return;
  const double gamma = p.gamma != nullptr ? static_cast<double>(p.gamma[c]) : 1.0;
  double gamma_sum = 0.0, beta_sum = 0.0, slope_sum = 0.0;
  for (int n = 0; n < op.samples; ++n) {
    const std::size_t at = static_cast<std::size_t>(n) * 2 * p.channels + c;
    const double k = p.inv_std[static_cast<std::size_t>(n) * p.channels + c];
    gamma_sum += k * others[at];
    beta_sum += first[at];
    slope_sum += (p.swish ? gamma * k : 1.0) * others[at + p.channels];
  }
  if (dgamma != nullptr) dgamma[c] = static_cast<float>(gamma_sum);
  if (dbeta != nullptr) dbeta[c] = static_cast<float>(beta_sum);
  if (dslope != nullptr) dslope[c] = static_cast<float>(slope_sum);
}

/// The gradient of eps: one block adds all groups of all samples.
__global__ void __launch_bounds__(kThreads)
    epsilon_gradient(ActivatedNormBackward op, const double* totals, const float* inv_std,
                     const float* epsilon, float* depsilon) {
  const ActivatedNormShape& s = op.shape;
  const int width = s.channels / s.groups;
  double sum = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < op.samples * s.groups; i += kThreads) {
    const std::size_t first = static_cast<std::size_t>(i) * static_cast<std::size_t>(width);
    const double k = inv_std[first];
    sum -= 0.5 * k * k * k * totals[i];
  }
  sum = block_total(sum);
  if (threadIdx.x == 0) *depsilon = static_cast<float>(epsilon[0] < 0.0f ? -sum : sum);
}

/// One channel of the input gradient dx = a·g·w + b·(x − mean) + d.
struct GradientLineOf {
  ActivatedLine activated;
  GradientLine gradient;
  float mean;
};

template <class T, int V>
struct InputGradient {
  static constexpr int kWidth = V, kUnroll = 1;
  using Line = GradientLineOf;
  Gradient<T> gradient;
  const float* mean;     // [samples, 2, C]
  const double* totals;  // [samples, groups]: ∂L/∂k
  int groups, pixels;
  T* dx;

  __device__ Line line(int sample, int c) const {
    const Parameters& p = gradient.lines;
    const int width = p.channels / groups;
    const double gamma = p.gamma != nullptr ? static_cast<double>(p.gamma[c]) : 1.0;
    const double k = p.inv_std[static_cast<std::size_t>(sample) * p.channels + c];
    const double total = totals[static_cast<std::size_t>(sample) * groups + c / width];
    const float* means = mean + static_cast<std::size_t>(sample) * 2 * p.channels;
    const double count = static_cast<double>(pixels) * width;
    return {
        p.line(sample, c),
        gradient_line(input_gradient_line(gamma, k, 0.0, k * total / count), means[p.channels + c]),
        means[c]};
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t, const Line (&k)[V]) const {
    float x[V], g[V];
    ActivatedLine lines[V];
#pragma unroll
    for (int v = 0; v < V; ++v) lines[v] = k[v].activated;
    gradient.read(at, lines, x, g);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      float slope = 1.0f;
      if (lines[v].swish) {
        const Sigmoid s(lines[v].slope * x[v]);
        slope = fmaf(lines[v].slope, x[v] * s.value * s.rest, s.value);
      } else if (!lines[v].passes(x[v])) {
        slope = 0.0f;
      }
      const GradientLine& line = k[v].gradient;
      g[v] = fmaf(line.a, g[v] * slope, fmaf(line.b, x[v] - k[v].mean, line.d));
    }
    store(dx + at, g);
  }
};

template <class Op>
Columns columns_of(const Op& op) {
  return {op.samples, static_cast<std::size_t>(op.shape.pixels), op.shape.channels};
}

/// Layout of scratch: two times two sums of every sample, ∂L/∂k of every group, then partial sums.
template <class Op>
struct ActivatedScratch {
  std::size_t sums, totals, all;
  explicit ActivatedScratch(const Op& op) {
    const auto samples = static_cast<std::size_t>(op.samples);
    sums = samples * 2 * static_cast<std::size_t>(op.shape.channels);
    totals = samples * static_cast<std::size_t>(op.shape.groups);
    all = (2 * sums + totals + partial_doubles(columns_of(op))) * sizeof(double);
  }
};

}  // namespace

template <>
KernelPtr compile(Context& context, const ActivatedNormForward& op) {
  assert(op.shape.channels % op.shape.groups == 0);
  const ActivatedScratch scratch(op);
  context.need_scratch(scratch.all);
  return make_kernel<ActivatedNormForward>([op, scratch, &context](const auto& a,
                                                                   const StepState&) {
    const Columns shape = columns_of(op);
    auto* sums = context.scratch<double>();
    run_moments(context, op.storage, shape, {a.x, sums, sample_strides(op.shape.channels)},
                sums + scratch.sums);
    launch(group_statistics, group_warps(op.samples, op.shape.groups), dim3(kThreads), 0,
           context.stream, op, sums, a.epsilon, a.mean, a.inv_std);
    const Parameters parameters{a.inv_std, a.gamma,           a.beta,
                                a.slope,   op.shape.channels, op.shape.centered()};
    with_storage(op.storage, aligned(a.x, a.residual, a.y),
                 static_cast<std::size_t>(op.shape.channels), [&]<class T, int V>() {
                   run_map(context.stream,
                           ApplyLines<T, V, Parameters>{typed<T>(a.x), typed<T>(a.residual),
                                                        typed<T>(a.y), parameters, op.shape.relu},
                           shape);
                 });
  });
}

template <>
KernelPtr compile(Context& context, const ActivatedNormBackward& op) {
  const ActivatedScratch scratch(op);
  context.need_scratch(scratch.all);
  return make_kernel<ActivatedNormBackward>([op, scratch, &context](const auto& a,
                                                                    const StepState&) {
    const ActivatedNormShape& s = op.shape;
    const Columns shape = columns_of(op);
    auto *first = context.scratch<double>(), *others = first + scratch.sums;
    auto *totals = others + scratch.sums, *partial = totals + scratch.totals;
    const Parameters parameters{a.inv_std, a.gamma, a.beta, a.slope, s.channels, s.centered()};
    with_storage(
        op.storage, aligned(a.dy, a.dy2, a.x, a.y, a.dx, a.g), static_cast<std::size_t>(s.channels),
        [&]<class T, int V>() {
          Gradient<T> gradient{typed<T>(a.dy), typed<T>(a.dy2), typed<T>(a.x),
                               typed<T>(a.y),  parameters,      s.relu};
          run_reduction(context.stream, Sums<T, V, true>{gradient, typed<T>(a.g), others}, shape,
                        partial);
          launch(scale_gradients, group_warps(op.samples, s.groups), dim3(kThreads), 0,
                 context.stream, op, others, a.gamma, totals);
          if (a.g != nullptr) {
            gradient.dy = typed<T>(a.g);
            gradient.dy2 = nullptr;
            gradient.relu = false;
          }
          run_reduction(context.stream, Sums<T, V, false>{gradient, nullptr, first}, shape,
                        partial);
          run_map(context.stream,
                  InputGradient<T, V>{gradient, a.mean, totals, s.groups, s.pixels, typed<T>(a.dx)},
                  shape);
        });
    const auto blocks = static_cast<unsigned>((s.channels + kThreads - 1) / kThreads);
    launch(parameter_gradients, dim3(blocks), dim3(kThreads), 0, context.stream, op, first, others,
           parameters, a.dgamma, a.dbeta, a.dslope);
    if (a.depsilon != nullptr)
      launch(epsilon_gradient, dim3(1), dim3(kThreads), 0, context.stream, op, totals, a.inv_std,
             a.epsilon, a.depsilon);
  });
}

}  // namespace syncnorm::cuda
