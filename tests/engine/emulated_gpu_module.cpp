// The emulated GPU as the module that `device: cuda` loads: whole commands run on it where a copy
// of the program stands beside it (tests/cli/test_cuda.py).
#include "tests/engine/emulated_gpu.h"

extern "C" __attribute__((visibility("default"))) syncnorm::Device* syncnorm_cuda_device(int) {
  return new syncnorm::test::EmulatedGpu;
}

extern "C" __attribute__((visibility("default"))) void syncnorm_cuda_found(std::string* text) {
  *text = syncnorm::cuda::found();
}
