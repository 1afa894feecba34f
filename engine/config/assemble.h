// The last stage of loading: a draft with all its layers becomes a LoadedExperiment.
#pragma once

#include <string>

#include "engine/config/draft.h"
#include "engine/config/load.h"
#include "engine/config/schema.h"

namespace syncnorm::config {

/// Checks the rules between keys and resolves the draft. The result means something only when no
/// problem was reported, before or here.
LoadedExperiment assemble(const Schema& schema, Draft draft, const std::string& source,
                          Problems& problems);

/// All keys of the draft that count, as the text of a configuration file.
std::string yaml_text(const Schema& schema, const Draft& draft);

}  // namespace syncnorm::config
