// The scaled residual add on the CPU, by the loops of normalization: with mean 0 they multiply by
// constants and sum products.
#include <algorithm>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"

namespace syncnorm::cpu {
namespace {

template <class ScaledAddOp>
float scale_of(const ScaledAddOp& op, const float* gain) {
  return static_cast<float>(op.alpha) * *gain;
}

template <class S>
KernelPtr make_forward(Context& context, const ScaledAddForward& op) {
  const auto& loops = context.loops.of<S>();
  std::vector<float> zeros(static_cast<std::size_t>(op.channels)), scale(zeros.size());
  return make_kernel<ScaledAddForward, S>(
      [op, &loops, zeros, scale](const auto& a, const StepState&) mutable {
        std::fill(scale.begin(), scale.end(), scale_of(op, a.gain));
        loops.normalize({a.x, a.residual, a.y, zeros.data(), scale.data(), zeros.data(),
                         rows_of(op), op.channels, op.relu, is_large(op)});
      });
}

template <class S>
KernelPtr make_backward(Context& context, const ScaledAddBackward& op) {
  const auto& loops = context.loops.of<S>();
  std::vector<float> zeros(static_cast<std::size_t>(op.channels)), scale(zeros.size());
  std::vector<double> sum_g(zeros.size()), sum_gx(zeros.size());
  return make_kernel<ScaledAddBackward, S>(
      [op, &loops, zeros, scale, sum_g, sum_gx](const auto& a, const StepState&) mutable {
        loops.gradient_sums({a.dy, a.dy2, a.x, a.y, a.g, zeros.data(), zeros.data(), zeros.data(),
                             sum_g.data(), sum_gx.data(), rows_of(op), op.channels, op.relu,
                             is_large(op)});
        double total = 0.0;
        for (const double sum : sum_gx) total += sum;
        *a.dgain = static_cast<float>(op.alpha * total);
        std::fill(scale.begin(), scale.end(), scale_of(op, a.gain));
        loops.normalize({a.g != nullptr ? a.g : a.dy, nullptr, a.dx, zeros.data(), scale.data(),
                         zeros.data(), rows_of(op), op.channels, false, is_large(op)});
      });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const ScaledAddForward& op) {
  return with_storage(op.storage, [&]<class S>() { return make_forward<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const ScaledAddBackward& op) {
  return with_storage(op.storage, [&]<class S>() { return make_backward<S>(context, op); });
}

}  // namespace syncnorm::cpu
