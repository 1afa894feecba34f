// Finds and loads the NCCL module.
#include "comm/nccl/nccl.h"
#include "kernels/error.h"
#include "kernels/module.h"

namespace syncnorm {

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap,
                                                     void* compute_stream) {
  std::string tried;
  using Factory = Communicator*(Communicator*, void*);
  auto* make = load_module_entry<Factory>("syncnorm_nccl.so", "syncnorm_nccl_communicator",
                                          RTLD_NOW | RTLD_LOCAL, tried);
  if (make == nullptr)
    throw InputError(
        "device: cuda: several GPUs need the module syncnorm_nccl.so beside the program, and NCCL" +
        tried);
  return std::unique_ptr<Communicator>(make(&bootstrap, compute_stream));
}

}  // namespace syncnorm
