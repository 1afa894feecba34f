// Applies one layer of configuration to a draft: walks a tree along the schema, stores the valid
// values and reports the others.
#pragma once

#include <string>

#include "engine/config/draft.h"
#include "engine/config/schema.h"
#include "engine/config/yaml_tree.h"

namespace syncnorm::config {

/// Stores every key of `map`, which belongs to `section` ("" for a whole file).
void apply_map(const Schema& schema, const std::string& section, const ConfigNode& map, int layer,
               Draft& draft, Problems& problems);

/// Stores one value under a dotted path: of a key, of a section (a map), or a short form of norm.
void apply_setting(const Schema& schema, const std::string& path, const Position& path_position,
                   const ConfigNode& value, int layer, Draft& draft, Problems& problems);

}  // namespace syncnorm::config
