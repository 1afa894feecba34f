// bf16 on a processor without instructions for it: a kernel that computes in f32 is given widened
// copies of its arguments, and what it writes is rounded. Slow, and as accurate as the real thing,
// since that accumulates in f32 too.
#pragma once

#include <vector>

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {

/// An argument that is f32 for the emulated kernel and bf16 for its caller.
struct WidenedArgument {
  std::size_t index;
  std::size_t values;
  bool written = false;
};

KernelPtr emulate_bf16(Context& context, KernelPtr kernel, std::vector<WidenedArgument> arguments);

}  // namespace syncnorm::cpu
