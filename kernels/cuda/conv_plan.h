// A convolution, its input gradient or its weight gradient as an execution plan of cuDNN's graph
// interface.
//
// The engine is the first on cuDNN's heuristic list that is deterministic, reduces in f32, does not
// transform (no Winograd, no FFT), needs at most kWorkspaceLimit, and does not round f32 data to
// TF32. The list depends on the shape, the GPU and cuDNN's version. Nothing is timed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/libraries.h"

namespace syncnorm::cuda {

/// An owned descriptor of cuDNN's backend interface.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  Descriptor(Descriptor&& other) noexcept : handle_(other.handle_) { other.handle_ = nullptr; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Descriptor();

  cudnnBackendDescriptor_t get() const { return handle_; }
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
           const void* values);
  void set(cudnnBackendAttributeName_t name, const Descriptor& value);
  void set(cudnnBackendAttributeName_t name, std::int64_t value);
  void set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values);
  void finalize(const char* what);

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

/// cuDNN has no engine that is suitable for a convolution.
struct NoEngineError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class ConvPass { forward, dgrad, wgrad };

/// The three tensors of a pass, named as in the forward pass: w is a gradient in wgrad, x in dgrad,
/// and y in both.
struct ConvPointers {
  const void* x;
  const void* w;
  const void* y;
};

class ConvPlan {
 public:
  /// x and y are NHWC and w is [filters, k, k, channels], all of `storage` except w in wgrad, which
  /// is of `weight_storage`. Throws NoEngineError.
  ConvPlan(CudaLibraries& libraries, ConvPass pass, const ConvShape& shape, int samples,
           Storage storage, Storage weight_storage);

  /// Makes the plan of the same engine, with the same settings, for another number of samples; none
  /// where it cannot.
  std::optional<ConvPlan> for_samples(int samples) const;

  std::size_t workspace_bytes() const { return workspace_bytes_; }
  /// The name of the chosen engine, such as "cuDNN engine 34".
  std::string engine() const;
  void run(const ConvPointers& pointers, void* workspace);

 private:
  struct Problem {
    ConvPass pass;
    ConvShape shape;
    Storage storage, weight_storage;
  };
  ConvPlan(CudaLibraries& libraries, const Problem& problem)
      : libraries_(&libraries), problem_(problem) {}
  Descriptor graph(int samples) const;
  bool finalize(Descriptor config);

  CudaLibraries* libraries_;
  Problem problem_;
  Descriptor config_, plan_, pack_;
  std::array<void*, 4> packed_{};  // the pointers in pack_
  std::size_t workspace_bytes_ = 0;
};

}  // namespace syncnorm::cuda
