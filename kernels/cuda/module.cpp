// The one function that the module syncnorm_cuda.so exports; load.cpp calls it.
#include "kernels/cuda/device.h"

/// The GPU of this index, owned by the caller; throws as make_cuda_device() does.
extern "C" __attribute__((visibility("default"))) syncnorm::Device* syncnorm_cuda_device(
    int index) {
  return syncnorm::cuda::make_device(index).release();
}
