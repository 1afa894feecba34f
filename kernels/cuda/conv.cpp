// Convolutions with cuDNN. Activations are channels last, weights and their gradients [filters, k,
// k, channels]: as the parameters lie on the device (Device::channels_last_weights).
//
// cuDNN's engines on tensor cores write weight gradients of bf16 data as bf16, from sums in f32:
// each replica's gradient is rounded once to 8 bits, as in PyTorch's mixed precision, and then
// added in f32. It has an engine that writes f32, which does without tensor cores and takes 30
// times as long; it is used only where there is no other.
#include <memory>
#include <stdexcept>

#include "kernels/cuda/bias.h"
#include "kernels/cuda/conv_plan.h"
#include "kernels/cuda/convert.h"

namespace syncnorm::cuda {
namespace {

std::size_t round_up(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

std::size_t out_rows(const ConvShape& s, int samples) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(s.out_height()) *
         static_cast<std::size_t>(s.out_width());
}

/// A plan and the storage of the gradient that it writes.
struct WgradPlan {
  ConvPlan plan;
  Storage storage;
};

WgradPlan plan_wgrad(Context& context, const ConvWgrad& op) {
  CudaLibraries& libraries = libraries_of(context);
  const auto plan = [&](Storage gradient) -> WgradPlan {
    return {ConvPlan(libraries, ConvPass::wgrad, op.shape, op.samples, op.storage, gradient),
            gradient};
  };
  if (op.storage == Storage::bf16) {
    try {
      return plan(Storage::bf16);
    } catch (const NoEngineError&) {  // then one that writes f32
    }
  }
  return plan(Storage::f32);
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
  const std::size_t rows = out_rows(op.shape, op.samples), weights = op.shape.weights();
  // Scratch holds a gradient in bf16, then cuDNN's workspace, which the bias's sums reuse.
  const bool widened = wgrad->storage != Storage::f32;
  const std::size_t narrow = widened ? round_up(weights * storage_bytes(wgrad->storage)) : 0;
  context.need_scratch(
      narrow + std::max(wgrad->plan.workspace_bytes(), bias_scratch_bytes(rows, op.shape.filters)));
  return make_kernel<ConvWgrad>([=, &context](const auto& a, const StepState&) {
    auto* scratch = context.scratch();
    void* gradient = widened ? static_cast<void*>(scratch) : a.dweight;
    wgrad->plan.run({a.x, gradient, a.dy}, scratch + narrow);
    if (widened) convert(context, wgrad->storage, Storage::f32, gradient, a.dweight, weights);
    if (op.shape.bias)
      bias_gradient(context, op.storage, rows, op.shape.filters, a.dy,
                    reinterpret_cast<double*>(scratch + narrow), a.dbias);
  });
}

}  // namespace syncnorm::cuda
