// Finds and loads the MPI module: beside the program, or in ../lib/syncnorm of an installed one.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "comm/communicator.h"
#include "kernels/error.h"

namespace syncnorm {

bool launched_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

std::unique_ptr<Communicator> make_mpi_communicator() {
  namespace fs = std::filesystem;
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  std::string tried;
  for (const fs::path& folder : {here, here / "../lib/syncnorm"}) {
    const fs::path module = folder / "syncnorm_mpi.so";
    if (!fs::exists(module)) continue;
    // RTLD_GLOBAL: Open MPI's own components look its symbols up in the global scope.
    if (void* handle = dlopen(module.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
      using Factory = Communicator* (*)();
      if (auto make = reinterpret_cast<Factory>(dlsym(handle, "syncnorm_mpi_world")))
        return std::unique_ptr<Communicator>(make());
    }
    const char* reason = dlerror();
    tried += std::string("; ") + (reason != nullptr ? reason : "it has no entry point");
  }
  throw InputError(
      "started as several ranks, but the MPI module syncnorm_mpi.so cannot be loaded: build with "
      "-DSYNCNORM_MPI=ON and install Open MPI" +
      tried);
}

}  // namespace syncnorm
