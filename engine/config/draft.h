// An experiment on its way: values arrive layer by layer (bases, file, study setting, command
// line), the later ones replacing the earlier, and every value keeps where it came from.
#pragma once

#include <map>
#include <set>
#include <string>

#include "engine/config/experiment.h"
#include "engine/config/problems.h"

namespace syncnorm::config {

struct Origin {
  Position position;
  int layer = 0;  // a higher layer replaces a lower one
};

struct Draft {
  /// Until it is resolved, norm.synced_replicas 0 means all and an empty run_dir means runs/<name>.
  Experiment experiment;
  int global_batch = 0;                   // > 0: replicas follow from it
  std::map<std::string, Origin> origins;  // of the keys that were given
  std::set<std::string> failed;           // keys with a problem: their values are not the user's
};

}  // namespace syncnorm::config
