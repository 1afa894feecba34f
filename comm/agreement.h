// Agreement between ranks: mistakes are told once, differences end the job before they can hang it.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"

namespace syncnorm {

/// Runs `action` on every rank. If it threw anywhere, every rank throws the Error
/// (base/failure.h) of the lowest rank, named when that is not rank 0.
void agree(Communicator& comm, const std::function<void()>& action);

/// What must be equal everywhere: (what it is, its text), in order.
using Fingerprint = std::vector<std::pair<std::string, std::string>>;

/// Throws InputError on every rank, naming the first part that differs, where and how, if any
/// rank's fingerprint is not rank 0's. Parts of several lines are compared line by line.
void compare_fingerprints(Communicator& comm, const Fingerprint& fingerprint);

/// Rank 0's bytes on every rank.
std::string from_rank_0(Communicator& comm, const std::string& bytes);

}  // namespace syncnorm
