// The bias of transposed convolutions on the CPU, by the loops of normalization: with mean 0 and
// scale 1 they add a vector, and sum columns.
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"

namespace syncnorm::cpu {
namespace {

template <class S>
KernelPtr make_addition(Context& context, const AddBias& op) {
  const auto& loops = context.loops.of<S>();
  const Gains gains(op.channels);
  return make_kernel<AddBias, S>([op, &loops, gains](const auto& a, const StepState&) {
    loops.normalize({a.y, nullptr, a.y, gains.beta(nullptr), gains.gamma(nullptr), a.bias,
                     rows_of(op), op.channels, false, is_large(op)});
  });
}

template <class S>
KernelPtr make_gradient(Context& context, const BiasGradient& op) {
  const auto& loops = context.loops.of<S>();
  const Gains gains(op.channels);
  std::vector<double> sum(static_cast<std::size_t>(op.channels)), unused(sum.size());
  return make_kernel<BiasGradient, S>(
      [op, &loops, gains, sum, unused](const auto& a, const StepState&) mutable {
        const float* zeros = gains.beta(nullptr);
        loops.gradient_sums({a.dy, nullptr, a.dy, nullptr, nullptr, zeros, zeros, zeros, sum.data(),
                             unused.data(), rows_of(op), op.channels, false, is_large(op)});
        for (std::size_t c = 0; c < sum.size(); ++c) a.dbias[c] = static_cast<float>(sum[c]);
      });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const AddBias& op) {
  return with_storage(op.storage, [&]<class S>() { return make_addition<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const BiasGradient& op) {
  return with_storage(op.storage, [&]<class S>() { return make_gradient<S>(context, op); });
}

}  // namespace syncnorm::cpu
