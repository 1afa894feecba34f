// Who started this process: one rank alone, several that MPI connects, or several that nothing
// connects, each of which would train as rank 0 of 1 into the same folder.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace syncnorm {

/// What the launchers' variables say of this process. A batch script's own shell is one rank,
/// however many tasks its job may start.
struct Started {
  int ranks = 1;
  int rank = 0;
  std::string by;          // "Slurm", "Open MPI", "another MPI"
  std::string said;        // "SLURM_STEP_NUM_TASKS=4, SLURM_PROCID=1"
  bool connected = false;  // an Open MPI in this process can find the others
};

/// `variable` returns the value of an environment variable, or nullptr.
Started started_by(const std::function<const char*(const char*)>& variable);

/// All ranks of this job; one rank for a command that `uses_ranks` not. Where this process is one
/// of several without a connection, rank 0 throws InputError that says what would be right; the
/// others end with its exit code.
std::unique_ptr<Communicator> make_world(bool uses_ranks);

}  // namespace syncnorm
