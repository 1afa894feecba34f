// The communicator of all ranks that mpirun started; made and ended by main.cpp.
#pragma once

#include "comm/communicator.h"

namespace syncnorm::test {

Communicator& world();

}  // namespace syncnorm::test
