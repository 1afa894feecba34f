// Finds and loads the MPI module, next to the program or in ../lib/syncnorm of an installation.
#include <cstdlib>

#include "base/error.h"
#include "base/module.h"
#include "comm/communicator.h"

namespace syncnorm {

bool launched_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

std::unique_ptr<Communicator> make_mpi_communicator() {
  std::string tried;
  using Factory = Communicator*();
  // RTLD_GLOBAL: Open MPI's own components look up its symbols in the global scope.
  if (auto* make = load_module_entry<Factory>("syncnorm_mpi.so", "syncnorm_mpi_world",
                                              RTLD_NOW | RTLD_GLOBAL, tried))
    return std::unique_ptr<Communicator>(make());
  throw InputError(
      "started as several ranks, but the MPI module syncnorm_mpi.so cannot be loaded: build with "
      "-DSYNCNORM_MPI=ON and install Open MPI" +
      tried);
}

}  // namespace syncnorm
