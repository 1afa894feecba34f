// The communicator between GPUs.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace syncnorm {

/// NCCL over the ranks of `bootstrap`, which hands NCCL's own address to all of them, carries
/// texts, ends the job, and must live longer. Each rank has chosen its GPU before
/// (make_cuda_device()). Send and receive pointers are that GPU's memory; collectives are queued on
/// `stream` (Device::native_queue(Queue::communication)). Making it is collective over `bootstrap`.
///
/// Throws InputError when the back end was not built or its libraries are missing, PeerLostError
/// when ranks do not meet within bootstrap's deadline. It is a module that is loaded only here.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap, void* stream);

/// Loads the module, or throws InputError: what can go wrong on one rank alone, so that ranks can
/// agree on it before they meet in make_nccl_communicator().
void require_nccl();

}  // namespace syncnorm
