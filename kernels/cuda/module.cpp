// The functions that the module syncnorm_cuda.so exports; load.cpp calls them.
#include "kernels/cuda/device.h"

/// See make_cuda_device(). The caller owns the result.
extern "C" __attribute__((visibility("default"))) syncnorm::Device* syncnorm_cuda_device(
    int local_rank) {
  return syncnorm::cuda::make_device(local_rank).release();
}

/// See cuda_found().
extern "C" __attribute__((visibility("default"))) void syncnorm_cuda_found(std::string* text) {
  *text = syncnorm::cuda::found();
}
