// Makes the name of a study's run from its settings: readable, unique, and safe as a file name.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace syncnorm::config {

/// Returns, for example, "norm=syncbn,seed=1". Characters that are unsafe in a file name become
/// '-'; a hash of the settings is then appended, so that a name depends only on its own run. Adds
/// the name to `taken`.
std::string unique_run_name(const std::vector<std::pair<std::string, std::string>>& settings,
                            std::set<std::string>& taken);

}  // namespace syncnorm::config
