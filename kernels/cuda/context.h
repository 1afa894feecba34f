// What the CUDA kernels share: the compute stream, the libraries' handles, one scratch area.
//
// One file per kind of operation specializes compile() below; device.cpp only
// forwards. Kernels of one context run one after another on its stream, so one scratch area of the
// largest size serves them all.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <memory>
#include <optional>
#include <set>

#include "kernels/device.h"
#include "kernels/make_kernel.h"

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

/// Defined for every operation in the file that knows it.
template <class O>
KernelPtr compile(Context&, const O&);

std::size_t packed_bytes(const ConvPack&);
std::size_t workspace_bytes(const PoolForward&);

}  // namespace syncnorm::cuda
