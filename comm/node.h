// Which ranks share this machine.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"

namespace syncnorm {

/// The running system's own name, another one after every boot.
std::string boot_identity();

/// The ranks that see the same shared memory as this one, itself included, ascending. Collective.
std::vector<int> ranks_of_this_node(Communicator& comm);

/// How many of them are below this rank. Collective.
int local_rank(Communicator& comm);

/// `units[r]`: the device of rank r; "" for one that can be shared. Throws InputError, saying what
/// to change, where two ranks drive the same one, unless that is `allowed`.
void check_units(const std::vector<std::string>& units, bool allowed);

}  // namespace syncnorm
