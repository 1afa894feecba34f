// Replaces the CUDA back end in a build without CUDA.
#include "base/error.h"
#include "kernels/device.h"

namespace syncnorm {

std::unique_ptr<Device> make_cuda_device(int) {
  throw InputError(
      "device: cuda: this build has no CUDA back end; use device: cpu, or build with nvcc, cuDNN "
      "and cuBLASLt (-DSYNCNORM_CUDA=ON says what is missing)");
}

std::string cuda_found() { return "nothing: this build has no CUDA back end"; }

}  // namespace syncnorm
