// What the CUDA kernels share: the compute stream, the libraries' handles, one scratch area.
//
// One file per kind of operation implements the `compile` overloads below; device.cpp only
// forwards. Kernels of one context run one after another on its stream, so one scratch area of the
// largest size serves them all.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <memory>
#include <optional>
#include <set>

#include "kernels/device.h"

namespace syncnorm::cuda {

/// Handles of cuDNN and cuBLASLt; libraries.cpp knows what is behind it.
class Libraries {
 public:
  virtual ~Libraries() = default;
  /// Versions, as part of the device's description.
  virtual std::string versions() const = 0;
};
std::unique_ptr<Libraries> make_libraries(cudaStream_t stream);

class Context {
 public:
  Context();
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  cudaStream_t stream = nullptr;         // of the current queue
  std::unique_ptr<Libraries> libraries;  // on the compute queue

  Queue use_queue(Queue queue);
  cudaStream_t stream_of(Queue queue) const { return streams_[static_cast<std::size_t>(queue)]; }

  /// What a kernel that reads the state is given: the device's copy, so that a recorded step can be
  /// replayed with another state. Queues an update of the copy when `state` is not the last one;
  /// while recording it must be.
  const StepState* use(const StepState& state);
  bool recording = false;

  /// Remembers what a library was asked to do an operation with.
  void chose(const Op& op, const std::string& what) { choices.insert(op_text(op) + ": " + what); }
  std::set<std::string> choices;

  /// Asks for scratch of at least `bytes`; to be called while compiling, read with scratch() later.
  void need_scratch(std::size_t bytes);
  template <class T = std::byte>
  T* scratch() const {
    return reinterpret_cast<T*>(scratch_.data());
  }

 private:
  std::array<cudaStream_t, kQueues> streams_{};
  Queue current_ = Queue::compute;
  Buffer state_, scratch_;
  std::optional<StepState> last_state_;
};

/// Queues writing `bytes` (at most Device::kMostWritten), taken when this is called.
void write_bytes(cudaStream_t stream, void* to, const void* from, std::size_t bytes);

/// Device memory, zeroed on `stream` (which the call waits for), 256-byte aligned. Throws
/// InputError when there is not enough, saying how much there is.
Buffer allocate_device(std::size_t bytes, cudaStream_t stream);

template <class T>
T* arg(std::span<void* const> args, std::size_t index) {
  return static_cast<T*>(args[index]);
}

/// An argument that may be null or left out.
template <class T>
T* optional_arg(std::span<void* const> args, std::size_t index) {
  return index < args.size() ? static_cast<T*>(args[index]) : nullptr;
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

std::size_t packed_bytes(const ConvPack&);
std::size_t workspace_bytes(const PoolForward&);

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

}  // namespace syncnorm::cuda
