// Replaces the NCCL communicator in a build without it.
#include "base/error.h"
#include "comm/nccl/nccl.h"

namespace syncnorm {

void require_nccl() {
  throw InputError("device: cuda: this build has no NCCL for several GPUs; use device: cpu");
}

std::string nccl_found() { return "no NCCL in this build"; }

std::unique_ptr<Communicator> make_nccl_communicator(Communicator&, void*) {
  require_nccl();
  return nullptr;
}

}  // namespace syncnorm
