// Implements faults.h in a plain build, without faults.
#include "base/error.h"
#include "engine/fault/faults.h"

namespace syncnorm {

std::unique_ptr<Faults> make_faults(const std::vector<std::string>& texts, int) {
  if (texts.empty()) return nullptr;
  throw InputError("--fault: this build has no faults; build with -DSYNCNORM_FAULTS=ON");
}

}  // namespace syncnorm
