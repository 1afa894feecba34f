// Softmax cross-entropy on CUDA: one block per sample computes loss and gradient in one pass, in
// double, and one block adds the samples.
#include "kernels/cuda/flat.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cuda {
namespace {

/// Returns the index of the largest logit, the first of equals, in every thread.
__device__ __forceinline__ int block_argmax(const float* logits, int classes) {
  __shared__ int best[kThreads];
  const int self = static_cast<int>(threadIdx.x);
  int own = self < classes ? self : 0;
  for (int k = self + kThreads; k < classes; k += kThreads)
    if (logits[k] > logits[own]) own = k;
  best[self] = own;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (self < half) {
      const int other = best[self + half], mine = best[self];
      const bool equal_but_first = logits[other] == logits[mine] && other < mine;
      if (logits[other] > logits[mine] || equal_but_first) best[self] = other;
    }
  }
  __syncthreads();
  const int result = best[0];
  __syncthreads();
  return result;
}

/// losses [samples, 3]: loss, 1 where the largest logit is the label's, and 1 for a used sample.
__global__ void __launch_bounds__(kThreads)
    sample_losses(SoftmaxCrossEntropy op, const float* logits, const std::int32_t* labels,
                  float* gradient, double* losses) {
  const std::size_t at = blockIdx.x * static_cast<std::size_t>(op.classes);
  const int label = labels[blockIdx.x];
  const float* own = logits + at;
  const int best = block_argmax(own, op.classes);
  const double top = own[best];
  double total = 0.0, sum = 0.0;
  for (int k = static_cast<int>(threadIdx.x); k < op.classes; k += kThreads) {
    total += exp(own[k] - top);
    sum += own[k];
  }
  const double log_total = log(block_total(total)) + top;
  sum = block_total(sum);
  if (gradient != nullptr)
    for (int k = static_cast<int>(threadIdx.x); k < op.classes; k += kThreads)
      gradient[at + k] = label < 0 ? 0.0f : logit_gradient(op, own[k], log_total, k == label);
  if (threadIdx.x != 0) return;
  losses[3 * blockIdx.x] = label < 0 ? 0.0 : cross_entropy(op, log_total, own[label], sum);
  losses[3 * blockIdx.x + 1] = label == best ? 1.0 : 0.0;
  losses[3 * blockIdx.x + 2] = label < 0 ? 0.0 : 1.0;
}

__global__ void __launch_bounds__(kThreads)
    add_losses(int samples, const double* losses, const StepState* state, double* totals) {
  double loss = 0.0, correct = 0.0, used = 0.0;
  for (int n = static_cast<int>(threadIdx.x); n < samples; n += kThreads) {
    loss += losses[3 * n];
    correct += losses[3 * n + 1];
    used += losses[3 * n + 2];
  }
  loss = block_total(loss);
  correct = block_total(correct);
  used = block_total(used);
  if (threadIdx.x != 0) return;
  totals[0] = loss;
  totals[1] = correct;
  totals[2] = state->vote;
  totals[3] = totals[4] = used;
}

}  // namespace

template <>
KernelPtr compile(Context& context, const SoftmaxCrossEntropy& op) {
  context.need_scratch(values(op.samples, 3) * sizeof(double));
  return make_kernel<SoftmaxCrossEntropy>([op, &context](const auto& a, const StepState& state) {
    auto* losses = context.scratch<double>();
    launch(sample_losses, dim3(static_cast<unsigned>(op.samples)), dim3(kThreads), 0,
           context.stream, op, a.logits, a.labels, a.dlogits, losses);
    launch(add_losses, dim3(1), dim3(kThreads), 0, context.stream, op.samples, losses,
           context.use(state), a.totals);
  });
}

}  // namespace syncnorm::cuda
