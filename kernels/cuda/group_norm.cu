// Group normalization on CUDA, including layer, instance and RMS norm. The passes over memory are
// batch norm's with one set of columns per sample; between them a warp per sample and group adds
// its channels, in an order that depends only on their number.
#include <cassert>

#include "kernels/cuda/groups.h"
#include "kernels/cuda/norm_kernel.h"
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

__global__ void group_statistics(GroupNormForward op, const double* sums, float* mean,
                                 float* inv_std) {
  write_group_statistics({op.samples, op.pixels, op.channels, op.groups, op.centered}, op.eps, sums,
                         mean, inv_std);
}

/// sums [samples, 2, C]: Σg, Σg·x̂ -> means [samples, groups, 2] of γ·g and γ·g·x̂.
__global__ void group_gradient_means(GroupNormBackward op, const double* sums, const float* gamma,
                                     double* means) {
  const GroupPlace place = own_group(op.groups);
  const int width = op.channels / op.groups, first = place.group * width;
  const bool active = place.sample < op.samples;
  double sum_g = 0.0, sum_gx = 0.0;
  if (active) {
    const double* own = sums + static_cast<std::size_t>(place.sample) * 2 * op.channels;
    for (int c = first + place.lane; c < first + width; c += kWarp) {
      const double weight = gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0;
      // Without `centered` no mean is subtracted, so it has no gradient.
      if (op.centered) sum_g += weight * own[c];
      sum_gx += weight * own[op.channels + c];
    }
  }
  sum_g = lanes_total(sum_g);
  sum_gx = lanes_total(sum_gx);
  if (!active || place.lane != 0) return;
  const double count = static_cast<double>(op.pixels) * width;
  double* to = means + (static_cast<std::size_t>(place.sample) * op.groups + place.group) * 2;
  to[0] = sum_g / count;
  to[1] = sum_gx / count;
}

/// dγ and dβ of each replica from the sums of all its samples, which finish_columns adds like
/// chunks.
struct ParameterGradients {
  float* dgamma;
  float* dbeta;
  MatrixStrides strides;

  __device__ static double combine(double a, double b) { return a + b; }
  __device__ void finish(int replica, int c, double sum_g, double sum_gx) const {
    if (dgamma != nullptr)
      advanced(dgamma, replica, strides.dgamma)[c] = static_cast<float>(sum_gx);
    if (dbeta != nullptr) advanced(dbeta, replica, strides.dbeta)[c] = static_cast<float>(sum_g);
  }
};

template <class Op>
Columns sample_shape(const Op& op, int replicas) {
  return {op.samples, static_cast<std::size_t>(op.pixels), op.channels, replicas};
}

/// Layout of scratch: the sums of every sample, the means of every group, then the passes' partial
/// sums.
template <class Op>
struct GroupScratch {
  std::size_t sums, means, bytes;
  GroupScratch(const Op& op, int replicas) {
    const std::size_t samples = values(op.samples, replicas);
    sums = samples * 2 * static_cast<std::size_t>(op.channels);
    means = samples * 2 * static_cast<std::size_t>(op.groups);
    bytes = (sums + means + partial_doubles(sample_shape(op, replicas))) * sizeof(double);
  }
};

/// Makes a kernel that calls run_group(operands, repeats). The vectors of all samples of all
/// replicas must be adjacent.
template <class Op, class Run>
KernelPtr make_group_kernel(Context& context, const Op& op, Run run_group) {
  return make_norm_kernel(
      context, op, [op](int count) { return GroupScratch(op, count).bytes; },
      [op](const StridesOf<Op>& strides) {
        const std::size_t bytes = values(op.samples, op.channels) * sizeof(float);
        return strides.mean == 2 * bytes && strides.inv_std == bytes;
      },
      std::move(run_group));
}

}  // namespace

template <>
KernelPtr compile(Context& context, const GroupNormForward& op) {
  assert(op.channels % op.groups == 0);
  return make_group_kernel(context, op, [op, &context](const auto& a, const auto& repeats) {
    const Columns shape = sample_shape(op, repeats.count);
    const GroupScratch scratch(op, repeats.count);
    const MatrixStrides strides = sample_strides(op.channels);
    GroupNormForward all = op;
    all.samples = shape.matrices();
    auto* sums = context.scratch<double>();
    run_moments(context, op.storage, shape, {a.x, sums, strides},
                sums + scratch.sums + scratch.means);
    launch(group_statistics, group_warps(all.samples, op.groups), dim3(kThreads), 0, context.stream,
           all, sums, a.mean, a.inv_std);
    const NormVectors vectors{a.mean, a.inv_std, a.gamma, a.beta};
    run_normalize(context, op.storage, shape, {a.x, a.residual, a.y, vectors, strides, op.relu});
  });
}

template <>
KernelPtr compile(Context& context, const GroupNormBackward& op) {
  return make_group_kernel(context, op, [op, &context](const auto& a, const auto& repeats) {
    const Columns shape = sample_shape(op, repeats.count);
    const GroupScratch scratch(op, repeats.count);
    MatrixStrides strides = sample_strides(op.channels);
    GroupNormBackward all = op;
    all.samples = shape.matrices();
    const NormVectors vectors{a.mean, a.inv_std, a.gamma, a.beta};
    auto* sums = context.scratch<double>();
    auto *means = sums + scratch.sums, *partial = means + scratch.means;
    run_gradient_sums(
        context, op.storage, shape,
        {a.dy, a.dy2, a.x, a.y, a.g, vectors, strides, op.relu, sums, nullptr, nullptr}, partial);
    launch(group_gradient_means, group_warps(all.samples, op.groups), dim3(kThreads), 0,
           context.stream, all, sums, vectors.gamma, means);
    BatchInputGradient line;
    line.channels = op.channels;
    line.relu = op.relu && a.g == nullptr;
    const void* g = a.g != nullptr ? a.g : a.dy;
    run_input_gradient(context, op.storage, shape,
                       {line, g, a.x, a.dx, vectors, strides, {}, nullptr, means, op.groups});
    if (a.dgamma == nullptr && a.dbeta == nullptr) return;
    strides.dgamma = repeats.strides.dgamma / sizeof(float);
    strides.dbeta = repeats.strides.dbeta / sizeof(float);
    run_finish(context.stream, ParameterGradients{a.dgamma, a.dbeta, strides}, repeats.count,
               op.channels, op.samples, sums);
  });
}

}  // namespace syncnorm::cuda
