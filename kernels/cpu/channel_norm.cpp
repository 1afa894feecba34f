// Layer norm over channels on the CPU. The loops compute on rows; this file stands in for absent γ
// and β and converts the sums.
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"

namespace syncnorm::cpu {
template <>
KernelPtr compile(Context& context, const ChannelNormForward& op) {
  return with_storage(op.storage, [&]<class S>() {
    const auto& loops = context.loops.of<S>();
    return make_kernel<ChannelNormForward, S>(
        [op, &loops, gains = Gains(op.channels)](const auto& a, const StepState&) {
          loops.row_norm({a.x, a.residual, a.y, gains.gamma(a.gamma), gains.beta(a.beta),
                          rows_of(op), op.channels, static_cast<float>(op.eps), op.relu});
        });
  });
}

template <>
KernelPtr compile(Context& context, const ChannelNormBackward& op) {
  return with_storage(op.storage, [&]<class S>() {
    const auto& loops = context.loops.of<S>();
    const auto channels = static_cast<std::size_t>(op.channels);
    return make_kernel<ChannelNormBackward, S>(
        [op, &loops, gains = Gains(op.channels), sum_g = std::vector<double>(channels),
         sum_gx = std::vector<double>(channels),
         scratch = std::vector<float>(10 * channels)](const auto& a, const StepState&) mutable {
          loops.row_norm_gradient({a.dy, a.dy2, a.x, a.y, a.dx, a.g, gains.gamma(a.gamma),
                                   gains.beta(a.beta), sum_g.data(), sum_gx.data(), scratch.data(),
                                   rows_of(op), op.channels, static_cast<float>(op.eps), op.relu});
          for (std::size_t c = 0; c < sum_g.size(); ++c) {
            if (a.dgamma != nullptr) a.dgamma[c] = static_cast<float>(sum_gx[c]);
            if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(sum_g[c]);
          }
        });
  });
}

}  // namespace syncnorm::cpu
