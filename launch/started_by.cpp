// See started_by.h.
#include "launch/started_by.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"
#include "launch/build_info.h"

namespace syncnorm {
namespace {

struct Launcher {
  const char* name;
  const char* size;  // environment variables; nullptr: none
  const char* rank;
};

constexpr const char* kSlurm = "Slurm";
constexpr const char* kOpenMpi = "Open MPI";
constexpr const char* kOther = "another MPI";

constexpr Launcher kLaunchers[] = {
    {kOpenMpi, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
    // A step is the tasks that srun started; SLURM_NTASKS is what the job may start.
    {kSlurm, "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
    {kOther, "PMI_SIZE", "PMI_RANK"},                        // MPICH, Intel MPI
    {kOther, "MPI_LOCALNRANKS", "MPI_LOCALRANKID"},          // the same, on this host
    {kOther, "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"},  // MVAPICH
    {kOther, "PALS_LOCAL_SIZE", "PALS_RANKID"},              // HPE Cray
    {kOther, "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"},    // IBM jsrun
    {kOther, "FLUX_JOB_SIZE", "FLUX_TASK_RANK"},
    {kOther, nullptr, "PMIX_RANK"},
};

/// Returns -1 for null and for text that is not a number.
int number(const char* text) {
  int value = 0;
  if (text == nullptr || *text == '\0') return -1;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  return error == std::errc() && rest == end && value >= 0 ? value : -1;
}

[[noreturn]] void refuse(const Started& started) {
  if (started.rank > 0) {
    // Rank 0 reports for all; the launcher may kill it as soon as any of them has ended.
    std::this_thread::sleep_for(std::chrono::seconds(1));
    std::_Exit(static_cast<int>(ExitCode::bad_input));
  }
  const std::string_view library = kMpi;
  const std::string right =
      !kHasMpi ? "this build has no MPI: build with -DSYNCNORM_MPI=ON for several ranks"
      : started.by == kSlurm
          ? "start with srun --mpi=pmix (srun --mpi=list says whether Slurm has it), as "
            "launch/slurm.sbatch does"
          : fmt::format(
                "start with launch/run, launch/hosts or the mpirun of {}, which this program "
                "was built with",
                library.empty() ? "the MPI" : library);
  throw InputError(
      fmt::format("started by {} as one of {} ranks ({}), but nothing connects them: each would be "
                  "rank 0 of 1; {}; for one rank alone take these variables out of its environment "
                  "(env -u)",
                  started.by, started.ranks, started.said, right));
}

}  // namespace

Started started_by(const std::function<const char*(const char*)>& variable) {
  Started started;
  started.connected = variable("PMIX_RANK") != nullptr;
  for (const Launcher& launcher : kLaunchers) {
    const int size = launcher.size == nullptr ? -1 : number(variable(launcher.size));
    const int rank = number(variable(launcher.rank));
    // Programs that a task starts inherit the step's size and the rank from Slurm.
    if (launcher.name == kSlurm && (size < 0 || rank < 0)) continue;
    const int ranks = std::max(size, rank + 1);
    if (ranks > 1) {
      if (started.by.empty()) started.by = launcher.name;
      started.ranks = std::max(started.ranks, ranks);
      started.rank = std::max(started.rank, rank);
      for (const auto& [name, value] : {std::pair(launcher.size, size), {launcher.rank, rank}})
        if (value >= 0)
          started.said += fmt::format("{}{}={}", started.said.empty() ? "" : ", ", name, value);
    }
    // mpirun may itself run under another launcher, whose variables are still set.
    if (launcher.name == kOpenMpi && size >= 1) break;
  }
  return started;
}

std::unique_ptr<Communicator> make_world(bool uses_ranks) {
  if (!uses_ranks) return make_self_communicator();
  const Started started = started_by([](const char* name) { return std::getenv(name); });
  // Open MPI ends the process itself when srun without PMIx started it, so it is not called then.
  // How another MPI, for which the program may have been built, reads the variables is unknown.
  const bool open_mpi = std::string_view(kMpi).starts_with("Open MPI");
  if (started.ranks > 1 && !started.connected && (open_mpi || !launched_by_mpi())) refuse(started);
  if (!launched_by_mpi()) return make_self_communicator();
  std::unique_ptr<Communicator> comm = make_mpi_communicator();
  if (started.ranks > 1 && comm->size() == 1) refuse(started);
  return comm;
}

}  // namespace syncnorm
