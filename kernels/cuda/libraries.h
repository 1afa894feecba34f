// The handles of cuDNN and cuBLASLt, and how their errors are thrown.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>

#include <map>
#include <memory>
#include <string>

#include "kernels/cuda/branches.h"
#include "kernels/cuda/context.h"

namespace syncnorm::cuda {

/// Limit of an algorithm's workspace. It is fixed, so that the choice never depends on free memory.
constexpr std::size_t kWorkspaceLimit = std::size_t{256} << 20;

class ConvPlan;

struct CudaLibraries final : Libraries {
  explicit CudaLibraries(cudaStream_t stream);
  ~CudaLibraries() override;
  CudaLibraries(const CudaLibraries&) = delete;
  CudaLibraries& operator=(const CudaLibraries&) = delete;
  std::string versions() const override;

  cudnnHandle_t cudnn = nullptr;
  cublasLtHandle_t cublas = nullptr;
  Branches branches;
  std::map<std::string, std::shared_ptr<ConvPlan>> merged;  // by op_text(), see conv_merge.h
};

inline CudaLibraries& libraries_of(Context& context) {
  return static_cast<CudaLibraries&>(*context.libraries);
}

/// Throws std::runtime_error with the library's message unless `status` is success.
void check(cudnnStatus_t status, const char* what);
void check(cublasStatus_t status, const char* what);

}  // namespace syncnorm::cuda
