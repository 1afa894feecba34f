// Batch normalization on CUDA in the pieces that ops.h names: the passes over memory are
// norm_passes.h's; what is here is the arithmetic per channel between them, one thread each.
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

__device__ __forceinline__ int own_index() {
  return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

__global__ void finalize(BatchFinalize op, FinalizeVectors vectors, const StepState* state) {
  const int c = own_index();
  vectors.update_running = state->update_running;
  vectors.step = static_cast<double>(state->step);
  if (c < op.channels) finalize_channel(op, vectors, c);
}

__global__ void finalize_deviation(BatchFinalizeDeviation op, const double* sums,
                                   const double* totals, float* inv_std, float* running_var,
                                   const StepState* state) {
  const int c = own_index();
  if (c < op.channels)
    finalize_deviation_channel(op, sums, totals, inv_std, running_var, state->update_running, c);
}

__global__ void accumulate(int count, const double* sums, double* totals) {
  const int i = own_index();
  if (i < count) totals[i] += sums[i];
}

__global__ void from_running(BatchFromRunning op, const float* running_mean,
                             const float* running_var, float* mean, float* inv_std) {
  const int c = own_index();
  if (c >= op.channels) return;
  mean[c] = running_mean[c];
  mean[op.channels + c] = 0.0f;
  inv_std[c] = static_cast<float>(inverse_std(running_var[c], op.eps));
}

template <class Op>
Columns batch_shape(const Op& op) {
  return {1, static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.pixels),
          op.channels};
}

/// One thread for each of `count` values.
template <class... Parameters, class... Arguments>
void launch_each(Context& context, void (*kernel)(Parameters...), int count,
                 const Arguments&... arguments) {
  constexpr int kBlock = 128;
  launch(kernel, dim3(static_cast<unsigned>((count + kBlock - 1) / kBlock)), dim3(kBlock), 0,
         context.stream, arguments...);
}

NormVectors norm_vectors(std::span<void* const> args, std::size_t first, std::size_t correction) {
  return {arg<const float>(args, first), arg<const float>(args, first + 1),
          arg<const float>(args, first + 2), arg<const float>(args, first + 3),
          arg<const float>(args, correction)};
}

}  // namespace

KernelPtr compile(Context& context, const BatchMoments& op) {
  context.need_scratch(partial_doubles(batch_shape(op)) * sizeof(double));
  return make_kernel([op, &context](std::span<void* const> args, const StepState&) {
    auto* sums = arg<double>(args, 1);
    run_moments(context, op.storage, batch_shape(op), {args[0], sums + 1, sums},
                context.scratch<double>());
  });
}

KernelPtr compile(Context& context, const BatchFinalize& op) {
  return make_kernel([op, &context](std::span<void* const> args, const StepState& state) {
    const FinalizeVectors vectors{arg<const double>(args, 0), arg<float>(args, 1),
                                  arg<float>(args, 2),        arg<float>(args, 3),
                                  arg<float>(args, 4),        arg<float>(args, 5)};
    launch_each(context, finalize, op.channels, op, vectors, context.use(state));
  });
}

KernelPtr compile(Context& context, const BatchDeviation& op) {
  context.need_scratch(partial_doubles(batch_shape(op)) * sizeof(double));
  return make_kernel([op, &context](std::span<void* const> args, const StepState&) {
    run_deviation(context, op.storage, batch_shape(op),
                  {op.part, args[0], arg<const float>(args, 1), arg<const double>(args, 2),
                   arg<double>(args, 3)},
                  context.scratch<double>());
  });
}

KernelPtr compile(Context& context, const BatchFinalizeDeviation& op) {
  return make_kernel([op, &context](std::span<void* const> args, const StepState& state) {
    launch_each(context, finalize_deviation, op.channels, op, arg<const double>(args, 0),
                arg<const double>(args, 1), arg<float>(args, 2), arg<float>(args, 3),
                context.use(state));
  });
}

KernelPtr compile(Context& context, const Accumulate& op) {
  return make_kernel([op, &context](std::span<void* const> args, const StepState&) {
    launch_each(context, accumulate, op.count, op.count, arg<const double>(args, 0),
                arg<double>(args, 1));
  });
}

KernelPtr compile(Context& context, const BatchFromRunning& op) {
  return make_kernel([op, &context](std::span<void* const> args, const StepState&) {
    launch_each(context, from_running, op.channels, op, arg<const float>(args, 0),
                arg<const float>(args, 1), arg<float>(args, 2), arg<float>(args, 3));
  });
}

KernelPtr compile(Context& context, const BatchNormalize& op) {
  return make_kernel([op, &context](std::span<void* const> args, const StepState&) {
    run_normalize(context, op.storage, batch_shape(op),
                  {args[0], args[5], args[7], norm_vectors(args, 1, 6), op.relu});
  });
}

KernelPtr compile(Context& context, const BatchGradientSums& op) {
  context.need_scratch(partial_doubles(batch_shape(op)) * sizeof(double));
  return make_kernel([op, &context](std::span<void* const> args, const StepState&) {
    run_gradient_sums(context, op.storage, batch_shape(op),
                      {args[0], args[1], args[2], args[7], args[12], norm_vectors(args, 3, 8),
                       op.relu, arg<double>(args, 9), arg<float>(args, 10), arg<float>(args, 11)},
                      context.scratch<double>());
  });
}

KernelPtr compile(Context& context, const BatchInputGradient& op) {
  return make_kernel([op, &context](std::span<void* const> args, const StepState&) {
    const GroupTotals totals{arg<const double>(args, 6), 0.0, arg<const double>(args, 9),
                             arg<const double>(args, 10)};
    run_input_gradient(context, op.storage, batch_shape(op),
                       {op, args[0], args[1], args[11], norm_vectors(args, 2, 8), totals,
                        arg<const double>(args, 7)});
  });
}

}  // namespace syncnorm::cuda
