// State shared by the CUDA kernels: the queues' streams, the libraries' handles, and scratch
// memory.
//
// One file per kind of operation specializes compile() below; device.cpp only forwards. The kernels
// of a context run one after another on its stream, so they can share one scratch area of the
// largest size.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <memory>
#include <optional>
#include <set>

#include "kernels/device.h"
#include "kernels/make_kernel.h"

namespace syncnorm::cuda {

/// Handles of cuDNN and cuBLASLt; defined in libraries.cpp.
class Libraries {
 public:
  virtual ~Libraries() = default;
  /// The libraries' versions, as part of the device's description.
  virtual std::string versions() const = 0;
};
std::unique_ptr<Libraries> make_libraries(cudaStream_t stream);
/// The same versions; needs neither a driver nor a GPU.
std::string library_versions();
/// Returns "13.0" for CUDA's number of a version, 13000.
std::string version_text(int version);

class Context {
 public:
  Context();
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  cudaStream_t stream = nullptr;         // of the current queue
  std::unique_ptr<Libraries> libraries;  // bound to the compute queue

  Queue use_queue(Queue queue);
  cudaStream_t stream_of(Queue queue) const { return streams_[static_cast<std::size_t>(queue)]; }

  /// Returns the device's copy of the state, for kernels to read, so that a recorded step can be
  /// replayed with another state. Queues an update of the copy when `state` differs from the last
  /// one; throws std::logic_error for that while recording.
  const StepState* use(const StepState& state);
  bool recording = false;

  /// Records the library's choice for an operation (Device::choices()).
  void chose(const Op& op, const std::string& what) { choices.insert(op_text(op) + ": " + what); }
  std::set<std::string> choices;

  /// Requests at least `bytes` of scratch. Call it when compiling; scratch() returns the memory
  /// later.
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

/// Queues a write of up to Device::kMostWritten bytes. `from` may be reused as soon as the call
/// returns.
void write_bytes(cudaStream_t stream, void* to, const void* from, std::size_t bytes);

/// Allocates 256-byte aligned device memory and zeroes it on `stream`, waiting for that. Throws
/// InputError when there is not enough, saying how much there is.
Buffer allocate_device(std::size_t bytes, cudaStream_t stream);

/// Specialized for every operation in the file of its kind.
template <class O>
KernelPtr compile(Context&, const O&);

std::size_t packed_bytes(const ConvPack&);
std::size_t workspace_bytes(const PoolForward&);

}  // namespace syncnorm::cuda
