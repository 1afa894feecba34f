// Convolutions with cuDNN. Activations are channels last, weights and their gradients [filters, k,
// k, channels]: as the parameters lie on the device (Device::channels_last_weights).
//
// cuDNN's engines on tensor cores write weight gradients of bf16 data as bf16, from sums in f32:
// each replica's gradient is rounded once to 8 bits, as in PyTorch's mixed precision, and then
// added in f32. It has an engine that writes f32, which does without tensor cores and takes 30
// times as long; it is used only where there is no other.
#include <algorithm>
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

/// The plan that was tried for many replicas, or a new one.
template <class O>
std::shared_ptr<ConvPlan> plan_for(Context& context, const O& op, ConvPass pass) {
  CudaLibraries& libraries = libraries_of(context);
  if (const auto tried = libraries.merged.find(op_text(op)); tried != libraries.merged.end())
    return tried->second;
  return std::make_shared<ConvPlan>(libraries, pass, op.shape, op.samples, op.storage, op.storage);
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
  const auto plan = plan_for(context, op, ConvPass::forward);
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
  const auto plan = plan_for(context, op, ConvPass::dgrad);
  context.chose(op, plan->engine());
  context.need_scratch(plan->workspace_bytes());
  return make_kernel<ConvDgrad>([plan, &context](const auto& a, const StepState&) {
    plan->run({a.dx, a.packed, a.dy}, context.scratch<void>());
  });
}

namespace {

/// Runs the weight gradients of many replicas side by side: each is too small for a GPU.
class WgradBody {
 public:
  WgradBody(Context& context, const ConvWgrad& op)
      : context_(&context),
        op_(op),
        wgrad_(plan_wgrad(context, op)),
        rows_(out_rows(op.shape, op.samples)) {
    if (wgrad_.storage != Storage::f32)
      narrow_bytes_ = round_up(op.shape.weights() * storage_bytes(wgrad_.storage));
    expect(1);
  }

  std::string engine() const { return wgrad_.plan.engine(); }
  void expect(int count) {
    context_->need_scratch(branch_bytes() *
                           static_cast<std::size_t>(std::min(count, Branches::kMost)));
  }
  static bool together(std::span<void* const>, std::span<const std::size_t>) { return true; }

  void run(const PointersOf<ConvWgrad>& a, const StepState&, const Repeats<ConvWgrad>& repeats) {
    if (repeats.count == 1) return run_one(a, context_->scratch());
    libraries_of(*context_).branches.run(*context_, repeats.count, [&](int i, int branch) {
      const auto own = [i]<class T>(T* pointer, std::size_t stride) {
        using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
        return pointer == nullptr ? pointer
                                  : reinterpret_cast<T*>(reinterpret_cast<Byte*>(pointer) +
                                                         static_cast<std::size_t>(i) * stride);
      };
      const auto& s = repeats.strides;
      run_one({own(a.x, s.x), own(a.dy, s.dy), own(a.dweight, s.dweight), own(a.dbias, s.dbias)},
              context_->scratch() + static_cast<std::size_t>(branch) * branch_bytes());
    });
    check(cudnnSetStream(libraries_of(*context_).cudnn, context_->stream), "could not go back");
  }

 private:
  /// Scratch: a gradient in bf16, then cuDNN's workspace, which the bias's sums reuse.
  std::size_t branch_bytes() const {
    return narrow_bytes_ + round_up(std::max(wgrad_.plan.workspace_bytes(),
                                             bias_scratch_bytes(rows_, op_.shape.filters)));
  }

  void run_one(const PointersOf<ConvWgrad>& a, std::byte* scratch) {
    Context& context = *context_;
    check(cudnnSetStream(libraries_of(context).cudnn, context.stream), "could not take a stream");
    const bool widened = wgrad_.storage != Storage::f32;
    void* gradient = widened ? static_cast<void*>(scratch) : a.dweight;
    wgrad_.plan.run({a.x, gradient, a.dy}, scratch + narrow_bytes_);
    if (widened)
      convert(context, wgrad_.storage, Storage::f32, gradient, a.dweight, op_.shape.weights());
    if (op_.shape.bias)
      bias_gradient(context, op_.storage, rows_, op_.shape.filters, a.dy,
                    reinterpret_cast<double*>(scratch + narrow_bytes_), a.dbias);
  }

  Context* context_;
  ConvWgrad op_;
  WgradPlan wgrad_;
  std::size_t rows_, narrow_bytes_ = 0;
};

}  // namespace

template <>
KernelPtr compile(Context& context, const ConvWgrad& op) {
  WgradBody body(context, op);
  context.chose(op, body.engine());
  return make_repeating_kernel<ConvWgrad>(std::move(body));
}

}  // namespace syncnorm::cuda
