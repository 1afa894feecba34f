// What the CPU kernels share: the loops of this processor, the oneDNN engine, one scratch area.
//
// One file per kind of operation implements the `compile` overloads below; device.cpp only
// forwards. Kernels of one context run one at a time, so one scratch area of the largest size
// serves them all.
#pragma once

#include <memory>

#include <dnnl.hpp>

#include "kernels/cpu/loops.h"
#include "kernels/device.h"

namespace syncnorm::cpu {

/// Memory that kernels share; they run one at a time. Asked for while compiling, used later.
class Scratch {
 public:
  void need(std::size_t bytes);
  std::byte* data() const { return buffer_.data(); }

 private:
  Buffer buffer_;
};

/// How this processor computes on bf16: not at all, until Device::use_storage() has been asked.
enum class BFloat16Arithmetic { none, native, emulated };

class Context {
 public:
  explicit Context(const Loops& chosen);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Loops& loops;
  dnnl::engine engine;
  dnnl::stream stream;

  BFloat16Arithmetic bf16 = BFloat16Arithmetic::none;
  Scratch scratch;  // oneDNN's
  Scratch wide;     // of emulated bf16 kernels, which call oneDNN

  /// The type that oneDNN computes on. Throws InputError when bf16 was not asked for.
  dnnl::memory::data_type onednn_type(Storage storage) const;
  bool emulates(Storage storage) const {
    return storage == Storage::bf16 && bf16 == BFloat16Arithmetic::emulated;
  }
};

Buffer allocate_host(std::size_t bytes);

/// Whether a tensor of `values` is too large to be found in a cache by who reads it next.
constexpr bool past_caches(std::size_t values, Storage storage) {
  return values * storage_bytes(storage) >= std::size_t{16} << 20;
}

/// Calls body<S>() for the type S that values stored as `storage` have in memory.
template <class Body>
auto with_storage(Storage storage, const Body& body) {
  return storage == Storage::f32 ? body.template operator()<float>()
                                 : body.template operator()<BFloat16>();
}

template <class T>
T* arg(std::span<void* const> args, std::size_t index) {
  return static_cast<T*>(args[index]);
}

using KernelPtr = std::unique_ptr<Kernel>;

KernelPtr compile(Context&, const ConvPack&);
KernelPtr compile(Context&, const ConvForward&);
KernelPtr compile(Context&, const ConvDgrad&);
KernelPtr compile(Context&, const ConvWgrad&);
KernelPtr compile(Context&, const LinearForward&);
KernelPtr compile(Context&, const LinearDgrad&);
KernelPtr compile(Context&, const LinearWgrad&);
KernelPtr compile(Context&, const WeightNormalize&);
KernelPtr compile(Context&, const WeightNormalizeBackward&);
KernelPtr compile(Context&, const PoolForward&);
KernelPtr compile(Context&, const PoolBackward&);
KernelPtr compile(Context&, const BatchMoments&);
KernelPtr compile(Context&, const BatchFinalize&);
KernelPtr compile(Context&, const BatchDeviation&);
KernelPtr compile(Context&, const BatchFinalizeDeviation&);
KernelPtr compile(Context&, const Accumulate&);
KernelPtr compile(Context&, const BatchFromRunning&);
KernelPtr compile(Context&, const BatchNormalize&);
KernelPtr compile(Context&, const BatchGradientSums&);
KernelPtr compile(Context&, const BatchInputGradient&);
KernelPtr compile(Context&, const GroupNormForward&);
KernelPtr compile(Context&, const GroupNormBackward&);
KernelPtr compile(Context&, const ActivationForward&);
KernelPtr compile(Context&, const ActivationBackward&);
KernelPtr compile(Context&, const Add&);
KernelPtr compile(Context&, const Dropout&);
KernelPtr compile(Context&, const NormNoise&);
KernelPtr compile(Context&, const ToChannelsFirst&);
KernelPtr compile(Context&, const Convert&);
KernelPtr compile(Context&, const SoftmaxCrossEntropy&);
KernelPtr compile(Context&, const SgdUpdate&);
KernelPtr compile(Context&, const AdamUpdate&);
KernelPtr compile(Context&, const SumOfSquares&);
KernelPtr compile(Context&, const GradientFactor&);
KernelPtr compile(Context&, const TreeFold&);
KernelPtr compile(Context&, const MakeImages&);

std::size_t packed_bytes(Context&, const ConvPack&);
std::size_t workspace_bytes(Context&, const PoolForward&);

/// Wraps a callable (args, state) as a Kernel.
template <class Body>
KernelPtr make_kernel(Body body) {
  struct BodyKernel final : Kernel {
    explicit BodyKernel(Body b) : body_(std::move(b)) {}
    void run(std::span<void* const> args, const StepState& state) override { body_(args, state); }
    Body body_;
  };
  return std::make_unique<BodyKernel>(std::move(body));
}

}  // namespace syncnorm::cpu
