// The CUDA device, for the module's entry point and for tests that emulate CUDA.
#pragma once

#include "kernels/device.h"

namespace syncnorm::cuda {

/// See make_cuda_device() in kernels/device.h.
std::unique_ptr<Device> make_device(int local_rank);

/// See cuda_found() in kernels/device.h.
std::string found();

}  // namespace syncnorm::cuda
