// "key.path=value" arguments of the command line, read by the same parser as files.
#pragma once

#include <string>
#include <vector>

#include "engine/config/draft.h"
#include "engine/config/schema.h"
#include "engine/config/yaml_tree.h"

namespace syncnorm::config {

struct Override {
  std::string path;
  ConfigNode value;
};

/// Splits and parses each argument; leaves out those with a problem.
std::vector<Override> parse_overrides(const std::vector<std::string>& arguments,
                                      Problems& problems);

/// Applies all overrides as one layer.
void apply_overrides(const Schema& schema, const std::vector<Override>& overrides, int layer,
                     Draft& draft, Problems& problems);

}  // namespace syncnorm::config
