// Batch normalization on CUDA, as the operations in kernels/ops/ divide it. norm_passes.h has the
// passes over memory; this file has the per-channel arithmetic between them, one thread per
// channel.
#include "kernels/cuda/channels.h"
#include "kernels/cuda/norm_kernel.h"
#include "kernels/cuda/norm_passes.h"

namespace syncnorm::cuda {
namespace {

__device__ __forceinline__ int own_index() {
  return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

struct FinalizeChannel {
  __device__ static void run(const BatchFinalize& op, const PointersOf<BatchFinalize>& a,
                             const StepState& state, int c) {
    finalize_channel(op, a, state.update_running, static_cast<double>(state.step), c);
  }
};

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

/// All samples share the running statistics.
struct MixChannel {
  __device__ static void run(const BatchMix& op, const PointersOf<BatchMix>& a,
                             const StepState& state, int c) {
    mix_channel(op, a, state.sample_weight, c);
  }
};

template <class Op>
Columns batch_shape(const Op& op, int replicas = 1) {
  return {1, static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.pixels),
          op.channels, replicas};
}

/// Launches `kernel` with one thread for each of `count` values.
template <class... Parameters, class... Arguments>
void launch_each(Context& context, void (*kernel)(Parameters...), int count,
                 const Arguments&... arguments) {
  constexpr int kBlock = 128;
  launch(kernel, dim3(static_cast<unsigned>((count + kBlock - 1) / kBlock)), dim3(kBlock), 0,
         context.stream, arguments...);
}

/// The strides of mean, inv_std and correction.
template <class Strides>
MatrixStrides vector_strides(const Strides& s) {
  return {s.mean / sizeof(float), s.inv_std / sizeof(float), s.correction / sizeof(float)};
}

/// Makes a kernel that calls run_batch(context, op, operands, repeats). Vectors may have any
/// strides.
template <class Op, class Run>
KernelPtr make_batch_kernel(Context& context, const Op& op, Run run_batch) {
  return make_norm_kernel(
      context, op,
      [op](int count) { return partial_doubles(batch_shape(op, count)) * sizeof(double); },
      [](const StridesOf<Op>&) { return true; },
      [op, run_batch, &context](const PointersOf<Op>& a, const Repeats<Op>& repeats) {
        run_batch(context, op, a, repeats);
      });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const BatchMoments& op) {
  return make_batch_kernel(context, op, [](auto& c, const auto& o, const auto& a, const auto& r) {
    MatrixStrides strides;
    strides.sums = r.strides.sums / sizeof(double);
    run_moments(c, o.storage, batch_shape(o, r.count), {a.x, a.sums + 1, strides, a.sums},
                c.template scratch<double>());
  });
}

template <>
KernelPtr compile(Context& context, const BatchFinalize& op) {
  return make_channel_kernel<FinalizeChannel>(context, op);
}

template <>
KernelPtr compile(Context& context, const BatchMix& op) {
  return make_channel_kernel<MixChannel>(context, op);
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
  return make_batch_kernel(context, op, [](auto& c, const auto& o, const auto& a, const auto& r) {
    run_normalize(c, o.storage, batch_shape(o, r.count),
                  {a.x, a.residual, a.y, norm_vectors(a), vector_strides(r.strides), o.relu});
  });
}

template <>
KernelPtr compile(Context& context, const BatchGradientSums& op) {
  return make_batch_kernel(context, op, [](auto& c, const auto& o, const auto& a, const auto& r) {
    MatrixStrides strides = vector_strides(r.strides);
    strides.sums = r.strides.sums / sizeof(double);
    strides.dgamma = r.strides.dgamma / sizeof(float);
    strides.dbeta = r.strides.dbeta / sizeof(float);
    run_gradient_sums(
        c, o.storage, batch_shape(o, r.count),
        {a.dy, a.dy2, a.x, a.y, a.g, norm_vectors(a), strides, o.relu, a.sums, a.dgamma, a.dbeta},
        c.template scratch<double>());
  });
}

template <>
KernelPtr compile(Context& context, const BatchInputGradient& op) {
  return make_batch_kernel(context, op, [](auto& c, const auto& o, const auto& a, const auto& r) {
    MatrixStrides strides = vector_strides(r.strides);
    strides.gradient_sums = r.strides.gradient_sums / sizeof(double);
    strides.count = r.strides.sums / sizeof(double);
    strides.deviation = r.strides.deviation / sizeof(double);
    strides.maxima = r.strides.maxima / sizeof(double);
    const GroupTotals totals{a.gradient_sums, 0.0, a.deviation, a.maxima};
    run_input_gradient(c, o.storage, batch_shape(o, r.count),
                       {o, a.g, a.x, a.dx, norm_vectors(a), strides, totals, a.sums});
  });
}

}  // namespace syncnorm::cuda
