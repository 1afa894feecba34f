// Determines how this process was started: as a single rank, as one of several ranks that MPI
// connects, or as one of several that nothing connects, each of which would train as rank 0 of 1
// into the same folder.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace syncnorm {

/// Facts about this process from the launchers' environment variables. A batch script's own shell
/// counts as one rank, whatever the number of tasks its job may start.
struct Started {
  int ranks = 1;
  int rank = 0;
  std::string by;          // "Slurm", "Open MPI", "another MPI"
  std::string said;        // "SLURM_STEP_NUM_TASKS=4, SLURM_PROCID=1"
  bool connected = false;  // Open MPI in this process can find the other ranks
};

/// Reads the launchers' variables. `variable` returns an environment variable's value or nullptr.
Started started_by(const std::function<const char*(const char*)>& variable);

/// Returns the communicator of all ranks of this job; of one rank for a command without
/// `uses_ranks`. Where this process is one of several without a connection, rank 0 throws
/// InputError with the right way to start, and the others exit with its exit code.
std::unique_ptr<Communicator> make_world(bool uses_ranks);

}  // namespace syncnorm
