// Switchable normalization on CUDA: the passes over memory of group norm with one set of columns
// per sample; between them small kernels mix the statistics and their gradients.
#include "kernels/cuda/channels.h"
#include "kernels/cuda/flat.h"
#include "kernels/cuda/groups.h"
#include "kernels/cuda/norm_passes.h"
#include "kernels/switchable_math.h"

namespace syncnorm::cuda {
namespace {

__device__ __forceinline__ int own_index() {
  return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

/// Launches `kernel` with one thread for each of `count` values.
template <class... Parameters, class... Arguments>
void launch_each(Context& context, void (*kernel)(Parameters...), std::size_t count,
                 const Arguments&... arguments) {
  if (count == 0) return;
  launch(kernel, dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)), dim3(kThreads), 0,
         context.stream, arguments...);
}

template <class Op>
Columns sample_shape(const Op& op) {
  return {op.samples, static_cast<std::size_t>(op.pixels), op.channels};
}

template <class Op>
__device__ __forceinline__ SwitchStatistics statistics_of(const Op& op, const double* moments,
                                                          const double* layer, const double* batch,
                                                          int sample, int c) {
  const auto channels = static_cast<std::size_t>(op.channels);
  return switch_statistics(moments + static_cast<std::size_t>(sample) * 2 * channels,
                           layer + 2 * static_cast<std::size_t>(sample), batch,
                           static_cast<std::size_t>(c), channels);
}

__device__ __forceinline__ double gamma_at(const float* gamma, int c) {
  return gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0;
}

/// totals [samples, 2, C], Σx and Σx² -> sums [2C+1], one thread per channel.
__global__ void batch_sums(SwitchableMoments op, const double* totals, double* sums) {
  const int c = own_index();
  if (c >= op.channels) return;
  if (c == 0) sums[0] = static_cast<double>(op.samples) * op.pixels;
  double first = 0.0, second = 0.0;
  for (int n = 0; n < op.samples; ++n) {
    const double* own = totals + static_cast<std::size_t>(n) * 2 * op.channels;
    first += own[c];
    second += own[op.channels + c];
  }
  sums[1 + c] = first;
  sums[1 + op.channels + c] = second;
}

/// The same -> moments and layer, one warp per sample.
__global__ void sample_moments(SwitchableMoments op, const double* totals, double* moments,
                               double* layer) {
  const GroupPlace place = own_group(1);
  const bool active = place.sample < op.samples;
  const std::size_t at = static_cast<std::size_t>(active ? place.sample : 0) * 2 *
                         static_cast<std::size_t>(op.channels);
  double total = 0.0, square = 0.0;
  if (active)
    for (int c = place.lane; c < op.channels; c += kWarp) {
      const MeanVariance m = from_sums(op.pixels, totals[at + c], totals[at + op.channels + c]);
      moments[at + c] = m.mean;
      moments[at + op.channels + c] = m.variance;
      total += m.mean;
    }
  const double mean = lanes_total(total) / op.channels;
  if (active)
    for (int c = place.lane; c < op.channels; c += kWarp) {
      const double distance = moments[at + c] - mean;
      square += moments[at + op.channels + c] + distance * distance;
    }
  square = lanes_total(square);
  if (!active || place.lane != 0) return;
  layer[2 * place.sample] = mean;
  layer[2 * place.sample + 1] = square / op.channels;
}

struct FinalizeChannel {
  __device__ static void run(const SwitchableFinalize& op, const PointersOf<SwitchableFinalize>& a,
                             const StepState& state, int c) {
    finalize_switchable(op, a, state.update_running, c);
  }
};

/// mean [samples, 2, C] and inv_std [samples, C], one thread per sample and channel.
__global__ void mix(SwitchableForward op, const double* moments, const double* layer,
                    const double* batch, const float* mean_weight, const float* var_weight,
                    float* mean, float* inv_std) {
  const int i = own_index();
  if (i >= op.samples * op.channels) return;
  const int n = i / op.channels, c = i % op.channels;
  const MeanVariance m = switch_mix(statistics_of(op, moments, layer, batch, n, c),
                                    switch_shares(mean_weight), switch_shares(var_weight));
  float* own = mean + static_cast<std::size_t>(n) * 2 * op.channels;
  split_mean(m.mean, own[c], own[op.channels + c]);
  inv_std[i] = static_cast<float>(inverse_std(m.variance, op.eps));
}

/// The gradients of one channel's μ and s² and of γ and β, one thread per channel, from totals
/// [samples, 2, C]: Σg, Σg·x̂. parts f64 [6, C]: the channel's parts of the gradients of the shares.
__global__ void channel_gradients(SwitchableGradientSums op, const double* totals,
                                  const float* inv_std, const double* moments, const double* layer,
                                  const double* batch, const float* mean_weight,
                                  const float* var_weight, const float* gamma, double* local,
                                  double* sums, float* dgamma, float* dbeta, double* parts) {
  const int c = own_index();
  if (c >= op.channels) return;
  double sum_g = 0.0, sum_gx = 0.0, mean = 0.0, variance = 0.0, part[6] = {};
  for (int n = 0; n < op.samples; ++n) {
    const std::size_t at = static_cast<std::size_t>(n) * 2 * op.channels + c;
    const double g = totals[at], gx = totals[at + op.channels];
    const SwitchLocal own = switch_local(
        gamma_at(gamma, c), inv_std[static_cast<std::size_t>(n) * op.channels + c], g, gx);
    const SwitchStatistics s = statistics_of(op, moments, layer, batch, n, c);
    local[at] = own.mean;
    local[at + op.channels] = own.variance;
    sum_g += g;
    sum_gx += gx;
    mean += own.mean;
    variance += own.variance;
    part[0] += own.mean * s.instance.mean;
    part[1] += own.mean * s.layer.mean;
    part[2] += own.mean * s.batch.mean;
    part[3] += own.variance * s.instance.variance;
    part[4] += own.variance * s.layer.variance;
    part[5] += own.variance * s.batch.variance;
  }
  sums[c] = switch_shares(mean_weight).batch * mean;
  sums[op.channels + c] = switch_shares(var_weight).batch * variance;
  if (dgamma != nullptr) dgamma[c] = static_cast<float>(sum_gx);
  if (dbeta != nullptr) dbeta[c] = static_cast<float>(sum_g);
  for (int i = 0; i < 6; ++i) parts[i * op.channels + c] = part[i];
}

/// parts [6, C] -> the gradients of both parameter vectors, by one block.
__global__ void __launch_bounds__(kThreads)
    share_gradients(int channels, const double* parts, const float* mean_weight,
                    const float* var_weight, float* dmean_weight, float* dvar_weight) {
  double total[6];
  for (int i = 0; i < 6; ++i) {
    double sum = 0.0;
    for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads)
      sum += parts[i * channels + c];
    total[i] = block_total(sum);
  }
  if (threadIdx.x != 0) return;
  switch_gradient(switch_shares(mean_weight), {total[0], total[1], total[2]}, dmean_weight);
  switch_gradient(switch_shares(var_weight), {total[3], total[4], total[5]}, dvar_weight);
}

