// One value of a resolved configuration for a script: as it is, without YAML's quoting.
#pragma once

#include <string>

#include "engine/config/study.h"

namespace syncnorm {

/// The value of `key`, a text without its quotes, all else as YAML on one line. Throws InputError
/// for a section, an unknown key and one that does not count beside another (steps beside epochs).
std::string value_of(const LoadedExperiment& loaded, const std::string& key);

/// The same of a study, which has but `name` and `run_dir` of its own.
std::string value_of(const Study& study, const std::string& key);

}  // namespace syncnorm
