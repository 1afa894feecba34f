// The communicator between GPUs.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace syncnorm {

/// Makes an NCCL communicator over the ranks of `bootstrap`, which distributes NCCL's address,
/// carries texts, ends the job, and must outlive it. Each rank must have chosen its GPU
/// (make_cuda_device()). Send and receive pointers are memory of that GPU; collectives are queued
/// on `stream` (Device::native_queue(Queue::communication)). Collective over `bootstrap`.
///
/// Throws InputError if the back end was not built or its libraries are missing, PeerLostError if
/// the ranks do not meet within bootstrap's deadline. The back end is a module that is loaded only
/// here.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap, void* stream);

/// Loads the module. Throws InputError for errors that can occur on a single rank, so that ranks
/// can agree on them before they meet in make_nccl_communicator().
void require_nccl();

/// Returns NCCL's version as found here, or that it is missing. Never throws.
std::string nccl_found();

}  // namespace syncnorm
