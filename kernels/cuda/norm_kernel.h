// Kernels of normalizations that run for one replica or for many at once.
#pragma once

#include <utility>

#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {

/// Returns true if the activations of the replicas lie one behind another without gaps.
template <class Op>
bool samples_adjacent(const Op& op, std::span<void* const> operands,
                      std::span<const std::size_t> strides) {
  const std::size_t bytes = values(op.samples, op.pixels) * static_cast<std::size_t>(op.channels) *
                            storage_bytes(op.storage);
  for (std::size_t a = 0; a < operands.size(); ++a)
    if (kOperands<Op>[a].element == Element::stored && operands[a] != nullptr &&
        strides[a] != bytes)
      return false;
  return true;
}

/// Makes a kernel from run(operands, repeats). scratch_bytes(n) is the scratch for n replicas;
/// vectors_fit(strides): the vectors of many replicas lie as run() expects them.
template <class Op, class ScratchBytes, class VectorsFit, class Run>
KernelPtr make_norm_kernel(Context& context, const Op& op, ScratchBytes scratch_bytes,
                           VectorsFit vectors_fit, Run run_all) {
  struct Body {
    Context& context;
    Op op;
    ScratchBytes scratch_bytes;
    VectorsFit vectors_fit;
    Run run_all;

    void expect(int count) const { context.need_scratch(scratch_bytes(count)); }
    bool together(std::span<void* const> operands, std::span<const std::size_t> strides) const {
      return samples_adjacent(op, operands, strides) && vectors_fit(named_strides<Op>(strides));
    }
    void run(const PointersOf<Op>& a, const StepState&, const Repeats<Op>& repeats) const {
      run_all(a, repeats);
    }
  };
  Body body{context, op, std::move(scratch_bytes), std::move(vectors_fit), std::move(run_all)};
  body.expect(1);
  return make_repeating_kernel<Op>(std::move(body));
}

}  // namespace syncnorm::cuda
