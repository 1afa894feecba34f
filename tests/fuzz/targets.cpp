// The list of targets; see targets.h.
#include "tests/fuzz/targets.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm::fuzz {
namespace {

constexpr std::array kTargets = {
    NamedTarget{"experiment", experiment, "configs"},
    NamedTarget{"override", override_arguments, nullptr},
    NamedTarget{"study", study, nullptr},
    NamedTarget{"trace", trace, nullptr},
    NamedTarget{"listen", listen_address, nullptr},
    NamedTarget{"fault", fault, nullptr},
    NamedTarget{"idx", idx, nullptr},
    NamedTarget{"cifar", cifar, nullptr},
    NamedTarget{"image", image, nullptr},
    NamedTarget{"mask", mask, nullptr},
    NamedTarget{"pack_index", pack_index, nullptr},
    NamedTarget{"safetensors", safetensors, nullptr},
    NamedTarget{"weights", weights, nullptr},
    NamedTarget{"manifest", manifest, nullptr},
    NamedTarget{"run_log", run_log, nullptr},
    NamedTarget{"resumed_log", resumed_log, nullptr},
    NamedTarget{"summary", run_summary, nullptr},
    NamedTarget{"study_list", study_list, nullptr},
    NamedTarget{"flight", flight, nullptr},
    NamedTarget{"authorization", authorization, nullptr},
};

}  // namespace

std::span<const NamedTarget> targets() { return kTargets; }

const NamedTarget& find_target(std::string_view name) {
  const auto found = std::find_if(kTargets.begin(), kTargets.end(),
                                  [&](const NamedTarget& target) { return target.name == name; });
  if (found != kTargets.end()) return *found;
  std::string names;
  for (const NamedTarget& target : kTargets) names += std::string(" ") + target.name;
  throw InputError(fmt::format("'{}' is no fuzz target; they are{}", name, names));
}

void promise(bool kept, const char* what) {
  if (kept) return;
  std::fprintf(stderr, "fuzz: a promise was not kept: %s\n", what);
  std::abort();
}

}  // namespace syncnorm::fuzz
