// The only function that the module syncnorm_cuda.so exports; load.cpp calls it.
#include "kernels/cuda/device.h"

/// See make_cuda_device(). The caller owns the result.
extern "C" __attribute__((visibility("default"))) syncnorm::Device* syncnorm_cuda_device(
    int local_rank) {
  return syncnorm::cuda::make_device(local_rank).release();
}
