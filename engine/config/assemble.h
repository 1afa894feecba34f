// The last stage of loading: turns a draft with all its layers into a LoadedExperiment.
#pragma once

#include <string>

#include "engine/config/draft.h"
#include "engine/config/load.h"
#include "engine/config/schema.h"

namespace syncnorm::config {

/// Checks the rules between keys and resolves the draft. The result is valid only if no problem was
/// reported, here or earlier.
LoadedExperiment assemble(const Schema& schema, Draft draft, const std::string& source,
                          Problems& problems);

/// Returns all keys of the draft that apply, as the text of a configuration file.
std::string yaml_text(const Schema& schema, const Draft& draft);

}  // namespace syncnorm::config
