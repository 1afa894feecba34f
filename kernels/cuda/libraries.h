// The handles of cuDNN and cuBLASLt, and how their errors are thrown.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>

#include "kernels/cuda/context.h"

namespace syncnorm::cuda {

/// Limit of an algorithm's workspace. It is fixed, so that the choice never depends on free memory.
constexpr std::size_t kWorkspaceLimit = std::size_t{256} << 20;

struct CudaLibraries final : Libraries {
  explicit CudaLibraries(cudaStream_t stream);
  ~CudaLibraries() override;
  CudaLibraries(const CudaLibraries&) = delete;
  CudaLibraries& operator=(const CudaLibraries&) = delete;
  std::string versions() const override;

  cudnnHandle_t cudnn = nullptr;
  cublasLtHandle_t cublas = nullptr;
};

inline CudaLibraries& libraries_of(Context& context) {
  return static_cast<CudaLibraries&>(*context.libraries);
}

/// Throws std::runtime_error with the library's message unless `status` is success.
void check(cudnnStatus_t status, const char* what);
void check(cublasStatus_t status, const char* what);

}  // namespace syncnorm::cuda
