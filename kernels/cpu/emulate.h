// bf16 on a processor without instructions for it: an f32 kernel gets widened copies of its stored
// operands, and its results are rounded. This is slow, but as accurate as native bf16, which also
// accumulates in f32.
#pragma once

#include <vector>

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {

/// `values`: the number of values of each stored operand, in the order of `operands`.
KernelPtr emulate_bf16(Context& context, KernelPtr kernel, std::span<const Operand> operands,
                       const std::vector<std::size_t>& values);

template <class O>
KernelPtr emulate_bf16(Context& context, KernelPtr kernel, const std::vector<std::size_t>& values) {
  return emulate_bf16(context, std::move(kernel), kOperands<O>, values);
}

}  // namespace syncnorm::cpu