/// The line of every sample's channel in the form of run_input_gradient(): means f64 [samples, C,
/// 2], of γ·g and γ·g·x̂. One warp per sample.
__global__ void gradient_means(SwitchableInputGradient op,
                               PointersOf<SwitchableInputGradient, void> a, double* means) {
  const GroupPlace own = own_group(1);
  const bool active = own.sample < op.samples;
  const std::size_t at =
      static_cast<std::size_t>(active ? own.sample : 0) * 2 * static_cast<std::size_t>(op.channels);
  SwitchPlace place{op.pixels, op.channels, a.sums[0], {}, {}, {}};
  if (active)
    for (int c = own.lane; c < op.channels; c += kWarp) {
      place.sample.mean += a.local[at + c];
      place.sample.variance += a.local[at + op.channels + c];
    }
  place.sample = {lanes_total(place.sample.mean), lanes_total(place.sample.variance)};
  if (!active) return;
  const SwitchShares of_mean = switch_shares(a.mean_weight);
  const SwitchShares of_variance = switch_shares(a.var_weight);
  for (int c = own.lane; c < op.channels; c += kWarp) {
    place.local = {a.local[at + c], a.local[at + op.channels + c]};
    place.batch = {a.gradient_sums[c], a.gradient_sums[op.channels + c]};
    const double k = a.inv_std[at / 2 + c];
    const double mean = static_cast<double>(a.mean[at + c]) + a.mean[at + op.channels + c];
    const InputGradientLine line = switch_line(
        gamma_at(a.gamma, c), k, mean,
        statistics_of(op, a.moments, a.layer, a.batch, own.sample, c), of_mean, of_variance, place);
    means[at + 2 * c] = -line.d / k;
    means[at + 2 * c + 1] = -line.b / (k * k);
  }
}

}  // namespace

