// Finds and loads the NCCL module.
#include "base/error.h"
#include "base/module.h"
#include "comm/nccl/nccl.h"

namespace syncnorm {
namespace {

using Factory = Communicator*(Communicator*, void*);

Factory* load_nccl() {
  std::string tried;
  auto* make = load_module_entry<Factory>("syncnorm_nccl.so", "syncnorm_nccl_communicator",
                                          RTLD_NOW | RTLD_LOCAL, tried);
  if (make == nullptr)
    throw InputError(
        "device: cuda: several GPUs need the module syncnorm_nccl.so beside the program, and NCCL" +
        tried);
  return make;
}

}  // namespace

void require_nccl() { load_nccl(); }

std::string nccl_found() {
  return text_of_module("syncnorm_nccl.so", "syncnorm_nccl_found", "no NCCL",
                        RTLD_NOW | RTLD_LOCAL);
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap, void* stream) {
  return std::unique_ptr<Communicator>(load_nccl()(&bootstrap, stream));
}

}  // namespace syncnorm
