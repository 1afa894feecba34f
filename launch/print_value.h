// Prints one value of a resolved configuration for a script, without YAML's quoting.
#pragma once

#include <string>

#include "engine/config/study.h"

namespace syncnorm {

/// Returns the value of `key`: a string without quotes, anything else as YAML on one line. Throws
/// InputError for a section, an unknown key, and a key that another one replaces (steps by epochs).
std::string value_of(const LoadedExperiment& loaded, const std::string& key);

/// Returns the value of a study's own key, `name` or `run_dir`.
std::string value_of(const Study& study, const std::string& key);

}  // namespace syncnorm
