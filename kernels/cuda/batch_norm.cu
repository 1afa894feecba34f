// Batch normalization on CUDA, as the operations in kernels/ops/ divide it. norm_passes.h has the
// passes over memory; this file has the per-channel arithmetic between them, one thread per
// channel.
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

__device__ __forceinline__ int own_index() {
  return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

__global__ void finalize(BatchFinalize op, PointersOf<BatchFinalize> a, const StepState* state) {
  const int c = own_index();
  if (c < op.channels)
    finalize_channel(op, a, state->update_running, static_cast<double>(state->step), c);
}

__global__ void finalize_deviation(BatchFinalizeDeviation op, PointersOf<BatchFinalizeDeviation> a,
                                   const StepState* state) {
  const int c = own_index();
  if (c < op.channels) finalize_deviation_channel(op, a, state->update_running, c);
}

__global__ void accumulate(int count, const double* sums, double* totals) {
  const int i = own_index();
  if (i < count) totals[i] += sums[i];
}

__global__ void from_running(BatchFromRunning op, PointersOf<BatchFromRunning> a) {
  const int c = own_index();
  if (c >= op.channels) return;
  a.mean[c] = a.running_mean[c];
  a.mean[op.channels + c] = 0.0f;
  a.inv_std[c] = static_cast<float>(inverse_std(a.running_var[c], op.eps));
}

template <class Op>
Columns batch_shape(const Op& op) {
  return {1, static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.pixels),
          op.channels};
}

/// Launches `kernel` with one thread for each of `count` values.
template <class... Parameters, class... Arguments>
void launch_each(Context& context, void (*kernel)(Parameters...), int count,
                 const Arguments&... arguments) {
  constexpr int kBlock = 128;
  launch(kernel, dim3(static_cast<unsigned>((count + kBlock - 1) / kBlock)), dim3(kBlock), 0,
         context.stream, arguments...);
}

}  // namespace

template <>
KernelPtr compile(Context& context, const BatchMoments& op) {
  context.need_scratch(partial_doubles(batch_shape(op)) * sizeof(double));
  return make_kernel<BatchMoments>([op, &context](const auto& a, const StepState&) {
    run_moments(context, op.storage, batch_shape(op), {a.x, a.sums + 1, a.sums},
                context.scratch<double>());
  });
}

template <>
KernelPtr compile(Context& context, const BatchFinalize& op) {
  return make_kernel<BatchFinalize>([op, &context](const auto& a, const StepState& state) {
    launch_each(context, finalize, op.channels, op, a, context.use(state));
  });
}

template <>
KernelPtr compile(Context& context, const BatchDeviation& op) {
  context.need_scratch(partial_doubles(batch_shape(op)) * sizeof(double));
  return make_kernel<BatchDeviation>([op, &context](const auto& a, const StepState&) {
    run_deviation(context, op.storage, batch_shape(op), {op.part, a.x, a.mean, a.largest, a.totals},
                  context.scratch<double>());
  });
}

template <>
KernelPtr compile(Context& context, const BatchFinalizeDeviation& op) {
  return make_kernel<BatchFinalizeDeviation>([op, &context](const auto& a, const StepState& state) {
    launch_each(context, finalize_deviation, op.channels, op, a, context.use(state));
  });
}

template <>
KernelPtr compile(Context& context, const Accumulate& op) {
  return make_kernel<Accumulate>([op, &context](const auto& a, const StepState&) {
    launch_each(context, accumulate, op.count, op.count, a.sums, a.totals);
  });
}

template <>
KernelPtr compile(Context& context, const BatchFromRunning& op) {
  return make_kernel<BatchFromRunning>([op, &context](const auto& a, const StepState&) {
    launch_each(context, from_running, op.channels, op, a);
  });
}

template <>
KernelPtr compile(Context& context, const BatchNormalize& op) {
  return make_kernel<BatchNormalize>([op, &context](const auto& a, const StepState&) {
    run_normalize(context, op.storage, batch_shape(op),
                  {a.x, a.residual, a.y, norm_vectors(a), op.relu});
  });
}

template <>
KernelPtr compile(Context& context, const BatchGradientSums& op) {
  context.need_scratch(partial_doubles(batch_shape(op)) * sizeof(double));
  return make_kernel<BatchGradientSums>([op, &context](const auto& a, const StepState&) {
    run_gradient_sums(
        context, op.storage, batch_shape(op),
        {a.dy, a.dy2, a.x, a.y, a.g, norm_vectors(a), op.relu, a.sums, a.dgamma, a.dbeta},
        context.scratch<double>());
  });
}

template <>
KernelPtr compile(Context& context, const BatchInputGradient& op) {
  return make_kernel<BatchInputGradient>([op, &context](const auto& a, const StepState&) {
    const GroupTotals totals{a.gradient_sums, 0.0, a.deviation, a.maxima};
    run_input_gradient(context, op.storage, batch_shape(op),
                       {op, a.g, a.x, a.dx, norm_vectors(a), totals, a.sums});
  });
}

}  // namespace syncnorm::cuda
