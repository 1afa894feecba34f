// Agreement between ranks: an error is reported once, and differences end the job before it hangs.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"

namespace syncnorm {

/// Runs `action` on every rank. If it throws anywhere, every rank throws the Error (base/failure.h)
/// of the lowest such rank, whose number the message gives if it is not 0.
void agree(Communicator& comm, const std::function<void()>& action);

/// Texts that must be equal on all ranks: (what it is, its text), in order.
using Fingerprint = std::vector<std::pair<std::string, std::string>>;

/// Throws InputError on every rank if any rank's fingerprint differs from rank 0's. The message
/// gives the first part that differs, where and how. Parts of several lines are compared line by
/// line.
void compare_fingerprints(Communicator& comm, const Fingerprint& fingerprint);

/// Returns rank 0's bytes on every rank.
std::string from_rank_0(Communicator& comm, const std::string& bytes);

}  // namespace syncnorm