template <>
KernelPtr compile(Context& context, const SwitchableMoments& op) {
  const Columns shape = sample_shape(op);
  const std::size_t count = 2 * values(op.samples, op.channels);
  context.need_scratch((count + partial_doubles(shape)) * sizeof(double));
  return make_kernel<SwitchableMoments>(
      [op, shape, count, &context](const auto& a, const StepState&) {
        auto* totals = context.scratch<double>();
        if (op.samples > 0)
          run_moments(context, op.storage, shape, {a.x, totals, sample_strides(op.channels)},
                      totals + count);
        launch_each(context, batch_sums, static_cast<std::size_t>(op.channels), op, totals, a.sums);
        if (op.samples > 0)
          launch(sample_moments, group_warps(op.samples, 1), dim3(kThreads), 0, context.stream, op,
                 totals, a.moments, a.layer);
      });
}

template <>
KernelPtr compile(Context& context, const SwitchableFinalize& op) {
  return make_channel_kernel<FinalizeChannel>(context, op);
}

template <>
KernelPtr compile(Context& context, const SwitchableForward& op) {
  return make_kernel<SwitchableForward>([op, &context](const auto& a, const StepState&) {
    if (op.samples == 0) return;
    launch_each(context, mix, values(op.samples, op.channels), op, a.moments, a.layer, a.batch,
                a.mean_weight, a.var_weight, a.mean, a.inv_std);
    run_normalize(context, op.storage, sample_shape(op),
                  {a.x,
                   a.residual,
                   a.y,
                   {a.mean, a.inv_std, a.gamma, a.beta},
                   sample_strides(op.channels),
                   op.relu});
  });
}

template <>
KernelPtr compile(Context& context, const SwitchableGradientSums& op) {
  const Columns shape = sample_shape(op);
  const std::size_t count = 2 * values(op.samples, op.channels);
  const std::size_t parts_count = 6 * static_cast<std::size_t>(op.channels);
  context.need_scratch((count + parts_count + partial_doubles(shape)) * sizeof(double));
  return make_kernel<SwitchableGradientSums>(
      [op, shape, count, parts_count, &context](const auto& a, const StepState&) {
        auto* totals = context.scratch<double>();
        double* parts = totals + count;
        if (op.samples > 0)
          run_gradient_sums(context, op.storage, shape,
                            {a.dy,
                             a.dy2,
                             a.x,
                             a.y,
                             a.g,
                             {a.mean, a.inv_std, a.gamma, a.beta},
                             sample_strides(op.channels),
                             op.relu,
                             totals,
                             nullptr,
                             nullptr},
                            parts + parts_count);
        launch_each(context, channel_gradients, static_cast<std::size_t>(op.channels), op, totals,
                    a.inv_std, a.moments, a.layer, a.batch, a.mean_weight, a.var_weight, a.gamma,
                    a.local, a.sums, a.dgamma, a.dbeta, parts);
        launch(share_gradients, dim3(1), dim3(kThreads), 0, context.stream, op.channels, parts,
               a.mean_weight, a.var_weight, a.dmean_weight, a.dvar_weight);
      });
}

template <>
KernelPtr compile(Context& context, const SwitchableInputGradient& op) {
  context.need_scratch(2 * values(op.samples, op.channels) * sizeof(double));
  return make_kernel<SwitchableInputGradient>([op, &context](const auto& a, const StepState&) {
    if (op.samples == 0) return;
    auto* means = context.scratch<double>();
    launch(gradient_means, group_warps(op.samples, 1), dim3(kThreads), 0, context.stream, op, a,
           means);
    BatchInputGradient line;
    line.channels = op.channels;
    line.relu = op.relu;
    run_input_gradient(context, op.storage, sample_shape(op),
                       {line,
                        a.g,
                        a.x,
                        a.dx,
                        {a.mean, a.inv_std, a.gamma, a.beta},
                        sample_strides(op.channels),
                        {},
                        nullptr,
                        means,
                        op.channels});
  });
}

}  // namespace syncnorm::cuda
