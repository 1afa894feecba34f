// Softmax cross-entropy with label smoothing: loss and gradient of each sample in one pass, in
// double.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/context.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cpu {
namespace {

double sample_loss(const SoftmaxCrossEntropy& op, const float* logits, int label, float* gradient,
                   bool* correct) {
  int best = 0;
  for (int k = 1; k < op.classes; ++k)
    if (logits[k] > logits[best]) best = k;
  *correct = best == label;
  const double top = logits[best];
  double total = 0.0, sum_logits = 0.0;
  for (int k = 0; k < op.classes; ++k) {
    total += std::exp(logits[k] - top);
    sum_logits += logits[k];
  }
  const double log_total = std::log(total) + top;
  if (gradient != nullptr)
    for (int k = 0; k < op.classes; ++k)
      gradient[k] = logit_gradient(op, logits[k], log_total, k == label);
  return cross_entropy(op, log_total, logits[label], sum_logits);
}

}  // namespace

template <>
KernelPtr compile(Context&, const SoftmaxCrossEntropy& op) {
  return make_kernel<SoftmaxCrossEntropy>([op](const auto& a, const StepState& state) {
    const auto* logits = a.logits;
    const auto* labels = a.labels;
    auto* totals = a.totals;
    auto* gradient = a.dlogits;
    std::fill_n(totals, kLossTotals, 0.0);
    totals[2] = state.vote;
    for (int n = 0; n < op.samples; ++n, logits += op.classes) {
      float* sample_gradient = gradient != nullptr ? gradient + n * op.classes : nullptr;
      if (labels[n] < 0) {
        for (int k = 0; sample_gradient != nullptr && k < op.classes; ++k)
          sample_gradient[k] = 0.0f;
        continue;
      }
      bool correct = false;
      totals[0] += sample_loss(op, logits, labels[n], sample_gradient, &correct);
      totals[1] += correct ? 1.0 : 0.0;
      totals[3] += 1.0;
    }
    totals[4] = totals[3];
  });
}

}  // namespace syncnorm::cpu
