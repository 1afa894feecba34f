// Determines which ranks share this machine.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"

namespace syncnorm {

/// Returns the name of the running system, which changes at every boot.
std::string boot_identity();

/// Returns the ranks with the same shared memory as this one, including itself, ascending.
/// Collective.
std::vector<int> ranks_of_this_node(Communicator& comm);

/// Returns the number of those ranks below this one. Collective.
int local_rank(Communicator& comm);

/// Throws InputError, with the remedy, if two ranks use the same device, unless that is `allowed`.
/// `units[r]` is the device of rank r; "" for one that can be shared.
void check_units(const std::vector<std::string>& units, bool allowed);

}  // namespace syncnorm
