// Conversions between f32 and bf16, of activations, of weights and of their gradients.
#include "kernels/cuda/convert.h"

#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {
namespace {

template <class From, class To, int kWide>
struct Converted {
  static constexpr int kWidth = kWide;
  const From* x;
  To* y;

  template <int V>
  __device__ void at(std::size_t i) const {
    float value[V];
    load(x + i, value);
    store(y + i, value);
  }
};

}  // namespace

void convert(Context& context, Storage from, Storage to, const void* x, void* y,
             std::size_t count) {
  const auto run = [&]<class From, class To>(const From* source, To* target) {
    if (aligned(source, target))
      run_flat(context.stream, Converted<From, To, 4>{source, target}, count);
    else
      run_flat(context.stream, Converted<From, To, 1>{source, target}, count);
  };
  const auto run_from = [&]<class From>(const From* source) {
    if (to == Storage::f32)
      run(source, static_cast<float*>(y));
    else
      run(source, static_cast<BFloat16*>(y));
  };
  if (from == Storage::f32)
    run_from(static_cast<const float*>(x));
  else
    run_from(static_cast<const BFloat16*>(x));
}

template <>
KernelPtr compile(Context& context, const Convert& op) {
  return make_kernel<Convert>([op, &context](const auto& a, const StepState&) {
    const Storage to = op.from == Storage::f32 ? Storage::bf16 : Storage::f32;
    convert(context, op.from, to, a.x, a.y, values(op.samples, op.size));
  });
}

std::size_t packed_bytes(const ConvPack& op) {
  return op.shape.weights() * storage_bytes(op.storage);
}

/// The weights have the layout of the convolutions already (Device::channels_last_weights).
template <>
KernelPtr compile(Context& context, const ConvPack& op) {
  return make_kernel<ConvPack>([op, &context](const auto& a, const StepState&) {
    convert(context, Storage::f32, op.storage, a.weight, a.packed, op.shape.weights());
  });
}

}  // namespace syncnorm::cuda
