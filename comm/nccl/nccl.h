// The communicator between GPUs.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace syncnorm {

/// NCCL over the ranks of `bootstrap`, which hands NCCL's own address to all of them, carries
/// texts, ends the job, and must live longer. Each rank has chosen its GPU before
/// (make_cuda_device()). Send and receive pointers are that GPU's memory; what a request sends is
/// what `compute_stream` (Device::native_stream()) had computed when it was started. Collective
/// over `bootstrap`.
///
/// Throws InputError when the back end was not built or its libraries are missing, PeerLostError
/// when ranks do not meet within bootstrap's deadline. It is a module that is loaded only here.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap, void* compute_stream);

}  // namespace syncnorm
