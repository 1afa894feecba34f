// bf16 on a processor without instructions for it: a kernel that computes in f32 is given widened
// copies of its stored operands, and what it writes is rounded. Slow, and as accurate as the real
// thing, since that accumulates in f32 too.
#pragma once

#include <vector>

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {

/// `values`: how many each stored operand has, in the order of `operands`.
KernelPtr emulate_bf16(Context& context, KernelPtr kernel, std::span<const Operand> operands,
                       const std::vector<std::size_t>& values);

template <class O>
KernelPtr emulate_bf16(Context& context, KernelPtr kernel, const std::vector<std::size_t>& values) {
  return emulate_bf16(context, std::move(kernel), kOperands<O>, values);
}

}  // namespace syncnorm::cpu
