// Finds and loads the CUDA back end at run time, so that the program starts on machines without
// CUDA's libraries.
#include "base/error.h"
#include "base/module.h"
#include "kernels/device.h"

namespace syncnorm {

std::unique_ptr<Device> make_cuda_device(int local_rank) {
  std::string tried;
  using Factory = Device*(int);
  // Not RTLD_GLOBAL: nothing else uses the module's symbols.
  auto* make = load_module_entry<Factory>("syncnorm_cuda.so", "syncnorm_cuda_device",
                                          RTLD_NOW | RTLD_LOCAL, tried);
  if (make == nullptr)
    throw InputError(
        "device: cuda: the module syncnorm_cuda.so cannot be loaded: it belongs beside the "
        "program, and needs CUDA's cuDNN and cuBLASLt libraries" +
        tried);
  return std::unique_ptr<Device>(make(local_rank));
}

std::string cuda_found() {
  return text_of_module("syncnorm_cuda.so", "syncnorm_cuda_found", "no CUDA back end",
                        RTLD_NOW | RTLD_LOCAL);
}

}  // namespace syncnorm
