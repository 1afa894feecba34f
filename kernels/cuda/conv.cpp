// Convolutions with cuDNN: channels-last activations, and weights as [filters, k, k, channels],
// packed once per step, for both directions in the same layout.
#include <memory>
#include <stdexcept>

#include "kernels/cuda/conv_plan.h"
#include "kernels/cuda/layout.h"

namespace syncnorm::cuda {
namespace {

std::size_t round_up(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

std::size_t out_rows(const ConvShape& s, int samples) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(s.out_height()) *
         static_cast<std::size_t>(s.out_width());
}

/// A wgrad that writes f32; or, where cuDNN has none for bf16 data, one that writes bf16, which is
/// then widened.
struct WgradPlan {
  ConvPlan plan;
  Storage storage;
};

WgradPlan plan_wgrad(Context& context, const ConvWgrad& op) {
  CudaLibraries& libraries = libraries_of(context);
  try {
    return {ConvPlan(libraries, ConvPass::wgrad, op.shape, op.samples, op.storage, Storage::f32),
            Storage::f32};
  } catch (const std::runtime_error&) {
    if (op.storage == Storage::f32) throw;
  }
  return {ConvPlan(libraries, ConvPass::wgrad, op.shape, op.samples, op.storage, op.storage),
          op.storage};
}

}  // namespace

template <>
KernelPtr compile(Context& context, const ConvForward& op) {
  const auto plan = std::make_shared<ConvPlan>(libraries_of(context), ConvPass::forward, op.shape,
                                               op.samples, op.storage, op.storage);
  context.chose(op, plan->engine());
  context.need_scratch(plan->workspace_bytes());
  return make_kernel<ConvForward>([op, plan, &context](const auto& a, const StepState&) {
    plan->run({a.x, a.packed, a.y}, context.scratch<void>());
    if (op.shape.bias)
      add_bias(context, op.storage, out_rows(op.shape, op.samples), op.shape.filters, a.bias, a.y);
  });
}

template <>
KernelPtr compile(Context& context, const ConvDgrad& op) {
  const auto plan = std::make_shared<ConvPlan>(libraries_of(context), ConvPass::dgrad, op.shape,
                                               op.samples, op.storage, op.storage);
  context.chose(op, plan->engine());
  context.need_scratch(plan->workspace_bytes());
  return make_kernel<ConvDgrad>([plan, &context](const auto& a, const StepState&) {
    plan->run({a.dx, a.packed, a.dy}, context.scratch<void>());
  });
}

template <>
KernelPtr compile(Context& context, const ConvWgrad& op) {
  const auto wgrad = std::make_shared<WgradPlan>(plan_wgrad(context, op));
  context.chose(op, wgrad->plan.engine());
  const std::size_t rows = out_rows(op.shape, op.samples);
  // Scratch holds the gradient in cuDNN's layout, then cuDNN's workspace, which the bias's sums
  // reuse.
  const std::size_t packed = round_up(op.shape.weights() * storage_bytes(wgrad->storage));
  context.need_scratch(
      packed + std::max(wgrad->plan.workspace_bytes(), bias_scratch_bytes(rows, op.shape.filters)));
  return make_kernel<ConvWgrad>(
      [op, wgrad, rows, packed, &context](const auto& a, const StepState&) {
        auto* gradient = context.scratch();
        wgrad->plan.run({a.x, gradient, a.dy}, gradient + packed);
        unpack_weight_gradient(context, op.shape, wgrad->storage, gradient, a.dweight);
        if (op.shape.bias)
          bias_gradient(context, op.storage, rows, op.shape.filters, a.dy,
                        reinterpret_cast<double*>(gradient + packed), a.dbias);
      });
}

}  // namespace syncnorm::cuda
