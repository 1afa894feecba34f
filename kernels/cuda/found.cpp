// The machine as `syncnorm --version` describes it: driver, libraries and GPUs.
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device.h"

namespace syncnorm::cuda {
namespace {

/// Returns the version of the driver; 0: there is none.
int driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

std::string gpus_found() {
  int count = 0;
  const cudaError_t state = cudaGetDeviceCount(&count);
  if (state != cudaSuccess && driver_version() > 0)
    return fmt::format("no GPU ({})", cudaGetErrorString(state));
  if (state != cudaSuccess || count == 0) return "no GPU";
  std::set<std::string> names;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, index) == cudaSuccess)
      names.insert(fmt::format("{} sm_{}{}", properties.name, properties.major, properties.minor));
  }
  return fmt::format("{} GPU{} ({})", count, count == 1 ? "" : "s", fmt::join(names, ", "));
}

}  // namespace

std::string found() {
  const int driver = driver_version();
  return fmt::format("{}, {}, {}",
                     driver > 0 ? "driver for CUDA " + version_text(driver) : "no driver",
                     library_versions(), gpus_found());
}

}  // namespace syncnorm::cuda
