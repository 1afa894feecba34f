// Kernels of operations on per-channel vectors: one thread per channel, for one group of replicas
// or for many at once.
#pragma once

#include <cstring>

#include "kernels/cuda/columns.h"
#include "kernels/make_kernel.h"

namespace syncnorm::cuda {

/// The operands of a group.
template <class Op>
__device__ __forceinline__ PointersOf<Op> of_group(const PointersOf<Op>& first,
                                                   const StridesOf<Op>& strides, int group) {
  char* pointers[kArity<Op>];
  std::size_t bytes[kArity<Op>];
  memcpy(pointers, &first, sizeof pointers);
  memcpy(bytes, &strides, sizeof bytes);
#pragma unroll
  for (std::size_t i = 0; i < kArity<Op>; ++i)
    if (pointers[i] != nullptr) pointers[i] += static_cast<std::size_t>(group) * bytes[i];
  PointersOf<Op> own;
  memcpy(&own, pointers, sizeof pointers);
  return own;
}

/// One group per blockIdx.y.
template <class Op, class Channel>
__global__ void each_channel(Op op, PointersOf<Op> a, StridesOf<Op> strides,
                             const StepState* state) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c < op.channels)
    Channel::run(op, of_group<Op>(a, strides, static_cast<int>(blockIdx.y)), *state, c);
}

/// Makes a kernel that calls Channel::run(op, operands, state, channel) for every channel.
template <class Channel, class Op>
KernelPtr make_channel_kernel(Context& context, const Op& op) {
  struct Body {
    Context& context;
    Op op;
    void expect(int) const {}
    bool together(std::span<void* const>, std::span<const std::size_t>) const { return true; }
    void run(const PointersOf<Op>& a, const StepState& state, const Repeats<Op>& repeats) const {
      constexpr int kBlock = 128;
      const auto blocks = static_cast<unsigned>((op.channels + kBlock - 1) / kBlock);
      launch(each_channel<Op, Channel>, dim3(blocks, static_cast<unsigned>(repeats.count)),
             dim3(kBlock), 0, context.stream, op, a, repeats.strides, context.use(state));
    }
  };
  return make_repeating_kernel<Op>(Body{context, op});
}

}  // namespace syncnorm::cuda
