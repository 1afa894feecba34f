// See libraries.h.
#include "kernels/cuda/libraries.h"

#include <stdexcept>

#include <fmt/format.h>

#include "kernels/cuda/conv_plan.h"

namespace syncnorm::cuda {

void check(cudnnStatus_t status, const char* what) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw std::runtime_error(fmt::format("cuDNN: {}: {}", what, cudnnGetErrorString(status)));
}

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(
        fmt::format("cuBLASLt: {}: {}", what, cublasLtGetStatusString(status)));
}

CudaLibraries::CudaLibraries(cudaStream_t stream) {
  check(cudnnCreate(&cudnn), "could not start");
  check(cudnnSetStream(cudnn, stream), "could not take the stream");
  check(cublasLtCreate(&cublas), "could not start");
}

CudaLibraries::~CudaLibraries() {
  merged.clear();  // plans end before the library
  if (cublas != nullptr) cublasLtDestroy(cublas);
  if (cudnn != nullptr) cudnnDestroy(cudnn);
}

std::string CudaLibraries::versions() const { return library_versions(); }

std::string library_versions() {
  const std::size_t v = cudnnGetVersion(), b = cublasLtGetVersion();
  return fmt::format("cuDNN {}.{}.{}, cuBLASLt {}.{}.{}", v / 10000, v % 10000 / 100, v % 100,
                     b / 10000, b % 10000 / 100, b % 100);
}

std::unique_ptr<Libraries> make_libraries(cudaStream_t stream) {
  return std::make_unique<CudaLibraries>(stream);
}

}  // namespace syncnorm::cuda
