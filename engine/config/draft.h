// An unfinished experiment. Values arrive layer by layer (bases, file, study setting, command
// line); later ones replace earlier ones, and every value keeps its origin.
#pragma once

#include <map>
#include <set>
#include <string>

#include "engine/config/experiment.h"
#include "engine/config/problems.h"
#include "engine/config/yaml_tree.h"

namespace syncnorm::config {

struct Origin {
  Position position;
  int layer = 0;  // a higher layer replaces a lower one
};

struct Draft {
  /// Before it is resolved, norm.synced_replicas 0 means all, and an empty run_dir means
  /// runs/<name>.
  Experiment experiment;
  int global_batch = 0;                   // > 0: determines replicas
  ConfigNode norm_layers;                 // the list of norm.layers, read when all else is known
  std::map<std::string, Origin> origins;  // of the given keys
  std::set<std::string> failed;           // keys with a problem, whose values are not the user's
};

}  // namespace syncnorm::config
